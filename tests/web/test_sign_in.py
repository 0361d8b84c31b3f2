"""Coming in, being brought to where one wanted to go, going out again."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.pages import check_accessible, sign_in


def test_somebody_signs_in_and_sees_their_datasets(page: Page) -> None:
    page.goto("/")
    page.wait_for_url("**/sign-in?*")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    check_accessible(page)
    page.get_by_label("E-mail").fill("ann@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/blueprints*")
    expect(page.get_by_role("tab", name="Datasets")).to_have_attribute("aria-selected", "true")
    expect(page).to_have_title("Datasets · Trainyard")
    check_accessible(page)


@pytest.mark.parametrize("email", ["not an address", ""])
def test_what_is_no_address_is_said_at_the_field(page: Page, email: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("E-mail")).to_be_focused()
    assert "/sign-in" in page.url


def test_a_link_leads_to_where_it_said_once_somebody_has_signed_in(page: Page) -> None:
    sign_in(page, "ann@example.com", then="/dashboard/models")
    page.reload()
    assert page.url.endswith("/dashboard/models"), "a reload asks for no second sign-in"


def test_whoever_signs_out_is_out_in_every_tab(me: Page) -> None:
    other = me.context.new_page()
    other.goto("/dashboard/models")
    me.get_by_role("button", name="Account and theme").click()
    me.get_by_role("menuitem", name="Sign out").click()
    me.wait_for_url("**/sign-in*")
    other.wait_for_url("**/sign-in*")
    assert me.request.get("/files").status == 401, "the cookie is gone too"


def test_the_theme_is_the_systems_unless_another_is_chosen(me: Page) -> None:
    def background() -> str:
        return str(me.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    me.get_by_role("button", name="Account and theme").click()
    me.get_by_role("menuitemradio", name="Dark").click()
    dark = background()
    assert dark != light
    check_accessible(me)
    me.reload()
    assert background() == dark, "it is remembered"
