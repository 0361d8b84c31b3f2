"""The first rows of a table, as text."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from services.trainer import table
from services.trainer.preview import LONGEST, MOST_CHARACTERS, preview
from shared.contracts.files import Preview


def decoded(folder: Path, text: str) -> Path:
    source, out = folder / "table.csv", folder / "table.arrow"
    source.write_text(text)
    table.decode(source, "table.csv", out)
    return out


def test_cells_are_text_and_missing_ones_none(tmp_path: Path) -> None:
    out = decoded(tmp_path, "n,x,flag,day,word\n1,0.5,true,2026-03-14,a\n2,,false,2026-03-15,\n")
    made = preview(out)
    assert made.columns == ["n", "x", "flag", "day", "word"]
    assert made.rows == [["1", "0.5", "True", "2026-03-14", "a"], ["2", None, "False", "2026-03-15", None]]


def test_numbers_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    made = preview(decoded(tmp_path, "whole,small\n1,1e-7\n,0.1\n3,12345678.9\n"))
    assert made.rows == [["1", "1e-7"], [None, "0.1"], ["3", "12345678.9"]]


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    [[cell, _]] = preview(decoded(tmp_path, f"a,b\n{'x' * 5000},1\n")).rows
    assert cell is not None
    assert len(cell) == LONGEST
    assert cell.endswith("…")


@pytest.mark.parametrize("at_a_time", [1, 7, 100])
def test_the_first_fifty_rows_are_shown_however_they_are_stored(tmp_path: Path, at_a_time: int) -> None:
    out = tmp_path / "table.arrow"
    whole = pa.table({"n": list(range(80))})
    with pa.ipc.new_file(str(out), whole.schema) as writer:
        for batch in whole.to_batches(max_chunksize=at_a_time):
            writer.write_batch(batch)
    assert preview(out).rows == [[str(n)] for n in range(50)]


def test_a_wide_table_shows_fewer_rows(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(2000))
    row = ",".join("x" * 60 for _ in range(2000))
    made = preview(decoded(tmp_path, f"{names}\n" + f"{row}\n" * 5))
    assert len(made.rows) == MOST_CHARACTERS // (2000 * 60) == 1
    assert len(made.columns) == len(made.rows[0]) == 2000
    narrow = ",".join("1" for _ in range(2000))
    assert len(preview(decoded(tmp_path, f"{names}\n" + f"{narrow}\n" * 60)).rows) == 50


def test_the_first_row_is_shown_however_long_it_is(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(2000))
    row = ",".join("y" * 500 for _ in range(2000))
    made = preview(decoded(tmp_path, f"{names}\n{row}\n{row}\n"))
    assert [len(row) for row in made.rows] == [2000]
    assert sum(len(cell or "") for cell in made.rows[0]) == 2000 * LONGEST > MOST_CHARACTERS


HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[31mred\x07",
    "\u202eright to left",
    "=1+1",
    "\U0001f680\u200d",
    "'; DROP TABLE profiles; --",
]


def test_what_is_hostile_is_text_like_any_other(tmp_path: Path) -> None:
    """Bytes that a page or a terminal might take for more are the reader's to show: nothing is lost here,
    and what Postgres keeps as JSON comes back as it was."""
    made = preview(decoded(tmp_path, "n,cell\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(HOSTILE))))
    assert [row[1] for row in made.rows] == HOSTILE
    assert msgspec.json.decode(msgspec.json.encode(made), type=Preview) == made


def test_a_cell_of_megabytes_costs_no_more_than_what_is_shown(tmp_path: Path) -> None:
    out = tmp_path / "table.arrow"
    whole = pa.table({"text": pa.array(["\U0001f682" * 2**18] * 50, pa.large_string())})
    with pa.ipc.new_file(str(out), whole.schema) as writer:
        writer.write_table(whole)
    del whole
    tracemalloc.start()
    made = preview(out)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.rows == [["\U0001f682" * (LONGEST - 1) + "…"]] * 50
    assert most < 2**20, "a fiftieth of what is there"
