"""docs/benchmarks.md: each benchmark writes its own section and no other."""

from __future__ import annotations

from pathlib import Path

from tests.bench import report


def test_a_section_is_replaced_where_it_stands_and_others_are_left(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    report.section("status", "Status polls", ["old"], path=path)
    report.section("leaks", "Leaks", ["recall \\1 of 9"], path=path)
    report.section("status", "Status polls", ["new"], path=path)
    text = path.read_text()
    assert text.startswith(report.HEAD)
    assert "old" not in text
    assert "recall \\1 of 9" in text
    assert text.index("## Status polls\n\nnew") < text.index("## Leaks")
    assert text.count("written by make bench -->") == 2


def test_a_name_that_begins_like_another_is_another_section(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    report.section("models", "Models", ["first figures"], path=path)
    report.section("models-latency", "Latency", ["two"], path=path)
    report.section("models", "Models", ["three"], path=path)
    assert "two" in path.read_text()
    assert "first figures" not in path.read_text()


def test_figures_become_rows_with_ratio_and_range() -> None:
    figure = report.Figure(
        what="a | b", ours="2/s", anchor="4/s", ratio=0.5, spread=(0.4, 0.6), goal=">= 0.8", note="1 row"
    )
    assert report.ratios([figure])[-1] == "| a \\| b; 1 row | 2/s | 4/s | 0.50 (0.40 to 0.60) | >= 0.8 |"
