"""A run is set up: what is suggested, what is wrong with it, and that it begins."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.web.pages import check_accessible
from tests.web.test_datasets import PEOPLE, table, upload

SALES = "day,shop,sold\n" + "".join(
    f"2024-{month:02}-{day:02},{shop},{100 + day * 3 + month}\n"
    for shop in ("north", "south")
    for month in range(1, 7)
    for day in range(1, 29)
)


def set_up(me: Page, name: str, text: str = PEOPLE) -> None:
    upload(me, table(name, text))
    me.get_by_role("link", name=f"Train on {name}").click()
    expect(me.get_by_role("heading", name="What to predict")).to_be_visible()


def test_a_run_is_suggested_and_begins(me: Page) -> None:
    set_up(me, "people.csv")
    expect(me.get_by_label("Target")).to_have_value("churned")
    expect(me.get_by_role("radio", name="Classification")).to_be_checked()
    expect(me.get_by_text("Classification of churned: 12 models on 120 rows")).to_be_visible()
    me.get_by_role("button", name="None").click()
    me.get_by_label("Naive Bayes").check()
    me.get_by_role("button", name="1 min").click()
    check_accessible(me)
    me.get_by_role("button", name="Start training").click()
    me.wait_for_url("**/dashboard/blueprints/tasks/*")
    me.goto("/dashboard/blueprints?tab=runs")
    runs = me.get_by_role("list", name="Runs")
    expect(runs.get_by_role("link", name="people.csv: churned")).to_be_visible()
    expect(runs.get_by_text("Completed")).to_be_visible(timeout=120_000)
    expect(runs.get_by_text(re.compile("Accuracy"))).to_be_visible()
    check_accessible(me)
    runs.get_by_role("link", name="Train again: people.csv: churned").click()
    expect(me.get_by_text("The settings are those of")).to_be_visible()
    expect(me.get_by_text("Classification of churned: 1 model on 120 rows")).to_be_visible()
    expect(me.get_by_label("Time budget in minutes")).to_have_value("1")
    check_accessible(me)
    me.get_by_role("link", name="Take what is suggested instead").click()
    expect(me.get_by_text("Classification of churned: 12 models on 120 rows")).to_be_visible()
    me.go_back()
    expect(me.get_by_label("Time budget in minutes")).to_have_value("1")
    me.goto("/dashboard/blueprints?tab=runs")
    me.get_by_label("State").select_option("failed")
    expect(me.get_by_role("heading", name="No run is like that")).to_be_visible()
    me.get_by_label("State").select_option("completed")
    me.get_by_role("button", name="Delete people.csv: churned").click()
    me.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(runs).to_have_count(0)
    expect(me.get_by_role("tabpanel")).to_be_focused()


def test_every_fault_is_said_at_its_field(me: Page) -> None:
    set_up(me, "people.csv")
    me.get_by_role("button", name="None").click()
    me.get_by_label("Time budget in minutes").fill("ages")
    me.get_by_text("Advanced").click()
    me.get_by_label("Folds").fill("1")
    me.get_by_label("Seed").fill("twelve")
    me.get_by_label("Leave out").select_option("city")
    me.get_by_text("Advanced").click()
    me.get_by_role("button", name="Start training").click()
    expect(me.get_by_label("Time budget in minutes")).to_be_focused()
    expect(me.get_by_label("Time budget in minutes")).to_have_attribute("aria-invalid", "true")
    expect(me.get_by_text("Choose one at least")).to_be_visible()
    expect(me.get_by_text("Must be a whole number from 2 to 20, not 1")).to_be_visible()
    expect(me.get_by_text('Must be a whole number from 0 to 4,294,967,295, not "twelve"')).to_be_visible()
    check_accessible(me)
    me.get_by_label("Time budget in minutes").fill("2")
    expect(me.get_by_text("Between one second and 24 hours")).to_have_count(0)
    expect(me.get_by_text("Choose one at least")).to_be_visible()
    me.get_by_role("button", name="Take city back in").click()
    expect(me.get_by_role("button", name="Take city back in")).to_have_count(0)
    expect(me.get_by_label("Leave out")).to_be_focused()


def test_another_target_is_another_task_and_stands_in_the_address(me: Page) -> None:
    set_up(me, "people.csv")
    me.get_by_label("Target").select_option("age")
    expect(me.get_by_role("radio", name="Regression")).to_be_checked()
    expect(me.get_by_label("Metric")).to_have_value("r2")
    me.reload()
    expect(me.get_by_label("Target")).to_have_value("age")


def test_series_come_with_their_time_and_what_tells_them_apart(me: Page) -> None:
    set_up(me, "sales.csv", SALES)
    expect(me.get_by_role("radio", name="Time series")).to_be_checked()
    expect(me.get_by_role("combobox", name="Time", exact=True)).to_have_value("day")
    expect(me.get_by_role("combobox", name="Series", exact=True)).to_have_value("shop")
    check_accessible(me)
