"""The table that `make portability` writes: what a report of pytest becomes in it."""

from __future__ import annotations

from pathlib import Path

from tests.portability import matrix
from tests.portability.__main__ import AREAS, _write

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.integration.test_a" name="test_one_thing" time="1"/>
<testcase classname="tests.integration.test_a" name="test_more[x]" time="1"/>
<testcase classname="tests.integration.test_a" name="test_more[y]" time="1">
  <failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="tests.integration.test_b" name="test_broken" time="1"><error message=""/></testcase>
<testcase classname="tests.integration.test_b" name="test_left_out" time="1"><skipped/></testcase>
</testsuite></testsuites>"""


def found(tmp_path: Path, report: str) -> matrix.Found:
    path = tmp_path / "junit.xml"
    path.write_text(report)
    return matrix.read(path)


def test_a_line_a_test_and_a_column_a_server(tmp_path: Path) -> None:
    ours = found(tmp_path, REPORT)
    theirs = {key: matrix.Count(passed=2) for key in ours if key[1] == "test_more"}
    assert matrix.table({"Ours 1": ours, "Theirs 2": theirs}) == [
        "| test | Ours 1 | Theirs 2 |",
        "| --- | --- | --- |",
        "| **tests/integration/test_a.py** |  |  |",
        "| more | **1 of 2** | yes (2) |",
        "| one thing | yes | – |",
        "| **tests/integration/test_b.py** |  |  |",
        "| broken | **0 of 1** | – |",
        "| **all** | **2 passed, 2 failed** | **2 passed, 0 failed** |",
    ]


def test_what_failed_is_said_with_its_first_line(tmp_path: Path) -> None:
    assert matrix.failures({"Ours": found(tmp_path, REPORT)}) == [
        "- Ours, `tests/integration/test_a.py::test_more[y]: assert 1 == 2`",
        "- Ours, `tests/integration/test_b.py::test_broken: failed`",
    ]


def test_a_section_is_put_in_its_place_and_the_rest_stays(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "portability.md"
    monkeypatch.setenv("PORTABILITY_REPORT", str(path))
    path.write_text("# Portability\n\nBy hand.\n")
    for name, line in (("storage", "first"), ("queue", "other"), ("storage", "second")):
        _write(name, name.title(), [line])
    text = path.read_text()
    assert text.startswith("# Portability\n\nBy hand.\n")
    assert "first" not in text
    assert text.index("## Storage") < text.index("second") < text.index("## Queue") < text.index("other")


def test_what_is_tried_is_there() -> None:
    tests = Path(__file__).parents[2]
    for area in AREAS.values():
        assert all((tests / path).exists() for path in area.tests), area.tests
