"""What a benchmark found, as a table for people."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `make bench`. Machines are shared and noisy: every figure is a ratio of two things measured in
turn, in one run, on the same machine. The ratio is the median over the rounds, with its range.
"""


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


def table(figures: Sequence[Figure], on: str) -> str:
    rows = ["| what | ours | anchor | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    for f in figures:
        what = f"{f.what}; {f.note}" if f.note else f.what
        ratio = f"{f.ratio:.2f} ({f.spread[0]:.2f} to {f.spread[1]:.2f})"
        rows.append(f"| {what} | {f.ours} | {f.anchor} | {ratio} | {f.goal} |")
    return f"{HEAD}\n{dt.datetime.now(dt.UTC):%Y-%m-%d}, {on}.\n\n" + "\n".join(rows) + "\n"
