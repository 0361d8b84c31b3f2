"""The first rows of a table, for a person to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shared.contracts.files import Preview

MOST_ROWS = 50
AT_A_TIME = 10
MOST_CHARACTERS = 200_000
"""Of all rows together, but for the first, which is always shown: a very wide table shows fewer."""

LONGEST = 120
"""Characters of a cell; a longer one ends in an ellipsis."""


def preview(path: Path) -> Preview:
    """Of the decoded table at `path`, as text; None where a value is missing."""
    rows: list[list[str | None]] = []
    left = MOST_CHARACTERS
    with pa.memory_map(str(path), "r") as source:
        reader = pa.ipc.open_file(source)
        for row in _rows(reader):
            left -= sum(len(cell) for cell in row if cell is not None)
            if rows and left < 0:
                break
            rows.append(row)
        return Preview(columns=reader.schema.names, rows=rows)


def _rows(reader: pa.RecordBatchFileReader) -> Iterator[list[str | None]]:
    """The first ones, a few at a time: what is wide is not read for nothing."""
    left = MOST_ROWS
    for i in range(reader.num_record_batches):
        whole = reader.get_batch(i)
        for start in range(0, min(len(whole), left), AT_A_TIME):
            batch = whole.slice(start, min(AT_A_TIME, left))
            yield from map(list, zip(*(_cells(column) for column in batch.columns), strict=True))
            left -= len(batch)


def _cells(column: pa.Array) -> list[str | None]:
    if pa.types.is_floating(column.type):
        # Arrow writes the shortest text that is the number, and 3 rather than 3.0
        column = pc.if_else(pc.is_nan(column), None, column).cast(pa.large_string())
    elif pa.types.is_large_string(column.type):
        # a cell may have megabytes: no more of it than is shown, and what says that there is more
        column = pc.utf8_slice_codeunits(column, 0, LONGEST + 1)
    return [None if value is None else _short(str(value)) for value in column.to_pylist()]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
