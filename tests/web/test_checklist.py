"""The guide's testing checklist, a test an item and in its order, by a person at the dashboard.

Every file is opened as its user would open it, and what was saved is looked up in the store.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import checks
from tests.e2e.stack import Stack
from tests.web.behind import paused, store_settings
from tests.web.pages import opened, sign_in
from tests.web.runs import CLASSIFICATION, REGRESSION, RUN_MS, Run

COLUMNS_BEFORE = ["rank", "model_name", "label", "algorithm"]
COLUMNS_AFTER = ["cv_mean", "cv_std", "fit_seconds", "predict_ms_per_row", "size_bytes", "status", "reason"]


@pytest.fixture(scope="module")
def begun(
    browser: Browser, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Run]]:
    """Somebody's run of each kind, both under way: one goes on while the other is looked at."""
    with contextlib.ExitStack() as pages:
        runs = {}
        for wish in (CLASSIFICATION, REGRESSION):
            page = pages.enter_context(opened(browser, stack.url))
            sign_in(page, f"{wish.kind.lower()}@example.com")
            runs[wish.kind] = Run(page, stack, tmp_path_factory.mktemp("downloads"), wish)
        yield runs


@pytest.fixture(scope="module")
def classification(begun: dict[str, Run]) -> Run:
    return begun[CLASSIFICATION.kind].ended()


@pytest.fixture(scope="module")
def regression(begun: dict[str, Run]) -> Run:
    return begun[REGRESSION.kind].ended()


def test_train_a_classification_model(classification: Run) -> None:
    run, page = classification, classification.page
    page.goto(run.address)
    page.wait_for_url("**tab=results*")
    expect(page).to_have_title(f"✓ {run.wish.table.name}: {run.wish.target} · Trainyard")
    rows = page.get_by_role("region", name="Leaderboard").get_by_role("rowheader")
    expect(rows).to_have_count(len(run.wish.models))
    for label in run.wish.models.values():
        expect(rows.filter(has_text=label)).to_have_count(1)
    page.keyboard.press("End")  # plots are loaded when somebody scrolls near
    plots = page.get_by_role("region", name=re.compile("^Plots of "))
    expect(plots.get_by_role("figure").first).to_be_visible()


def test_click_best_model_verify_download(classification: Run) -> None:
    run = classification
    model = run.click(run.results().get_by_role("button", name="Best Model"))
    assert model.path.name == f"best_model_{run.task_id}.pkl"
    assert run.predicts(model)


def test_click_performance_report_verify_csv_download(classification: Run) -> None:
    run = classification
    report = run.click(run.results().get_by_role("button", name="Performance Report"))
    assert report.path.name == f"leaderboard_{run.task_id}.csv"
    with report.path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    metrics = checks.METRICS[run.wish.kind.lower()].split(",")
    assert reader.fieldnames == [*COLUMNS_BEFORE, *metrics, *COLUMNS_AFTER]
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert {row["model_name"]: row["label"] for row in rows} == run.wish.models
    best = run.page.get_by_role("region", name="Best model")
    expect(best.get_by_role("heading", name=rows[0]["label"])).to_be_visible()
    assert all(float(row[column]) > 0 for row in rows for column in (metrics[0], "cv_mean", "size_bytes"))


def test_click_save_to_database_verify_dialog_opens(classification: Run) -> None:
    button = classification.results().get_by_role("button", name="Save to Database")
    button.click()
    dialog = classification.page.get_by_role("dialog", name="Save Model")
    expect(dialog.get_by_label("Model name")).to_be_focused()
    expect(dialog.get_by_label("Model name")).to_have_value(re.compile(f"^{classification.wish.target} – "))
    expect(dialog.get_by_text(re.compile(r"Size: [\d.]+ kB"))).to_be_visible()
    dialog.get_by_label("Model name").fill("")
    dialog.get_by_role("button", name="Save Model").click()
    expect(dialog.get_by_text("A model needs a name")).to_be_visible()
    classification.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()


def test_fill_form_and_save_verify_upload(classification: Run) -> None:
    run = classification
    row, best = run.saved, run.click(run.results().get_by_role("button", name="Best Model"))
    assert (row["status"], row["deleted"]) == ("ready", False)
    assert (row["task_id"], row["task_type"]) == (run.task_id, run.wish.kind.lower())
    assert (row["description"], row["tags"]) == ("From the checklist", ["checklist", "Größe"])
    assert row["file_path"].startswith(f"{row['user_id']}/{run.wish.kind}_of_")
    in_store = run.object()
    assert in_store.sha256 == row["sha256"] == best.sha256
    assert in_store.path.stat().st_size == row["file_size"]
    assert run.predicts(in_store)


def test_click_download_all_as_zip_verify_zip_contains_files(classification: Run) -> None:
    run, page = classification, classification.page
    section = run.results()
    with page.expect_download(timeout=RUN_MS) as coming, paused(run.stack, "packager"):
        section.get_by_role("button", name="Download All as ZIP").click()
        expect(section.get_by_role("button", name="Packing, 0%")).to_be_visible()
        expect(section.get_by_role("progressbar", name="Packing the ZIP")).to_be_visible()
    archive = run.taken(coming.value)
    expect(section.get_by_role("button", name="Download All as ZIP")).to_be_enabled()
    assert archive.path.name == f"all_models_{run.task_id}.zip"
    unpacked = checks.unpack(archive.path, run.folder / "unpacked")  # whole, and SHA256SUMS hold
    names = {path.name for path in unpacked.iterdir()}
    assert names >= checks.ALWAYS_IN_THE_ZIP | {f"{slug}.pkl" for slug in run.wish.models}
    best = run.click(section.get_by_role("button", name="Best Model"))
    assert (unpacked / "best_model.pkl").read_bytes() == best.path.read_bytes()
    report = run.click(section.get_by_role("button", name="Performance Report"))
    assert (unpacked / "leaderboard.csv").read_bytes() == report.path.read_bytes()


