"""A run that is watched until somebody stops it, and a model in another format than a pickle."""

from __future__ import annotations

import json
import re
import zipfile

from playwright.sync_api import Page, expect

from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.web.behind import paused
from tests.web.pages import check_accessible, sign_in

RUN = "/dashboard/blueprints/tasks"
LONG_SILENCE_MS = 40_000


def test_a_connection_that_is_dead_and_not_closed(page: Page, stack: Stack) -> None:
    person = Person(stack.url, "watches@example.com")
    wine = person.upload(tables.wine())["file_id"]
    sign_in(page, "watches@example.com")
    page.clock.install()  # its time can be made to pass
    with paused(stack, "trainer"):
        waits = person.train(wine, "cultivar", models=["naive_bayes"], time_budget_s=60)["task_id"]
        page.goto(f"{RUN}/{waits}")
        lost = page.get_by_text("The connection is lost.")
        expect(page.get_by_text("Place in the queue")).to_be_visible()
        page.clock.fast_forward(LONG_SILENCE_MS // 2)
        expect(lost).to_have_count(0)
        with paused(stack, "api"):
            page.clock.fast_forward(LONG_SILENCE_MS)
            expect(lost).to_be_visible()
        expect(lost).to_have_count(0)
        page.get_by_role("button", name="Cancel").press("Enter")
        heading = page.get_by_role("heading", name="wine.csv: cultivar", exact=True)
        expect(heading).to_be_focused()
        expect(page.get_by_text("No model was done by then.")).to_be_visible()
        page.get_by_role("tab", name="Results").click()
        page.get_by_role("link", name="See why").click()
        page.wait_for_url("**tab=progress*")
        page.get_by_role("button", name="Resume").press("Enter")
        expect(heading).to_be_focused()
        assert person.http.delete(f"/ml/tasks/{waits}").status_code == 204
        expect(page.get_by_role("heading", name="Task not found")).to_be_visible()
    person.close()


def test_a_model_in_another_format(page: Page, stack: Stack) -> None:
    person = Person(stack.url, "converts@example.com")
    task = person.run(tables.wine(), "cultivar", models=["naive_bayes"], time_budget_s=60)
    sign_in(page, "converts@example.com")
    page.goto(f"{RUN}/{task['task_id']}?tab=results")
    formats = page.get_by_role("button", name="Other formats of Naive Bayes")
    formats.press("Enter")
    page.keyboard.press("Enter")  # the first one
    dialog = page.get_by_role("dialog", name="Naive Bayes as .skops")
    expect(dialog.get_by_text("skops.io.load(")).to_be_visible()
    check_accessible(page)
    with page.expect_download() as coming:
        dialog.get_by_role("button", name=re.compile("^Download")).click()
    assert coming.value.suggested_filename == f"naive_bayes_{task['task_id']}.skops"
    with zipfile.ZipFile(coming.value.path()) as file:
        assert json.loads(file.read("schema.json"))["__class__"] == "Pipeline"
    page.keyboard.press("Escape")
    expect(formats).to_be_focused()
    person.close()
