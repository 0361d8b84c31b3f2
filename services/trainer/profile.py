"""What a table holds: each column's role, its values, a likely target, and what to be warned of."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import UNSET

from services.trainer import table
from services.trainer.column_roles import Column, survey
from services.trainer.outcome import Progress
from services.trainer.suggestion import suggest
from shared.contracts.files import Bin, ColumnProfile, Profile, ValueCount
from shared.contracts.problems import Notice

TOP = 20
"""Values listed of a column; a column with no more distinct ones has all of them listed."""

BINS = 20

COMPARED_ROWS = 2_000_000
"""Rows compared with one another in search of copies."""

MANY_MISSING = 0.5

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Odd multiplier that keeps the columns' order in a row's hash (Knuth, TAOCP 3, section 6.4)."""


def profile(path: Path, progress: Progress | None = None) -> Profile:
    """Profile the decoded table at `path`, a column at a time.

    Roles: numeric | categorical | text | datetime | boolean | identifier | constant | empty. Everything is
    counted on all rows, but for the search for copied rows (the first `COMPARED_ROWS`) and the first and
    last of dates in mixed formats; a warning says where that was so.
    """
    tell = progress or (lambda share, message: None)
    count = len(table.column_names(path))
    rows = 0
    columns: list[ColumnProfile] = []
    warnings: list[Notice] = []
    row_hash = np.zeros(0, dtype=np.uint64)
    twins: dict[bytes, str] = {}
    for i, values in enumerate(table.each_column(path), 1):
        column = survey(values)
        rows = column.rows
        columns.append(_described(column))
        warnings += [*column.warnings, *_warnings(column)]
        hashes = _hashes(column)[:COMPARED_ROWS]
        row_hash = hashes if not len(row_hash) else row_hash * _GOLDEN + hashes
        warnings += _twin(column, hashes, twins)
        tell(i / count, f"looking at column {i} of {count}")
    warnings += _copied_rows(row_hash, columns, rows)
    suggested = suggest(columns, rows, path)
    return Profile(
        rows=rows,
        columns=columns,
        suggested_target=suggested.target,
        suggested_task_type=suggested.task_type,
        reason=suggested.reason,
        warnings=warnings,
        suggested_time_column=suggested.time_column or UNSET,
        suggested_series_column=suggested.series_column or UNSET,
    )


def _described(column: Column) -> ColumnProfile:
    made = ColumnProfile(
        name=column.name,
        role=column.role,
        dtype=column.dtype,
        missing=column.missing,
        distinct=len(column.uniques),
    )
    if column.numbers is not None and column.role != "empty":
        _describe_numbers(made, column.numbers, column.counts)
    if column.first is not None and column.last is not None:
        made.min, made.max = column.first, column.last
    listed = column.role in ("categorical", "boolean", "text", "constant") or len(column.uniques) <= TOP
    if listed and len(column.uniques):
        order = np.argsort(-column.counts, kind="stable")[:TOP]
        made.top = [ValueCount(str(column.uniques[i])[:200], int(column.counts[i])) for i in order]
    return made


def _describe_numbers(made: ColumnProfile, numbers: np.ndarray, counts: np.ndarray) -> None:
    """min, max, mean and histogram of the finite values, each weighted by its rows."""
    finite = np.isfinite(numbers)
    numbers, counts = numbers[finite], counts[finite]
    if not len(numbers):
        return
    low, high = float(numbers.min()), float(numbers.max())
    made.min, made.max = low, high
    # a mean or a range over the largest float is left out
    with np.errstate(over="ignore"):
        mean = float(np.average(numbers, weights=counts))
    if np.isfinite(mean):
        made.mean = mean
    if low < high and np.isfinite(high - low):
        edges = np.linspace(low, high, min(BINS, len(numbers)) + 1)
        # between two neighbouring floats there is no room for bins
        if (np.diff(edges) > 0).all():
            heights, _ = np.histogram(numbers, bins=edges, weights=counts)
            made.histogram = [
                Bin(float(a), float(b), int(n)) for a, b, n in zip(edges, edges[1:], heights, strict=False)
            ]


def _warnings(column: Column) -> list[Notice]:
    made = []
    name = column.name

    def warn(code: str, message: str, action: str, evidence: str) -> None:
        made.append(Notice(code=code, column=column.name, message=message, action=action, evidence=evidence))

    left_out = "It is left out of training."
    if column.role == "empty":
        warn("empty-column", f"{name!r} has no values.", left_out, f"{column.rows:,} rows")
    if column.role == "constant":
        warn(
            "constant-column",
            f"{name!r} has the same value in every row.",
            left_out,
            repr(str(column.uniques[0])[:80]),
        )
    if column.role == "identifier":
        share = f"{len(column.uniques):,} distinct values in {column.present:,} rows"
        warn("identifier-column", f"{name!r} names the rows rather than describing them.", left_out, share)
    if column.role not in ("empty", "constant") and column.missing > MANY_MISSING * column.rows:
        share = f"{column.missing / column.rows:.0%} of the rows"
        warn(
            "many-missing",
            f"{column.missing:,} values of {name!r} are missing.",
            "It is used as it is.",
            share,
        )
    if column.numbers is not None and (infinite := np.isinf(column.numbers)).any():
        count = int(column.counts[infinite].sum())
        row = int(np.flatnonzero(np.isin(column.codes, np.flatnonzero(infinite)))[0])
        warn(
            "infinite-values",
            f"{count:,} values of {name!r} are infinite.",
            "They count as missing.",
            f"the first in line {row + 2}",
        )
    return made


def _hashes(column: Column) -> np.ndarray:
    """One uint64 a row, equal for equal values; missing ones are equal to one another."""
    values = column.uniques
    if values.dtype == object:
        values = values.astype(str)
    hashed = (
        pd.util.hash_array(values.to_numpy(), categorize=False) if len(values) else np.zeros(0, np.uint64)
    )
    return np.append(hashed, np.uint64(0))[column.codes]  # -1, missing, is the one appended


def _twin(column: Column, hashes: np.ndarray, seen: dict[bytes, str]) -> list[Notice]:
    """A notice where an earlier column holds the same value in every row."""
    if column.role in ("empty", "constant"):
        return []
    key = hashlib.blake2b(hashes.tobytes(), digest_size=16).digest()
    first = seen.setdefault(key, column.name)
    if first == column.name:
        return []
    return [
        Notice(
            code="duplicate-column",
            column=column.name,
            message=f"{column.name!r} holds the same values as {first!r}.",
            evidence=f"{len(hashes):,} rows compared",
            action="Both are kept.",
        )
    ]


def _copied_rows(row_hash: np.ndarray, columns: list[ColumnProfile], rows: int) -> list[Notice]:
    copies = len(row_hash) - len(np.unique(row_hash))
    # so many pairs would be alike if the columns were drawn independently and evenly
    by_chance = len(row_hash) ** 2 / 2 / math.prod(float(max(1, c.distinct)) for c in columns)
    if copies < 2 or copies < 10 * by_chance:
        return []
    first = int(np.flatnonzero(pd.Series(row_hash).duplicated())[0])
    part = f"; the first {len(row_hash):,} of {rows:,} rows were compared" if len(row_hash) < rows else ""
    return [
        Notice(
            code="duplicate-rows",
            message=f"{copies:,} rows are exact copies of others.",
            evidence=f"{copies / len(row_hash):.1%} of the rows, the first in line {first + 2}{part}",
            action="They are kept; copies on both sides of the split make scores look better than they are.",
        )
    ]
