"""What benchmarks found, in docs/benchmarks.md: each writes its own section and leaves the others alone."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`, a section by each benchmark (`make bench NAME=status` for one), which says when and
on which machine it ran. Machines are shared and noisy: every speed is a ratio of two things measured in turn,
in one run, on the same machine.
"""
RATIOS = "The ratio is the median over the rounds, with its range."


class Figure(Struct, frozen=True, kw_only=True):
    """`ratio`: ours over the anchor's; `spread`: its least and greatest; `goal`: as text, or empty."""

    what: str
    ours: str
    anchor: str
    ratio: float
    spread: tuple[float, float]
    goal: str = ""
    note: str = ""

    def __str__(self) -> str:
        low, high = self.spread
        compared = f"{self.ours} against {self.anchor}"
        return f"{self.what} ({self.note}): {compared} = {self.ratio:.2f} ({low:.2f} to {high:.2f})"


def compared(
    what: str,
    ours: Sequence[float],
    anchor: Sequence[float],
    *,
    say: Callable[[float], str],
    against: str,
    goal: str = "",
    note: str = "",
) -> Figure:
    """What was measured in turn, a pair a round: the medians, and the ratio of each round."""
    ratios = [a / b for a, b in zip(ours, anchor, strict=True)]
    return Figure(
        what=what,
        ours=say(statistics.median(ours)),
        anchor=f"{say(statistics.median(anchor))}, {against}",
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        goal=goal,
        note=note,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: one of the values. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def machine() -> str:
    """The machine and how busy it was."""
    model = ""
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = f"{names[0]}, " if names else ""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{load}"


def today() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"


def ratios(figures: Sequence[Figure]) -> list[str]:
    """The figures as the lines of a table."""
    rows = []
    for f in figures:
        what = f"{f.what}; {f.note}" if f.note else f.what
        rows.append(
            (what, f.ours, f.anchor, f"{f.ratio:.2f} ({f.spread[0]:.2f} to {f.spread[1]:.2f})", f.goal)
        )
    return [RATIOS, "", *table(("what", "ours", "anchor", "ratio", "goal"), rows)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table. A `|` in a cell would end it, so it is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]


def section(name: str, title: str, lines: Sequence[str], *, path: Path = REPORT) -> None:
    """Put `lines` of Markdown under `title` in the place of the section `name`, or at the end.

    `name` is the benchmark's, as in `make bench NAME=`; whatever else stands in the file is left as it is.
    """
    text = path.read_text("utf-8") if path.exists() else HEAD
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- {name}: end -->"
    body = "\n".join([begin, f"## {title}", "", *lines, end])
    found = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    replaced, count = found.subn(lambda _: body, text)
    path.write_text(replaced if count else f"{text.rstrip()}\n\n{body}\n", "utf-8")
