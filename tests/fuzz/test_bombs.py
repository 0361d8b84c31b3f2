"""Small uploads that unpack to much: refused in words, in little memory, before the disk is full.

Here all are a fiftieth of their size, with limits as much smaller; `python -m tests.fuzz.bombs` blows the
whole ones and measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.trainer.child import Children
from services.trainer.steps import STEPS
from services.trainer.table_limits import TableLimits
from tests.fuzz.bombs import BOMBS, blow
from tests.fuzz.steps import INSIDE

SCALE = 0.02
LIMITS = TableLimits(max_bytes=64 * 2**20, max_rows=1_000_000, max_record_bytes=2**20)
MEMORY = 900 * 2**20
"""A child is forked with two hundred MiB of libraries that it shares with the others."""

READ = {
    "parquet_with_a_text_of_2_gib": "'a', row 1: holds a text of more than 1,048,576 bytes",
    "parquet_of_100_000_row_groups": "",
    "two_thousand_columns_of_long_texts": "",
    "a_million_columns": "20,000 columns; at most 2,000",
    "gzip_of_10_gb_of_zeros": "NUL byte",
    "gzip_of_10_gb_of_rows": "over 67,108,864 bytes unpacked",
    "gzip_in_gzip": "holds a packed file",
    "zstd_with_a_window_of_2_gib": "too much memory to be unpacked; pack it without --long",
    "parquet_of_a_megabyte_a_million_times": "over 67,108,864 bytes unpacked",
    "parquet_of_2_billion_rows": "over 1,000,000 rows",
    "parquet_with_a_page_of_750_mb": "over 1,000,000 rows",
}
"""What is said of it; "" where it is read, for all its size. Of the others: a line or record too long."""


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    async with Children(STEPS) as children:
        await children.ready()
        yield children


async def test_bombs_are_refused_in_words_and_in_little_memory(children: Children, tmp_path: Path) -> None:
    for name, make in BOMBS.items():
        path = tmp_path / (name + (".parquet" if "parquet" in name else ".csv"))
        make(SCALE, path)
        blown = await blow(children, path, tmp_path / f"{name} scratch", LIMITS)
        told = READ.get(name, "over 1,048,576 bytes|more than 1,048,576 bytes")
        if told:
            assert any(words in blown.answer for words in told.split("|")), (name, blown)
            assert INSIDE.search(blown.answer) is None
        else:
            assert blown.answer == "read", (name, blown)
        assert blown.kind in ("", "table-unreadable"), (name, blown)
        assert blown.memory < MEMORY, (name, blown)
        assert blown.disk < 3 * LIMITS.max_bytes, (name, blown)
