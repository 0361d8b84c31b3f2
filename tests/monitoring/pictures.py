"""`python -m tests.monitoring.pictures [FOLDER]`: the dashboards with the figures of a real run.

The whole stack and a second trainer, a real Prometheus over them with the rules that are shipped, a few
minutes of people's work, and then every panel: its query is asked of that Prometheus, and what it answers is
drawn by Grafana's own components from the JSON that is provisioned (viewer/). Fails where a panel would be
empty.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from deploy import dashboard as node_of
from deploy.monitoring.grafana import FOLDER
from tests.e2e import stack as stacks
from tests.monitoring import activity, promql
from tests.monitoring.programs import main as fetch_prometheus
from tests.monitoring.programs import program
from tests.monitoring.prometheus import Prometheus, here, running
from tests.web.chromium import executable
from tests.web.pages import launch

VIEWER = Path(__file__).with_name("viewer")
WIDTH = 1500
EVERY_S = 2.0
RATE_S = 20.0
"""Grafana's $__rate_interval would be four scrapes at least; of a few minutes a larger window shows more."""
POINTS = 200
COLOURS = 128
"""Of a picture's palette, so that it stays small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    parser.add_argument(
        "--answers", type=Path, help="draw these again, or keep them here, instead of a new run's"
    )
    given = parser.parse_args()
    chromium = executable()
    assert chromium, "there is no Chromium: `python -m tests.web.chromium` installs one"
    bundle()
    if given.answers and given.answers.exists():
        handed = json.loads(given.answers.read_text())
    else:
        handed = watched()
        if given.answers:
            given.answers.write_text(json.dumps(handed))
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, launch(playwright, chromium) as browser:
        for one in handed:
            draw(
                browser,
                one,
                given.folder / f"monitoring-{one['dashboard']['uid'].removeprefix('trainyard-')}.png",
            )


def watched() -> list[dict[str, Any]]:
    """A few minutes of a stack, and what Prometheus answers to every panel afterwards."""
    fetch_prometheus()
    prometheus = program("prometheus")
    assert prometheus, "there is no Prometheus here"
    with tempfile.TemporaryDirectory() as data, stacks.running(Path(data, "stack")) as stack:
        folder = Path(data, "prometheus")
        folder.mkdir()
        with (
            activity.installed(stack) as installation,
            running(prometheus, here(installation.targets, every_s=EVERY_S), folder) as found,
        ):
            began = time.time()
            activity.lived(installation)
            ended = time.time()
            print(f"{ended - began:.0f} s watched; alerts: {', '.join(found.alerts()) or 'none'}", flush=True)
            dashboards = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
            return [asked(found, dashboard, began, ended) for dashboard in dashboards]


def asked(prometheus: Prometheus, dashboard: dict[str, Any], began: float, ended: float) -> dict[str, Any]:
    """What the viewer is handed. Raises AssertionError where a panel has nothing to show."""
    answers: dict[str, list[dict[str, Any]]] = {}
    empty = []
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        answers[str(panel["id"])] = answered = [
            {"legend": target["legendFormat"], "series": _series(prometheus, target, began, ended)}
            for target in panel["targets"]
        ]
        if not all(any(_numbers(series) for series in answer["series"]) for answer in answered):
            empty.append(panel["title"])
    assert not empty, f"{dashboard['title']}: nothing to show in {empty}"
    return {"dashboard": dashboard, "answers": answers, "from": began, "to": ended, "width": WIDTH}


def _series(
    prometheus: Prometheus, target: dict[str, Any], began: float, ended: float
) -> list[dict[str, Any]]:
    query = promql.plain(target["expr"], rate_interval=f"{RATE_S:.0f}s", range=f"{ended - began:.0f}s")
    if not target["instant"]:
        return prometheus.over(query, began, ended, max(EVERY_S, (ended - began) / POINTS))
    found = prometheus.instant(query, ended)
    return [{"metric": series["metric"], "values": [series["value"]]} for series in found]


def _numbers(series: dict[str, Any]) -> list[float]:
    return [value for _, text in series["values"] if not math.isnan(value := float(text))]


def bundle() -> None:
    """Grafana's packages as package-lock.json has them, and the viewer made of them."""
    node = node_of.of_the_machine() or node_of.of_pypi()
    if not (VIEWER / "node_modules").exists():
        node.run("ci", "--ignore-scripts", "--prefix", str(VIEWER))
    command = [
        str(node.folder / "node"),
        str(VIEWER / "node_modules" / "esbuild" / "bin" / "esbuild"),
        *("main.tsx", "--bundle", "--minify", "--format=iife", "--jsx=automatic", "--outdir=dist"),
        *('--define:process.env.NODE_ENV="production"', "--log-level=warning"),
        *("--loader:.svg=text", "--loader:.ttf=empty", "--loader:.woff2=empty"),
    ]
    subprocess.run(command, cwd=VIEWER, check=True)


def draw(browser: Browser, handed: dict[str, Any], target: Path) -> None:
    """One dashboard as one picture."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("main.js", "main.css"):
            shutil.copy(VIEWER / "dist" / name, folder)
        told = json.dumps(handed).replace("</", "<\\/")
        Path(folder, "index.html").write_text(
            '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="main.css">'
            '<body style="margin:0"><div id="root"></div>'
            f'<script>const HANDED = {told}</script><script src="main.js"></script>'
        )
        page = browser.new_page(viewport={"width": handed["width"], "height": 900}, reduced_motion="reduce")
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(Path(folder, "index.html").as_uri())
        panels = [panel for panel in handed["dashboard"]["panels"] if panel["type"] != "row"]
        expect(page.locator("section")).to_have_count(len(panels))
        expect(page.locator("[data-empty]")).to_have_count(0)
        page.wait_for_timeout(1000)  # plots are drawn a frame or two later, and say nothing when they are
        assert not wrong, wrong
        page.locator("main").screenshot(path=target)
        page.close()
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}, {target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
