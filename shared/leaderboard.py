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

from shared.contracts.catalogue import ENSEMBLES, METRICS
from shared.contracts.results import LeaderboardRow, Uncertainty
from shared.contracts.states import CandidateStatus, TaskType

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

    Ties go to a model rather than to an ensemble, to the smaller `cv_std`, then to the faster fit, then to
    the slug, so that the order never depends on which candidate ended first. A done model whose `cv_mean` is
    undefined comes after every scored one; what isn't done comes last and has no rank. Each row gets every
    metric of `task_type`, in order, and `None` for whatever isn't a finite number. `rank` of the rows handed
    in is ignored.

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
            row.model_name in ENSEMBLES,
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


def uncertainties(outcomes: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Uncertainty]:
    """Slug → uncertainty, of the outcomes (as rows have them) that tell one."""
    told = ((slug, (outcome or {}).get("uncertainty")) for slug, outcome in outcomes.items())
    return {slug: msgspec.convert(spread, Uncertainty) for slug, spread in told if spread}


def marked(
    board: list[LeaderboardRow], uncertainties: Mapping[str, Uncertainty], metric: str, task_type: TaskType
) -> list[LeaderboardRow]:
    """Ranked rows with the interval around their `cv_mean`, and whether they tie with the best.

    `uncertainties`: by slug. A model ties where the bootstrap interval of the difference between its and
    the best one's `cv_mean` contains zero. Resample by resample where both were validated on the same rows
    (paired); where they were not (one had no time for all folds) the two are taken for independent, which
    makes the interval wider. The rank stays what it is.
    """
    sign = 1.0 if METRICS[task_type][metric] else -1.0
    first = best(board)
    made = []
    for row in board:
        spread = uncertainties.get(row.model_name)
        if spread is not None and row.status is CandidateStatus.DONE:
            row = msgspec.structs.replace(row, score_low=_finite(spread.low), score_high=_finite(spread.high))
            if first is not None and row.model_name != first.model_name:
                against = uncertainties.get(first.model_name)
                row.tied_with_best = None if against is None else _tied(first, against, row, spread, sign)
        made.append(row)
    return made


def _tied(
    first: LeaderboardRow, of_first: Uncertainty, row: LeaderboardRow, of_row: Uncertainty, sign: float
) -> bool | None:
    """None where either has no score or no interval. `sign`: -1 where less is better."""
    if first.cv_mean is None or row.cv_mean is None:
        return None
    drawn = of_row.deviations if of_row.digest == of_first.digest else of_row.deviations[::-1]
    ahead = sorted(
        sign * (first.cv_mean + one - row.cv_mean - other)
        for one, other in zip(of_first.deviations, drawn, strict=False)
        if one is not None and other is not None
    )
    if not ahead:
        return None
    return ahead[int(len(ahead) * (1 - of_first.level) / 2)] <= 0


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
