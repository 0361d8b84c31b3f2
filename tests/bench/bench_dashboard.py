"""What a visit to the dashboard costs, and how long its first results take, in a real Chromium.

Each visit is a browser's first one: nothing is cached. It paints when its `FCP` (first contentful paint) and
`LCP` (largest one) say, as in Lighthouse but without its slow network; `CLS` is the sum of all layout shifts,
also while data comes in. Anchor: a line of plain text from the same server, which no browser shows sooner.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, StorageState, sync_playwright

from deploy.processes import PROJECT
from tests.bench import report
from tests.e2e import stack as stacks
from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.web import chromium
from tests.web.behind import paused
from tests.web.pages import launch, opened, sign_in

TITLE = "The dashboard"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 9)
RUNS = 5
RUN_MS = 300_000
EMAIL = "ann@example.com"
ANCHOR = "/health/live"

WATCH = """
window.seen = { fcp: null, lcp: null, cls: 0, row: null, whole: null }
const watch = (type, take) =>
    new PerformanceObserver(list => list.getEntries().forEach(take)).observe({ type, buffered: true })
watch("paint", entry => { if (entry.name === "first-contentful-paint") seen.fcp = entry.startTime })
watch("largest-contentful-paint", entry => { seen.lcp = entry.startTime })
watch("layout-shift", entry => { if (!entry.hadRecentInput) seen.cls += entry.value })
new MutationObserver(() => {
    if (!document.querySelector("[aria-label='Table of all models'] tbody tr")) return
    seen.row ??= performance.now()
    const heads = [...document.querySelectorAll("h2")].map(head => head.textContent)
    if (heads.includes("Download & Save Results")) seen.whole ??= Date.now()
}).observe(document, { childList: true, subtree: true })
"""
SEEN = """() => ({ ...seen, scripts: performance.getEntriesByType("resource")
    .filter(entry => new URL(entry.name).pathname.endsWith(".js"))
    .reduce((all, entry) => all + entry.encodedBodySize, 0) })"""

Seen = dict[str, Any]


def measure() -> list[str]:
    build = [sys.executable, "-I", str(PROJECT / "deploy" / "dashboard.py"), "--required"]
    subprocess.run(build, check=True)
    chromium.main()
    executable = chromium.executable()
    assert executable, "there is no Chromium to measure in"
    with tempfile.TemporaryDirectory() as data, stacks.running(Path(data)) as stack:
        with sync_playwright() as playwright, launch(playwright, executable) as browser:
            return _measure(stack, browser)


def _measure(stack: Stack, browser: Browser) -> list[str]:
    person = Person(stack.url, EMAIL)
    file_id = person.upload(tables.wine())["file_id"]

    def train() -> str:
        models = ["logistic_regression", "naive_bayes"]
        return str(person.train(file_id, "cultivar", models=models, time_budget_s=60)["task_id"])

    task_id = train()
    assert person.ended(task_id)["status"] == "completed"
    person.save(task_id, "Wines by cultivar")
    pages = {
        "a line of text": ANCHOR,
        "sign-in": "/sign-in",
        "datasets": "/dashboard/blueprints",
        "a dataset": f"/dashboard/blueprints/files/{file_id}",
        "setting up a run": f"/dashboard/blueprints/train?file={file_id}",
        "a finished run": f"/dashboard/blueprints/tasks/{task_id}?tab=results",
        "saved models": "/dashboard/models",
    }
    with opened(browser, stack.url) as page:
        sign_in(page, EMAIL)
        who = page.context.storage_state()
    visits: dict[str, list[Seen]] = {name: [] for name in pages}
    for round_ in range(ROUNDS + 1):
        for name, path in pages.items():
            found = _visit(browser, stack.url, path, None if name == "sign-in" else who)
            if round_:  # the first one warms the server up
                visits[name].append(found)
    waits = [_completed(browser, stack, person, train, who) for _ in range(RUNS)]
    person.close()
    return _lines(visits, waits)


def _visit(browser: Browser, url: str, path: str, who: StorageState | None) -> Seen:
    with browser.new_context(base_url=url, storage_state=who) as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return _seen(page)


def _seen(page: Page) -> Seen:
    return dict(page.evaluate(SEEN))


def _completed(
    browser: Browser, stack: Stack, person: Person, train: Callable[[], str], who: StorageState
) -> float:
    """Milliseconds from a run's end to all of its results on a page that was open meanwhile."""
    with browser.new_context(base_url=stack.url, storage_state=who) as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        with paused(stack, "trainer"):
            task_id = train()
            page.goto(f"/dashboard/blueprints/tasks/{task_id}?tab=results")
            page.get_by_role("heading", name="No results yet").wait_for()
        page.wait_for_function("() => seen.whole", timeout=RUN_MS)
        ended = datetime.fromisoformat(person.ended(task_id)["finished_at"])
        return float(_seen(page)["whole"]) - ended.timestamp() * 1000


def _lines(visits: dict[str, list[Seen]], waits: Sequence[float]) -> list[str]:
    anchor = statistics.median(seen["fcp"] for seen in visits["a line of text"])
    rows = [
        (
            name,
            f"{max(one['scripts'] for one in seen) / 1000:,.0f}",
            _times([one["fcp"] for one in seen]),
            _times([one["lcp"] for one in seen]),
            f"{statistics.median(one['lcp'] for one in seen) / anchor:.1f}",
            f"{max(one['cls'] for one in seen):.3f}",
        )
        for name, seen in visits.items()
    ]
    head = ("page", "script, kB as sent", "FCP, ms", "LCP, ms", "LCP / anchor's FCP", "CLS, worst")
    first_row = _times([one["row"] for one in visits["a finished run"]])
    return [
        f"Medians of {ROUNDS} first visits by browsers of 1280 × 720 (least to greatest). "
        "Goal: at most 200 kB of script.",
        "",
        *report.table(head, rows),
        "",
        f"From opening a finished run to its leaderboard's first row: {first_row} ms. From a run's end "
        "to its whole leaderboard and its downloads on a page that is open: "
        f"{_times(waits)} ms, of {RUNS} runs.",
    ]


def _times(milliseconds: Sequence[float]) -> str:
    """The median, with the range."""
    return f"{statistics.median(milliseconds):,.0f} ({min(milliseconds):,.0f} to {max(milliseconds):,.0f})"


if __name__ == "__main__":
    print("\n".join(measure()))
