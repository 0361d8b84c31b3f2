"""docs/scaling.md: its tables stand between markers, and are written by `make simulate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench import report
from tests.bench.scaling.capacity import Load
from tests.bench.scaling.footprint import Footprint

PATH = Path(__file__).parents[3] / "docs" / "scaling.md"


def part(name: str, path: Path = PATH) -> str:
    """What stands between the markers `name`. Raises ValueError where they are not there."""
    found = _between(name).search(path.read_text("utf-8"))
    if found is None:
        raise ValueError(f"{path.name} has no part {name}")
    return found.group(2).strip()


def put(name: str, lines: Sequence[str], path: Path = PATH) -> None:
    """Put `lines` between the markers `name`. Raises ValueError where they are not there."""
    part(name, path)
    body = "\n".join(lines)
    text = _between(name).sub(lambda m: f"{m.group(1)}\n{body}\n{m.group(3)}", path.read_text("utf-8"))
    path.write_text(text, "utf-8")


def _between(name: str) -> re.Pattern[str]:
    begin, end = f"<!-- {name}: written by make simulate -->", f"<!-- {name}: end -->"
    return re.compile(f"({re.escape(begin)})(.*?)({re.escape(end)})", re.DOTALL)


def measured(found: Footprint) -> list[str]:
    """What the arithmetic begins with: when it was measured, and what is assumed."""
    load = Load(runs_per_day=1)
    rows = [
        (f"`{field.name}`", f"{getattr(load, field.name):g}", ASSUMED[field.name])
        for field in msgspec.structs.fields(Load)
        if field.name != "runs_per_day"
    ]
    return [
        f"Measured {found.measured} (`make bench NAME=footprint`). Assumed, in `Load` of"
        " `tests/bench/scaling/capacity.py`:",
        "",
        *report.table(("", "", "what"), rows),
        "",
        f"Ten million users with a profiled file each take {1e7 * found.user_bytes / 1e9:,.0f} GB of"
        " Postgres.",
    ]


ASSUMED = {
    "peak": "runs of the busiest hour over those of the day's mean; everything here is for that hour",
    "models": "of a run: the ten of a classification by default, and two ensembles",
    "fit_s": "slot seconds of each: with budgets of 60 s on two cores, runs took 94 core seconds"
    " ([benchmarks](benchmarks.md#models))",
    "polls": "status polls of a run besides whoever watches it by long polls, which is measured with the run",
    "upload_mib": "uploaded for each run, MiB",
    "queue_s": "how long jobs wait at that hour: what deepens the queue that a claim looks through",
}