def test_click_individual_model_download_verify_specific_model_downloads(classification: Run) -> None:
    run, digests = classification, set()
    section = run.results()
    expect(section.get_by_role("listitem").first.get_by_role("img", name="Best model")).to_be_visible()
    for slug, label in run.wish.models.items():
        model = run.click(section.get_by_role("button", name=f"Download {label}"))
        assert model.path.name == f"{slug}_{run.task_id}.pkl"
        assert run.predicts(model)
        digests.add(model.sha256)
    assert len(digests) == len(run.wish.models)


def test_navigate_to_dashboard_models_verify_saved_model_appears(classification: Run) -> None:
    run, page = classification, classification.page
    name = run.saved["model_name"]
    page.goto("/dashboard/blueprints")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Models").click()
    page.wait_for_url("**/dashboard/models")
    row = run.row(name)
    expect(row.get_by_text(run.saved["algorithm"])).to_be_visible()
    expect(row.get_by_text("From the checklist")).to_be_visible()
    row.get_by_role("button", name="Größe").click()
    page.wait_for_url("**tag=*")
    expect(page.get_by_text("1 model", exact=True)).to_be_visible()
    page.get_by_label("Search models").fill("no such model")
    expect(page.get_by_role("heading", name="No model matches")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(row).to_be_visible()


def test_download_from_saved_models_page_verify_signed_url_works(classification: Run) -> None:
    run, name = classification, classification.saved["model_name"]
    row = run.models_page()
    model = run.click(row.get_by_role("button", name=f"Download {name}"))
    assert model.sha256 == run.saved["sha256"]
    assert run.predicts(model)
    row.get_by_role("button", name=f"Link to {name}").click()
    dialog = run.page.get_by_role("dialog", name="Signed link")
    link = dialog.get_by_role("textbox").input_value()
    assert link.startswith(f"{store_settings(run.stack).s3_endpoint_url}/"), "it is the store's own"
    assert httpx.get(link).content == model.path.read_bytes(), "without a token"
    tampered = httpx.get(link.replace("X-Amz-Expires=", "X-Amz-Expires=9"))
    assert tampered.status_code == 403
    run.page.keyboard.press("Escape")


def test_delete_saved_model_verify_soft_delete(classification: Run) -> None:
    run, page, name = classification, classification.page, classification.saved["model_name"]
    address = f"/models/{run.saved['id']}"
    row = run.models_page()
    row.get_by_role("button", name=f"Delete {name}").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()

    row.get_by_role("button", name=f"Delete {name}").click()
    expect(row).to_have_count(0)
    assert page.request.get(f"{address}/download").status == 404
    assert run.object().sha256 == run.saved["sha256"], "only its row is marked: the file stays for a while"
    page.get_by_role("tab", name="Trash").click()
    row.get_by_role("button", name=f"Restore {name}").click()
    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    page.get_by_role("tab", name="Saved").click()
    expect(row).to_be_visible()
    assert run.click(row.get_by_role("button", name=f"Download {name}")).sha256 == run.saved["sha256"]


ITEMS: list[Callable[[Run], None]] = [
    test_train_a_classification_model,
    test_click_best_model_verify_download,
    test_click_performance_report_verify_csv_download,
    test_click_save_to_database_verify_dialog_opens,
    test_fill_form_and_save_verify_upload,
    test_click_download_all_as_zip_verify_zip_contains_files,
    test_click_individual_model_download_verify_specific_model_downloads,
    test_navigate_to_dashboard_models_verify_saved_model_appears,
    test_download_from_saved_models_page_verify_signed_url_works,
    test_delete_saved_model_verify_soft_delete,
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.__name__.removeprefix("test_"))
def test_train_regression_model_repeat_tests_for_regression(
    regression: Run, item: Callable[[Run], None]
) -> None:
    item(regression)


def test_with_different_users_verify_rls_isolation(
    classification: Run, another: Callable[[str], Page]
) -> None:
    mine, theirs = classification, another("somebody-else@example.com")
    model_id, file_id = mine.saved["id"], mine.saved["file_id"]
    for path, empty in {
        "/dashboard/blueprints": "No datasets yet",
        "/dashboard/blueprints?tab=runs": "No runs yet",
        "/dashboard/models": "No saved models yet",
        "/dashboard/models?tab=trash": "The trash is empty",
        mine.address: "Task not found",
        f"{mine.address}?tab=results": "Task not found",
        f"/dashboard/blueprints/files/{file_id}": "File not found",
    }.items():
        theirs.goto(path)
        expect(theirs.get_by_role("heading", name=empty)).to_be_visible()
    for path, reason in {
        f"/models/{model_id}": "Model not found",
        f"/models/{model_id}/download": "Model not found",
        f"/ml/download-model/{mine.task_id}/best_model": "Task not found",
        f"/ml/download-leaderboard/{mine.task_id}": "Task not found",
        f"/ml/download-all-models/{mine.task_id}": "Task not found",
        f"/ml/results/{mine.task_id}": "Task not found",
    }.items():
        answer = theirs.goto(path)
        assert answer is not None and answer.status == 404, path
        assert answer.json()["detail"] == reason
    expect(mine.models_page()).to_be_visible()
