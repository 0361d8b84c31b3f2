"""Coming in, being brought to where one wanted to go, going out again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.stack import Stack
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


def local_session(stack: Stack, email: str) -> dict[str, Any]:
    """What the local sign-in gives out, and Supabase's in the same form."""
    answer = httpx.post(f"{stack.url}/auth/dev-login", json={"email": email}).raise_for_status()
    return dict(answer.json())


def offer(page: Page, **ways: Any) -> None:
    """As if the server had these ways to sign in."""
    page.route("**/auth/sign-in", lambda route: route.fulfill(json={"dev_login": False} | ways))


def test_without_a_sign_in_a_token_does(page: Page, stack: Stack) -> None:
    offer(page)
    page.goto("/sign-in?next=/dashboard/models")
    page.get_by_label("Access token").fill("abc")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This is no user's token")).to_be_visible()
    check_accessible(page)
    page.get_by_label("Access token").fill(local_session(stack, "tom@example.com")["access_token"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dashboard/models")
    page.get_by_role("button", name="Account and theme").click()
    expect(page.get_by_text("Signed in as tom@example.com")).to_be_visible()


def test_a_supabase_session_is_renewed_before_it_runs_out(page: Page, stack: Stack) -> None:
    asked: list[dict[str, Any]] = []

    def supabase(route: Route) -> None:
        asked.append(route.request.post_data_json)
        if asked[-1].get("password") == "wrong":
            route.fulfill(status=400, json={"msg": "Invalid login credentials"})
            return
        left = 3600 if "refresh_token" in asked[-1] else 30
        answer = local_session(stack, "sue@example.com") | {"expires_in": left, "refresh_token": "once"}
        route.fulfill(json=answer)

    offer(page, supabase={"url": stack.url, "anon_key": "public"})
    page.route("**/auth/v1/token?*", supabase)
    page.route("**/auth/v1/logout?*", lambda route: route.fulfill(status=204))
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill("sue@example.com")
    for password in ("wrong", "right"):
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        if password == "wrong":
            expect(page.get_by_text("Invalid login credentials")).to_be_visible()
    page.wait_for_url("**/dashboard/blueprints")
    expect(page.get_by_role("heading", name="No datasets yet")).to_be_visible()
    assert asked[2:] == [{"refresh_token": "once"}], "by one call for all that waited for it"
    page.get_by_role("button", name="Account and theme").click()
    with page.expect_request("**/auth/v1/logout?scope=local"):
        page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url("**/sign-in*")


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
