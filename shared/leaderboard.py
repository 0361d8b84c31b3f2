"""The leaderboard: which model is best, and the same rows as CSV. Pure.

Rank is decided on validation (`cv_mean`), never on the held-out metrics: those are only shown, so
that they stay an honest estimate for the model that was picked.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shared.contracts import METRICS, CandidateStatus, LeaderboardRow, TaskType

_HEAD = ("rank", "model_name", "label", "algorithm")
_TAIL = (
    "cv_mean",
    "cv_std",
    "fit_seconds",
    "predict_ms_per_row",
    "size_bytes",
    "status",
    "reason",
)
_NUMBERS = ("cv_mean", "cv_std", "fit_seconds", "predict_ms_per_row")
_LAST = {CandidateStatus.FAILED: 1, CandidateStatus.SKIPPED: 2}
"""Done rows come first (0), then these, then what is still queued or running (3)."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet run a cell (OWASP, CSV injection); the last four are full-width = + - @."""


def columns(task_type: TaskType) -> list[str]:
    """The leaderboard's columns in the contract's order: every metric of `task_type` in the middle."""
    return [*_HEAD, *METRICS[task_type], *_TAIL]


def rank(rows: Iterable[LeaderboardRow], metric: str, task_type: TaskType) -> list[LeaderboardRow]:
    """New rows, best first by `cv_mean` in the sense of `metric`, ranked 1, 2, 3 …

    Ties go to the smaller `cv_std`, then to the faster fit, then to the slug, so that the order never
    depends on which candidate ended first. A done model whose `cv_mean` is undefined comes after every
    scored one; what isn't done comes last and has no rank. Each row gets every metric of `task_type`,
    in order, and `None` for whatever isn't a finite number. `rank` of the rows handed in is ignored.

    Raises KeyError for a metric that `task_type` does not have.
    """
    sign = -1.0 if METRICS[task_type][metric] else 1.0

    def order(row: LeaderboardRow) -> tuple[Any, ...]:
        if row.status is not CandidateStatus.DONE:
            return (_LAST.get(row.status, 3), row.model_name)
        return (
            0,
            row.cv_mean is None,
            sign * (row.cv_mean or 0.0),
            _or_last(row.cv_std),
            _or_last(row.fit_seconds),
            row.model_name,
        )

    ordered = sorted((_clean(row, task_type) for row in rows), key=order)
    return [
        msgspec.structs.replace(row, rank=place if row.status is CandidateStatus.DONE else None)
        for place, row in enumerate(ordered, start=1)
    ]


def best(rows: Iterable[LeaderboardRow]) -> LeaderboardRow | None:
    """The row at rank 1 of ranked `rows`, or None where no model is done."""
    return next((row for row in rows if row.rank == 1), None)


def to_csv(rows: Iterable[LeaderboardRow], task_type: TaskType) -> str:
    """RFC 4180 with the contract's columns. None is an empty cell; numbers keep their full precision.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; numbers stay numbers.
    """
    names = columns(task_type)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        flat = row.flat()
        writer.writerow([_cell(flat.get(name)) for name in names])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str):
        text = str(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    return value


def _clean(row: LeaderboardRow, task_type: TaskType) -> LeaderboardRow:
    numbers = {name: _finite(getattr(row, name)) for name in _NUMBERS}
    return msgspec.structs.replace(row, metrics=_metrics(row.metrics, task_type), **numbers)


def _metrics(given: Mapping[str, float | None], task_type: TaskType) -> dict[str, float | None]:
    return {name: _finite(given.get(name)) for name in METRICS[task_type]}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _or_last(value: float | None) -> float:
    return math.inf if value is None else value
