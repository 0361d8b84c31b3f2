"""Tables and what is known of them."""

from __future__ import annotations

import datetime as dt
import uuid

from msgspec import UNSET, Struct, UnsetType

from shared.contracts.problems import Notice
from shared.contracts.states import FileStatus, TaskType


class File(Struct, kw_only=True):
    """`status` is its profile's: `failed` where the table cannot be read, and `error` says why."""

    file_id: uuid.UUID
    name: str
    size_bytes: int
    sha256: str
    created_at: dt.datetime
    status: FileStatus | UnsetType = UNSET
    error: str | UnsetType = UNSET
    rows: int | UnsetType = UNSET
    columns: int | UnsetType = UNSET


class ValueCount(Struct):
    value: str
    count: int


class Bin(Struct, rename={"from_": "from"}):
    from_: float
    to: float
    count: int


class ColumnProfile(Struct, kw_only=True):
    """`role`: numeric | categorical | text | datetime | boolean | identifier | constant | empty."""

    name: str
    role: str
    dtype: str
    missing: int
    distinct: int
    min: float | str | UnsetType = UNSET
    max: float | str | UnsetType = UNSET
    mean: float | UnsetType = UNSET
    top: list[ValueCount] | UnsetType = UNSET
    histogram: list[Bin] | UnsetType = UNSET


class Profile(Struct, kw_only=True):
    """The suggested columns of time and series are there where a time series is suggested; without the
    second the table is one series."""

    rows: int
    columns: list[ColumnProfile]
    suggested_target: str | None
    suggested_task_type: TaskType | None
    reason: str
    warnings: list[Notice]
    suggested_time_column: str | UnsetType = UNSET
    suggested_series_column: str | UnsetType = UNSET


class Preview(Struct, kw_only=True):
    """A table's first rows, at most 50 and of a very wide one fewer, as they were read: text, null where a
    value is missing. A long text is cut and ends in an ellipsis."""

    columns: list[str]
    rows: list[list[str | None]]
