"""The training rows that the leakage guard looks at: a random sample, each column as numbers to sort by.

Held-out rows are never among them, so that nothing the guard decides can flatter the held-out scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct

from services.trainer.number_text import to_numbers
from shared.contracts.states import TaskType

CELLS = 10_000_000
MOST_ROWS = 20_000
FEWEST_ROWS = 2_000
"""So many cells are looked at, in at most and at least so many rows: what bounds the guard's time."""

LARGEST = 1e100
"""Magnitude from which on squares come near the largest float."""

TIME_NAMES = frozenset(
    {"year", "yr", "month", "week", "day", "date", "time", "hour", "minute", "second", "period", "quarter"}
    | {"qtr", "step", "t", "timestamp", "epoch", "season"}
)
LAG_NAMES = frozenset(
    {"lag", "lagged", "prev", "previous", "prior", "last", "yesterday", "ago", "past", "baseline", "pre"}
    | {"before", "initial", "first", "old", "begin", "start"}
)


def words(name: str) -> list[str]:
    """ "next_daySales2" → next, day, sales, 2."""
    return [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def names_time(name: str) -> bool:
    return bool(TIME_NAMES & set(words(name)))


def names_past(name: str) -> bool:
    """Whether a column says itself that it is known from before, such as "sales_lag7" or "pricePrevious"."""
    return (
        bool(LAG_NAMES & set(words(name)))
        or re.search(r"(?<!f)lag\d*$|[_(]t-\d", name, re.IGNORECASE) is not None
    )


class Feature(Struct, frozen=True):
    """One column of the sample. `values`: (n,) float64 with NaN where missing: numbers as they are, dates as
    seconds since 1970, everything else as the number of its distinct value (`codes` is True: their order
    means nothing). `distinct`: how many different values there are, missing not counted."""

    name: str
    role: str
    values: np.ndarray
    codes: bool
    distinct: int
    texts: pd.Series | None = None

    @property
    def present(self) -> np.ndarray:
        return ~np.isnan(self.values)


class Sample(Struct, frozen=True):
    """`rows`: the sampled rows' numbers in the table, in random order, so that what is equal in a column is
    not in the table's order by chance; `y`: their target, floats for a regression, else codes 0..k-1;
    `labels`: what the codes stand for; `of`: how many training rows there are."""

    rows: np.ndarray
    y: np.ndarray
    labels: Sequence[str] | None
    features: list[Feature]
    of: int

    @property
    def classes(self) -> int:
        return 0 if self.labels is None else len(self.labels)


def draw(
    path: Path, roles: Mapping[str, str], y: np.ndarray, rows: np.ndarray, task_type: TaskType, seed: int
) -> Sample:
    """A sample of `rows` (the training rows' numbers in the table at `path`, sorted) with their target `y`.
    The smaller a table's number of columns, the more rows."""
    size = min(len(rows), MOST_ROWS, max(FEWEST_ROWS, CELLS // max(1, len(roles))))
    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(rows))[:size]
    frame = read(path, list(roles), rows[picked])
    target, labels = y[picked], None
    if task_type is TaskType.CLASSIFICATION:
        target, found = pd.factorize(target)
        labels = [_label(label) for label in found]
    features = [as_feature(frame[name], role) for name, role in roles.items()]
    return Sample(rows[picked], target, labels, features, len(rows))


def _label(value: object) -> str:
    """A class for a message: whole numbers beside missing ones are read as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def read(path: Path, names: Sequence[str], rows: np.ndarray) -> pd.DataFrame:
    """These rows of the decoded table, in this order. Only the pages that hold them are read."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    parts = []
    with pa.memory_map(str(path), "r") as source:
        wanted = set(names)
        chosen = [i for i, name in enumerate(pa.ipc.open_file(source).schema.names) if name in wanted]
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=chosen))
        begin = 0
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            first, last = np.searchsorted(ascending, [begin, begin + len(batch)])
            if first < last:
                parts.append(batch.take(pa.array(ascending[first:last] - begin)))
            begin += len(batch)
        frame = pa.Table.from_batches(parts, reader.schema).to_pandas()
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return frame.iloc[back].reset_index(drop=True)


def as_feature(column: pd.Series, role: str) -> Feature:
    name = str(column.name)
    if role == "numeric":
        values = to_numbers(column).to_numpy(dtype=np.float64, copy=True)
        values[~np.isfinite(values)] = np.nan
        return Feature(name, role, values, False, _distinct(values))
    if role == "datetime":
        values = seconds(column)
        return Feature(name, role, values, False, _distinct(values))
    codes, found = pd.factorize(column)
    values = codes.astype(np.float64)
    values[codes < 0] = np.nan
    return Feature(name, role, values, True, len(found), column if role == "text" else None)


def moments(times: pd.Series) -> np.ndarray:
    """Times of whatever kind as numbers in their order: dates as seconds, counted periods as they are."""
    return times.to_numpy(dtype=np.float64) if pd.api.types.is_numeric_dtype(times) else seconds(times)


def seconds(dates: pd.Series) -> np.ndarray:
    """Dates of whatever kind as seconds since 1970, NaN where they cannot be read."""
    read = pd.to_datetime(dates, errors="coerce", utc=True)
    if read.notna().sum() < 0.9 * dates.notna().sum():
        read = pd.to_datetime(dates, errors="coerce", utc=True, format="mixed")
    nanoseconds = read.to_numpy(dtype="datetime64[ns]")
    values = nanoseconds.astype(np.int64) / 1e9
    values[np.isnat(nanoseconds)] = np.nan
    return values


def _distinct(values: np.ndarray) -> int:
    return int(pd.Series(values).nunique())
