"""`python -m tests.web.screenshots [FOLDER]`: pictures of every page, in both themes and at both widths.

On a stack of its own with real tables, runs and saved models. To be looked at; nothing is compared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e import stack as stacks
from tests.e2e import tables
from tests.e2e.person import Person
from tests.web.chromium import executable
from tests.web.pages import Theme, launch, opened, sign_in

WIDTHS = {360: 780, 1600: 1000}
"""Width → height, in CSS pixels."""
THEMES: tuple[Theme, ...] = ("light", "dark")
EMAIL = "ann@example.com"


class Shot(NamedTuple):
    """A picture: its name, the page's address, and the button that is pressed on it first."""

    name: str
    path: str
    press: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    chromium = executable()
    assert chromium, "there is no Chromium: `python -m tests.web.chromium` installs one"
    with tempfile.TemporaryDirectory() as data, stacks.running(Path(data)) as stack:
        shots = list(prepared(Person(stack.url, EMAIL)))
        with sync_playwright() as playwright, launch(playwright, chromium) as browser:
            for theme in THEMES:
                for width in WIDTHS:
                    take(browser, stack.url, shots, folder, theme, width)


def prepared(person: Person) -> Iterator[Shot]:
    """Tables, runs and models such as somebody has after a while, and what there is to see of them."""
    yield Shot("datasets", "/dashboard/blueprints")
    yield Shot("runs", "/dashboard/blueprints?tab=runs")
    wine = person.upload(tables.wine())["file_id"]
    voters = person.upload(tables.voters())["file_id"]
    months = person.upload(tables.carbon_dioxide())["file_id"]
    person.http.post("/files", files={"file": ("empty columns.csv", b"a,b\n1,2\n3\n")})
    for file_id in (wine, voters, months):
        person.profile(file_id)
    yield Shot("dataset", f"/dashboard/blueprints/files/{voters}")
    yield Shot("train", f"/dashboard/blueprints/train?file={voters}")

    task = person.ended(person.train(wine, "cultivar", name="Which cultivar", time_budget_s=90)["task_id"])
    number = person.ended(
        person.train(wine, "alcohol", models=["ridge", "random_forest"], time_budget_s=60)["task_id"]
    )
    series = person.ended(
        person.train(
            months, "ppm", task_type="time_series", time_column="month", horizon=12, time_budget_s=60
        )["task_id"]
    )
    for run in (task, number, series):
        assert run["status"] == "completed", run
    results = f"/dashboard/blueprints/tasks/{task['task_id']}?tab=results"
    yield Shot("progress", f"/dashboard/blueprints/tasks/{task['task_id']}?tab=progress")
    yield Shot("results", results)
    yield Shot("results-regression", f"/dashboard/blueprints/tasks/{number['task_id']}?tab=results")
    yield Shot("results-series", f"/dashboard/blueprints/tasks/{series['task_id']}?tab=results")
    yield Shot("save-dialog", results, "Save to Database")

    about = "Tells cultivars apart by what a laboratory measures"
    person.save(task["task_id"], "Wines, by cultivar", description=about, tags=["wine", "production"])
    person.save(number["task_id"], "How strong a wine is", tags=["wine"])
    person.save(series["task_id"], "Carbon dioxide over Mauna Loa, monthly, for the annual report's forecast")
    gone = person.save(task["task_id"], "An earlier try", tags=["wine"])
    assert person.http.delete(f"/models/{gone['id']}").status_code == 204
    yield Shot("models", "/dashboard/models")

    person.train(voters, "vote", name="Under way", time_budget_s=600)
    yield Shot("sign-in", "/sign-in")


def take(browser: Browser, url: str, shots: list[Shot], folder: Path, theme: Theme, width: int) -> None:
    with opened(browser, url, width=width, height=WIDTHS[width], theme=theme) as page:
        for shot in sorted(shots, key=lambda shot: shot.name != "sign-in"):
            if shot.name == "sign-in":
                page.goto(shot.path)
                settled(page)
                page.screenshot(path=folder / f"{shot.name}-{width}-{theme}.png")
                sign_in(page, EMAIL)
                continue
            page.goto(shot.path)
            settled(page)
            if shot.press:
                page.get_by_role("button", name=shot.press).click()
                settled(page)
            else:
                page.keyboard.press("End")  # plots are loaded when somebody scrolls near
                expect(page.get_by_text("Loading the plots")).to_have_count(0)
                page.keyboard.press("Home")
                settled(page)
            page.screenshot(path=folder / f"{shot.name}-{width}-{theme}.png", full_page=not shot.press)
            print(f"{shot.name}-{width}-{theme}.png", flush=True)


def settled(page: Page) -> None:
    """Until nothing is fetched and nothing moves; an event stream of a run under way never ends."""
    page.wait_for_load_state("load")
    page.wait_for_function("document.querySelectorAll('[aria-busy=true]').length === 0")
    page.wait_for_timeout(600)


if __name__ == "__main__":
    main()
