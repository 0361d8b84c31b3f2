"""axe-core on every page in every state that it has, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.web.behind import paused
from tests.web.pages import Theme, check_accessible, opened, sign_in

EMAIL = "ann@accessible.example.com"
THEMES: dict[Theme, list[str]] = {"light": [], "dark": ["color-contrast", "link-in-text-block"]}
"""Theme → which of axe-core's rules are tried, if not all."""


class Home(NamedTuple):
    """The page of somebody who has something of everything, by what it is → its id."""

    page: Page
    person: Person
    ids: dict[str, str]


@pytest.fixture(scope="module")
def home(stack: Stack, browser: Browser) -> Iterator[Home]:
    person = Person(stack.url, EMAIL)
    wine, patients, months, voters = (
        person.upload(table())["file_id"]
        for table in (tables.wine, tables.diabetes, tables.carbon_dioxide, tables.voters)
    )
    broken = person.http.post("/files", files={"file": ("broken.csv", b"a,b\n1,2\n\x00\x01,3\n")})
    runs = {
        "classification": person.train(
            wine, "cultivar", models=["logistic_regression", "naive_bayes"], time_budget_s=60
        ),
        "regression": person.train(patients, "progression", models=["ridge"], time_budget_s=60),
        "series": person.train(
            months,
            "ppm",
            task_type="time_series",
            time_column="month",
            models=["seasonal_naive"],
            horizon=12,
            time_budget_s=60,
        ),
    }
    ids = {name: run["task_id"] for name, run in runs.items()}
    ids |= {"months": months, "voters": voters, "broken": broken.json()["file_id"]}
    for task_id in (ids[name] for name in runs):
        assert person.ended(task_id)["status"] == "completed"
    for file_id in (voters, months, ids["broken"]):
        person.profile(file_id)
    person.save(ids["classification"], "Wines by cultivar", description="By 13 measurements", tags=["wine"])
    gone = person.save(ids["classification"], "An earlier try")
    assert person.http.delete(f"/models/{gone['id']}").status_code == 204
    with opened(browser, stack.url) as page:
        sign_in(page, EMAIL)
        yield Home(page, person, ids)
    person.close()


class State(NamedTuple):
    """`shows`: a heading that is there once the page is; `press`: buttons, then `opens`: what they open."""

    path: str
    shows: str
    press: tuple[str, ...] = ()
    opens: Literal["alert", "dialog", "menu"] | None = None


DATASET = "/dashboard/blueprints/files"
RUN = "/dashboard/blueprints/tasks"
SAVE = "Download & Save Results"

STATES = {
    "datasets": State("/dashboard/blueprints", "Blueprints"),
    "no dataset is found": State("/dashboard/blueprints?q=nothing", "Blueprints"),
    "deleting a dataset": State("/dashboard/blueprints", "Blueprints", ("Delete voters.csv",), "dialog"),
    "runs": State("/dashboard/blueprints?tab=runs", "Blueprints"),
    "no run is found": State("/dashboard/blueprints?tab=runs&status=failed", "No run is like that"),
    "deleting a run": State(
        "/dashboard/blueprints?tab=runs", "Blueprints", ("Delete wine.csv: cultivar",), "dialog"
    ),
    "dataset": State(DATASET + "/{voters}", "Columns"),
    "dataset that cannot be read": State(DATASET + "/{broken}", "This table cannot be read"),
    "choosing what to train on": State("/dashboard/blueprints/train", "Train models"),
    "train": State("/dashboard/blueprints/train?file={voters}&target=vote", "How to train"),
    "train on series": State("/dashboard/blueprints/train?file={months}", "How to train"),
    "train with faults": State(
        "/dashboard/blueprints/train?file={voters}&target=vote",
        "How to train",
        ("None", "Start training"),
        "alert",
    ),
    "progress": State(RUN + "/{classification}?tab=progress", "Log"),
    "results": State(RUN + "/{classification}?tab=results", SAVE),
    "saving a model": State(RUN + "/{classification}?tab=results", SAVE, ("Save to Database",), "dialog"),
    "models": State("/dashboard/models", "Wines by cultivar"),
    "no model is found": State("/dashboard/models?q=nothing", "No model matches"),
    "editing a model": State("/dashboard/models", "Wines by cultivar", ("Edit Wines by cultivar",), "dialog"),
    "signed link": State("/dashboard/models", "Wines by cultivar", ("Link to Wines by cultivar",), "dialog"),
    "trash": State("/dashboard/models?tab=trash", "An earlier try"),
    "account menu": State("/dashboard/models", "Wines by cultivar", ("Account and theme",), "menu"),
    "somebody else's run": State(RUN + "/00000000-0000-7000-8000-000000000000", "Task not found"),
    "no page": State("/dashboard/nowhere", "There is nothing at this address"),
}


