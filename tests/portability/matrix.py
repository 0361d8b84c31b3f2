"""What pytest found on each server, as a table: a line a test, a column a server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

Test = tuple[str, str]
"""A file's path without its suffix, and a test's name without its parameters."""


class Count(Struct):
    """Of the cases of one test: how many passed, and what the others said."""

    passed: int = 0
    failures: list[str] = []

    @property
    def cell(self) -> str:
        total = self.passed + len(self.failures)
        if self.failures:
            return f"**{self.passed} of {total}**"
        return "yes" if total == 1 else f"yes ({total})"


Found = dict[Test, Count]


def read(report: Path) -> Found:
    """A JUnit report, as pytest writes it. A test that was not run is not in it."""
    found: Found = defaultdict(Count)
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        name = re.sub(r"\[.*", "", case.get("name", ""), flags=re.DOTALL)
        count = found[case.get("classname", "").replace(".", "/"), name]
        faults = [fault for kind in ("failure", "error") if (fault := case.find(kind)) is not None]
        if faults:
            first = (faults[0].get("message") or "").strip().splitlines() or ["failed"]
            count.failures.append(f"{case.get('name')}: {first[0]}")
        else:
            count.passed += 1
    return dict(found)


def table(columns: Mapping[str, Found]) -> list[str]:
    """Markdown. A test that did not run on a server has a dash there."""
    tests = sorted({test for found in columns.values() for test in found})
    lines = [["test", *columns], ["---"] * (len(columns) + 1)]
    before = ""
    for file, name in tests:
        if file != before:
            lines.append([f"**{file}.py**", *("" for _ in columns)])
            before = file
        cells = [found[file, name].cell if (file, name) in found else "–" for found in columns.values()]
        lines.append([name.removeprefix("test_").replace("_", " "), *cells])
    totals = [_total(found) for found in columns.values()]
    lines.append(["**all**", *totals])
    return ["| " + " | ".join(line) + " |" for line in lines]


def _total(found: Found) -> str:
    counts = Counter[str]()
    for count in found.values():
        counts["passed"] += count.passed
        counts["failed"] += len(count.failures)
    return f"**{counts['passed']} passed, {counts['failed']} failed**"


def failures(columns: Mapping[str, Found]) -> list[str]:
    """One line each."""
    return [
        f"- {server}, `{file}.py::{failure}`"
        for server, found in columns.items()
        for (file, _), count in sorted(found.items())
        for failure in count.failures
    ]


def facts(rows: Sequence[str], columns: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What each server can do, as a table."""
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[row, *(known[row] for known in columns.values())] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
