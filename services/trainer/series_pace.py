"""How much of a forecaster's work there is time for, found out on a part of the series."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from services.trainer.budget import Clock
from services.trainer.candidates.series_models import SEARCHING, Effort
from services.trainer.series_rows import Columns
from shared.errors import CannotTrain

PROBED_SERIES = 5
PROBED_STEPS = 1_000
PROBE_ABOVE_ROWS = 2_000
"""Less is fitted in no time; trying a part of it first would cost more than it tells."""
_DEAR = {"auto_arima"}
_DEAR_STEPS = 60
"""Models that take long even on a short series, and what is tried of them."""
FITS = 3
"""The earliest cut-off's, the training part's and the last on all there is."""
_ONE_FIT = 1.5
"""Of the earliest cut-off alone, whose parameters then do for all: the fit, and its state taken on."""
PROBED_ROWS = 50_000
"""Of a table of twice as many or more, what a model for all series is first tried on."""
_LEAST_STEPS = 30
"""Of a season's four, or of this many steps a model still learns what it can of many series."""
_EFFORTS: tuple[Effort, ...] = ("full", "narrow", "single")

TimedFit = Callable[[pd.DataFrame, Effort], float]
"""Fits on a part with so much effort and answers the seconds."""


def pace(
    model_name: str, train: pd.DataFrame, columns: Columns, season: int, clock: Clock, timed: TimedFit
) -> tuple[Effort, int | None]:
    """The effort there is time for, and how many steps of each series (None: as ever).

    A model for each series takes as long as there are series and steps. Raises CannotTrain where a single
    fit of them would not be done in time.
    """
    sizes = train.groupby(columns.id, sort=False).size()
    dear = model_name in _DEAR
    if len(train) <= PROBE_ABOVE_ROWS and not dear:
        return "full", None
    steps = max(_DEAR_STEPS, 4 * season) if dear else PROBED_STEPS
    chosen = sizes.index[np.linspace(0, len(sizes) - 1, min(PROBED_SERIES, len(sizes))).astype(int)]
    part = train[train[columns.id].isin(chosen)].groupby(columns.id, sort=False).tail(steps)
    # what is imported and compiled at the first fit is paid once
    few = part[part[columns.id] == chosen[0]].tail(4 * season + 20)
    timed(few, "full")
    expected = 0.0
    for effort in _EFFORTS if model_name in SEARCHING else ("full",):
        expected = timed(part, effort) * len(train) / len(part)
        if clock.fits(FITS * expected):
            return effort, None
    room = max(clock.left(), 0.0) * 0.8
    shorter = int(sizes.max() * room / (FITS * expected))
    if shorter >= max(steps // 2, 4 * season):
        return effort, shorter
    if _ONE_FIT * expected <= room:
        return effort, None
    shorter = int(sizes.max() * room / (_ONE_FIT * expected))
    if shorter >= max(_LEAST_STEPS, 4 * season):
        return effort, shorter
    raise CannotTrain(
        f"fitting this model on {len(sizes):,} series would take about {expected:,.0f} s, and "
        f"{max(clock.left(), 0):,.0f} s are left for it; a larger time_budget_s would do"
    )


def shared_history(
    train: pd.DataFrame, columns: Columns, season: int, clock: Clock, timed: Callable[[pd.DataFrame], float]
) -> int | None:
    """How many steps of each series a model that learns from all of them together has time for (None: as
    ever). Its time grows with the rows; `timed` fits on a part of them and answers the seconds. Raises
    CannotTrain where not even four seasons of each would do."""
    sizes = train.groupby(columns.id, sort=False).size()
    least = max(_LEAST_STEPS, 4 * season)
    steps = max(least, PROBED_ROWS // len(sizes))
    if len(train) <= 2 * PROBED_ROWS or int(sizes.max()) <= steps:
        return None
    part = train.groupby(columns.id, sort=False).tail(steps)
    a_row = timed(part) / len(part)
    if clock.fits(FITS * a_row * len(train)):
        return None
    room = max(clock.left(), 0.0) * 0.8
    longest = int(room / (FITS * a_row * len(sizes)))
    if longest < least:
        raise CannotTrain(
            f"fitting this model on {least} steps of each of {len(sizes):,} series would take about "
            f"{a_row * least * len(sizes):,.0f} s, and {max(clock.left(), 0):,.0f} s are left for it; a "
            "larger time_budget_s would do"
        )
    return longest


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