@pytest.mark.parametrize("name", STATES)
def test_every_page_in_every_state(home: Home, name: str) -> None:
    page, (path, shows, press, opens) = home.page, STATES[name]
    page.goto(path.format(**home.ids))
    expect(page.get_by_role("heading", name=shows, exact=True)).to_be_visible()
    for button in press:
        page.get_by_role("button", name=button, exact=True).click()
    if opens:
        expect(page.get_by_role(opens).first).to_be_visible()
    check_in_both_themes(page)


@pytest.mark.parametrize("kind", ["classification", "regression", "series"])
def test_results_with_their_plots(home: Home, kind: str) -> None:
    page = home.page
    page.goto(f"{RUN}/{home.ids[kind]}?tab=results")
    page.keyboard.press("End")  # plots are loaded when somebody scrolls near
    expect(page.locator("figure svg").first).to_be_visible()
    check_in_both_themes(page)


def test_a_run_that_waits_goes_on_and_is_cancelled(home: Home, stack: Stack) -> None:
    page, person = home.page, home.person
    with paused(stack, "trainer"):
        task_id = person.train(home.ids["voters"], "vote", time_budget_s=600)["task_id"]
        page.goto(f"{RUN}/{task_id}?tab=progress")
        expect(page.get_by_text("Place in the queue")).to_be_visible()
        check_in_both_themes(page)
    expect(page.get_by_role("cell", name="Training", exact=True).first).to_be_visible(timeout=60_000)
    with paused(stack, "trainer"):  # or the run might end before all of it is looked at
        check_in_both_themes(page)
        page.get_by_role("tab", name="Results").click()
        some = page.get_by_role("heading", name="Leaderboard")
        expect(some.or_(page.get_by_role("heading", name="No results yet"))).to_be_visible()
        check_in_both_themes(page)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("button", name="Cancelling")).to_be_visible()
        check_in_both_themes(page)
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=60_000)
    page.get_by_role("tab", name="Progress").click()
    check_in_both_themes(page)


def test_while_there_is_nothing_yet(me: Page) -> None:
    for path, shows in {
        "/dashboard/blueprints": "No datasets yet",
        "/dashboard/blueprints?tab=runs": "No runs yet",
        "/dashboard/models": "No saved models yet",
        "/dashboard/models?tab=trash": "The trash is empty",
    }.items():
        me.goto(path)
        expect(me.get_by_role("heading", name=shows)).to_be_visible()
        check_in_both_themes(me)


def test_a_lost_connection_and_signing_in(page: Page) -> None:
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill("not an address")
    page.get_by_role("button", name="Sign in").click()
    check_in_both_themes(page)
    sign_in(page, "ann@example.com")
    expect(page.get_by_role("tab", name="Datasets")).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("No connection to Trainyard.")).to_be_visible()
    check_in_both_themes(page)
    page.context.set_offline(False)


def check_in_both_themes(page: Page) -> None:
    """The pages follow the system's theme unless another is chosen, in which nothing but colours differs."""
    backgrounds = set()
    for theme, rules in THEMES.items():
        page.emulate_media(color_scheme=theme)
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        check_accessible(page, rules)
    assert len(backgrounds) == len(THEMES)
