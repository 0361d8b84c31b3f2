"""A run as somebody makes one and takes its models home: every step is a click on a page."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import joblib
from playwright.sync_api import Download, Locator, Page, expect

from tests.e2e import tables
from tests.e2e.stack import Stack
from tests.e2e.tables import Table
from tests.web.behind import saved_object

RUN_MS = 200_000
"""Only to catch what hangs: a run, or a ZIP, on a busy machine."""


class Wish(NamedTuple):
    """What is to be trained. `models`: slug → label; `is_good`: whether predictions fit the true values."""

    kind: str
    table: Table
    target: str
    models: dict[str, str]
    is_good: Callable[[Any, Any], bool]


CLASSIFICATION = Wish(
    "Classification",
    tables.wine(),
    "cultivar",
    {"logistic_regression": "Logistic Regression", "naive_bayes": "Naive Bayes"},
    lambda predicted, true: (predicted == true).mean() > 0.9,
)
REGRESSION = Wish(
    "Regression",
    tables.diabetes(),
    "progression",
    {"ridge": "Ridge", "elastic_net": "Elastic Net"},
    lambda predicted, true: abs(predicted - true).mean() < 0.8 * abs(true - true.mean()).mean(),
)


class Run:
    """One that was begun, on a page of who trains it. Files that were taken home are in `folder`."""

    def __init__(self, page: Page, stack: Stack, folder: Path, wish: Wish) -> None:
        self.page, self.stack, self.folder, self.wish = page, stack, folder, wish
        self.task_id = self._begin()

    def _begin(self) -> str:
        page, (kind, table, target, models, _) = self.page, self.wish
        page.goto("/dashboard/blueprints")
        page.get_by_label("Tables to upload").set_input_files(
            {"name": table.name, "mimeType": "text/csv", "buffer": table.content}
        )
        page.get_by_role("link", name=f"Train on {table.name}").click()
        page.get_by_label("Target").select_option(target)
        expect(page.get_by_role("radio", name=kind)).to_be_checked()
        page.get_by_role("button", name="None").click()
        for label in models.values():
            page.get_by_role("checkbox", name=label, exact=True).check()
        page.get_by_role("button", name="1 min").click()
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/dashboard/blueprints/tasks/*")
        expect(page.get_by_role("progressbar", name="Progress of the run")).to_be_visible()
        found = re.search(r"/tasks/([0-9a-f-]{36})", page.url)
        assert found, page.url
        return found[1]

    def ended(self) -> Run:
        """Itself, once its page says that it is over."""
        expect(self.page.get_by_role("link", name="See the results")).to_be_visible(timeout=RUN_MS)
        return self

    @property
    def address(self) -> str:
        return f"/dashboard/blueprints/tasks/{self.task_id}"

    def results(self) -> Locator:
        """The Results tab's "Download & Save Results"."""
        self.page.goto(f"{self.address}?tab=results")
        section = self.page.get_by_role("region", name="Download & Save Results")
        expect(section).to_be_visible()
        return section

    @functools.cached_property
    def saved(self) -> dict[str, Any]:
        """The best model, saved by the dialog's form: its row, as the API tells it at last."""
        name = f"{self.wish.kind} of {self.wish.table.name}"
        self.results().get_by_role("button", name="Save to Database").click()
        dialog = self.page.get_by_role("dialog", name="Save Model")
        dialog.get_by_label("Model name").fill(name)
        dialog.get_by_label("Description").fill("From the checklist")
        dialog.get_by_label("Tags").fill("checklist, Größe")
        dialog.get_by_role("button", name="Save Model").click()
        expect(dialog.get_by_text(f"{name} is saved")).to_be_visible()
        rows = self.get("/models", q=name)["items"]
        assert len(rows) == 1, rows
        return dict(rows[0])

    def models_page(self) -> Locator:
        """The saved model's place in the list of /dashboard/models."""
        name = self.saved["model_name"]
        self.page.goto("/dashboard/models")
        return self.row(name)

    def row(self, name: str) -> Locator:
        return self.page.get_by_role("listitem").filter(has=self.page.get_by_role("heading", name=name))

    def get(self, path: str, **query: str) -> Any:
        """The API's JSON, by the browser's cookie."""
        answer = self.page.request.get(path, params=query)
        assert answer.ok, f"{path}: {answer.status} {answer.text()}"
        return answer.json()

    def click(self, button: Locator) -> Taken:
        """Press a button, and take what it downloads."""
        with self.page.expect_download(timeout=RUN_MS) as coming:
            button.click()
        return self.taken(coming.value)

    def taken(self, download: Download) -> Taken:
        assert download.failure() is None
        path = self.folder / download.suggested_filename
        download.save_as(path)
        return Taken(path)

    def object(self) -> Taken:
        """The saved model's file, as the store has it."""
        into = self.folder / "object"
        return Taken(saved_object(self.stack, self.saved["file_path"], into))

    def predicts(self, model: Taken) -> bool:
        """Whether the file is a model that can be loaded, and predicts from the table as it was uploaded."""
        frame = self.wish.table.frame
        predicted = joblib.load(model.path).predict(frame.drop(columns=self.wish.target))
        return self.wish.is_good(predicted, frame[self.wish.target])


class Taken(NamedTuple):
    """A file that was taken home."""

    path: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()
