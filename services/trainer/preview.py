"""The first rows of a table, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.contracts import Preview

MOST_ROWS = 50
MOST_CELLS = 20_000
"""A very wide table shows fewer rows."""

LONGEST = 120
"""Characters of a cell; a longer one ends in an ellipsis."""


def preview(path: Path) -> Preview:
    """Of the decoded table at `path`, as text; None where a value is missing."""
    with pa.memory_map(str(path), "r") as source:
        reader = pa.ipc.open_file(source)
        names = reader.schema.names
        left = min(MOST_ROWS, max(1, MOST_CELLS // len(names)))
        rows: list[list[str | None]] = []
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i).slice(0, left)
            rows += map(list, zip(*(_cells(column) for column in batch.columns), strict=True))
            left -= len(batch)
            if not left:
                break
    return Preview(columns=names, rows=rows)


def _cells(column: pa.Array) -> list[str | None]:
    if pa.types.is_floating(column.type):
        # Arrow writes the shortest text that is the number, and 3 rather than 3.0
        values = pc.if_else(pc.is_nan(column), None, column).cast(pa.large_string())
    else:
        values = column
    return [None if value is None else _short(value) for value in values.to_pylist()]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
