"""Which column a table is likely about, and whether that is classes, a quantity, or a series over time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from services.trainer import series_times, table
from services.trainer.column_roles import ID_WORDS, TIME_WORDS, words
from shared.check_request import is_number, suggested_task_type
from shared.contracts.files import ColumnProfile
from shared.contracts.states import TaskType

TARGETS = frozenset(
    {"target", "label", "labels", "y", "outcome", "response", "species", "survived", "churn", "churned"}
    | {"exited", "attrition", "attrited", "fraud", "fraudulent", "diagnosis", "canceled", "cancelled"}
    | {"vote", "voted", "died", "dead", "deceased"}
    | {"converted", "clicked", "purchased", "defaulted", "readmitted", "saleprice", "medv", "subscribed"}
)
"""Names that hardly anything but a target has."""

LIKELY = frozenset(
    {"class", "classes", "category", "type", "status", "price", "quality", "income", "score", "rating"}
    | {"sales", "demand", "default", "result", "revenue", "profit", "cost", "charges", "amount", "value"}
    | {"count", "cnt", "strength", "sentiment", "satisfaction", "grade", "salary", "wage", "risk", "winner"}
    | {"mpg", "msrp", "fare", "close", "load", "consumption", "passengers", "deposit", "approved", "activity"}
    | {"approve", "approval", "delay"}
    | {"severity", "disease", "stroke", "spam", "potability", "yield", "medhouseval", "variety", "duration"}
)
"""Names that a target often has, and other columns too."""

SERIES_TRIED = 6
TIMES_LOOKED_AT = 200_000


class Suggestion(NamedTuple):
    """No target where no column can be one; the columns of time and series are a time series' alone."""

    target: str | None
    task_type: TaskType | None
    reason: str
    """A sentence."""
    time_column: str | None = None
    series_column: str | None = None


def suggest(columns: list[ColumnProfile], rows: int, path: Path) -> Suggestion:
    """What a table is likely about, and why."""
    possible = [
        column
        for column in columns
        if suggested_task_type(column, rows)[0] is not None
        and (column.role != "identifier" or _by_name(column, columns))
    ]
    if not possible:
        return Suggestion(
            None, None, "No column has values that could be learned: two or more, and repeated or numeric."
        )
    rank = {column.name: _likeness(column, columns) for column in possible}
    # of equals the last: tables put what came of it at their end
    target = max(reversed(possible), key=lambda column: rank[column.name])
    position = "the last column" if target is columns[-1] else "the last column that could be learned"
    why = "is named like a target" if _by_name(target, columns) else f"is {position}"
    if is_number(target) and (steady := _regular_times(columns, target, rows, path)):
        step = f"{steady.time!r} has one row a step ({steady.pace})"
        each = f" for each {steady.series!r}" if steady.series else ""
        reason = f"{target.name!r} {why}, and {step}{each}."
        return Suggestion(target.name, TaskType.TIME_SERIES, reason, steady.time, steady.series)
    task_type, kind = suggested_task_type(target, rows)
    return Suggestion(target.name, task_type, f"{target.name!r} {why}, and {kind}.")


def _likeness(column: ColumnProfile, columns: list[ColumnProfile]) -> float:
    """How much a column looks like what its table is about: by its name first, then by its place.

    "Survived" anywhere is more than "class" at the end, and that more than just any last column.
    """
    described = [other for other in columns if other.role not in ("identifier", "empty", "constant")]
    place = 0.0
    if described and column is described[-1]:
        place = 1.5
    elif described and column is described[0]:
        place = 1.0
    said = words(column.name)
    if not _by_name(column, columns) and (set(said) & (ID_WORDS | TIME_WORDS) or said[-1:] == ["no"]):
        return -1.0  # a date's part or a number of something is told, not asked for
    named = _by_name(column, columns)
    # of two that are named alike, an outcome rather than an amount
    return named + place + (0.5 if named and column.distinct == 2 else 0.0)


def _by_name(column: ColumnProfile, columns: list[ColumnProfile]) -> float:
    name = column.name.strip().casefold()
    said = words(column.name)
    whole = "".join(said)
    if name == "y" and {"x", "z"} <= {other.name.strip().casefold() for other in columns}:
        return 0.0  # a place in space
    if name not in TARGETS and whole not in TARGETS and {"previous", "prev", "prior", "last"} & set(said):
        return 0.0  # "previous_bookings_not_canceled" was known before
    if name in TARGETS or whole in TARGETS:
        return 6.0
    ends = {said[0], said[-1]} if said else set()
    if ends & TARGETS - {"y"} or (said[:1] == ["is"] and column.distinct == 2):
        return 5.0
    if name in LIKELY or whole in LIKELY:
        return 3.0
    return 2.0 if ends & LIKELY else 0.0


class _Steady(NamedTuple):
    """Times at a steady pace, in all of the table or in each of its series."""

    time: str
    series: str | None
    pace: str


def _regular_times(
    columns: list[ColumnProfile], target: ColumnProfile, rows: int, path: Path
) -> _Steady | None:
    """None where there is no column of times or more than one, or its pace is not steady."""
    dates = [c for c in columns if c.role == "datetime" and not c.missing]
    if not dates:
        dates = [c for c in columns if _counts_time(c) and c is not target][:1]
    if len(dates) != 1 or rows < 3 or rows > TIMES_LOOKED_AT:
        return None
    name = dates[0].name
    column = table.load(path, [name])[name]
    for series, codes in _series(columns, target, rows, path, name):
        read = series_times.read(column, codes)
        if read.unreadable or read.times.isna().any():
            return None
        pairs = pd.DataFrame({"time": read.times, "series": codes})
        if pairs.duplicated().any():
            continue
        pace = series_times.frequency(read.times, codes)
        if pace is None:
            return None
        return _Steady(name, series, pace)
    return None


def _series(
    columns: list[ColumnProfile], target: ColumnProfile, rows: int, path: Path, time: str
) -> Iterator[tuple[str | None, np.ndarray]]:
    """No series at all, then each column that may tell series apart, words first: name, codes of the rows."""
    yield None, np.zeros(rows, dtype=np.int64)
    able = [
        c
        for c in columns
        if c is not target and c.name != time and not c.missing and 1 < c.distinct <= max(2, rows / 3)
        if c.role == "categorical" or (c.role == "numeric" and c.dtype.startswith(("int", "uint")))
    ]
    for column in sorted(able, key=lambda c: c.role != "categorical")[:SERIES_TRIED]:
        yield column.name, pd.factorize(table.load(path, [column.name])[column.name])[0].astype(np.int64)


def _counts_time(column: ColumnProfile) -> bool:
    """Whole numbers that are named as years or steps are."""
    whole = column.dtype.startswith(("int", "uint")) and not column.missing
    return whole and words(column.name)[-1:] in (["year"], ["ds"], ["step"], ["period"], ["t"], ["time"])
