"""How much of the work fits in the time a candidate has been given."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

PROBE_ABOVE_ROWS = 20_000
"""Smaller tables are fitted in seconds; trying a part of them first would mostly cost more than it tells."""

CELLS_A_SECOND = 20_000
"""Smaller ones are tried where they have more cells than this for each second that is left: rows times
columns, counting the rows to be answered where they are more than those to be learnt from."""

FEWEST_ROWS = 2_000
"""Never sampled below this for lack of time."""

LEAST_SHARE = 0.05
"""Of the rows, what is not gone below for the sake of more trees or rounds in one step."""

FINISHING_SHARE = 0.1
"""Of the time given, what is left for metrics, plots, writing and reading the pickle."""

SEARCH_SHARE = 0.5
"""Of the time given, which is twice the even share: when a search for better settings ends at the latest."""

SEARCH_S_PER_ROW = 1 / 200
"""On few rows the settings that a search finds are little better than the default: small tables are not
kept waiting for them."""

LEAST_S = 0.5
"""However late it is, what a fit that can be stopped is given."""

FEWEST_FOLDS = 2
"""Trees, rounds and epochs are limited so that as many folds as this can be validated on."""

TRIAL_SHARE = 0.15
"""Of the time left, what a second fit on a part of the rows may take."""


class Clock:
    """Seconds since it was made, and until the soft deadline (less what finishing takes)."""

    def __init__(self, soft_deadline_s: float) -> None:
        self._start = time.monotonic()
        self._end = self._start + soft_deadline_s
        self._given = soft_deadline_s
        self._finishing = soft_deadline_s * FINISHING_SHARE

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds until the soft deadline; negative after it."""
        return self._end - time.monotonic()

    def fits(self, seconds: float) -> bool:
        return seconds <= self.left() - self._finishing

    def share_of(self, share: float) -> float:
        """Seconds that a share of what is left comes to, finishing taken off; never nothing."""
        return max((self.left() - self._finishing) * share, LEAST_S)

    def search_ends(self, rows: int, to_follow_s: float) -> float:
        """The `time.monotonic` until which settings may be searched on so many rows, `to_follow_s` seconds
        being needed afterwards."""
        spare = self.left() - self._finishing - to_follow_s
        share = self._given * SEARCH_SHARE - self.elapsed()
        return time.monotonic() + min(spare, share, rows * SEARCH_S_PER_ROW)


def affordable_rows(
    rows: int, fits: float, clock: Clock, timed_fit: Callable[[int], float], *, cells: int = 0
) -> int:
    """How many of `rows` a model can be fitted on `fits` times before the deadline.

    `timed_fit(n)` fits on n rows and answers the seconds; `cells`: of the whole. One small fit, in proportion
    to the rows, overestimates families with fixed costs (boosting); where it says that there is too little
    time and enough to try a larger part, the two give the slope.
    """
    roomy = cells <= CELLS_A_SECOND * max(clock.left(), 0.0)
    if rows <= FEWEST_ROWS or (rows <= PROBE_ABOVE_ROWS and roomy):
        return rows
    small = max(FEWEST_ROWS, rows // 50)
    at_small = timed_fit(small)
    if clock.fits(fits * at_small * rows / small):
        return rows
    fixed, per_row = 0.0, at_small / small
    times = min(5.0, TRIAL_SHARE * clock.left() / at_small)
    if times >= 2:
        large = int(small * times)
        per_row = max((timed_fit(large) - at_small) / (large - small), 1e-9)
        fixed = max(at_small - per_row * small, 0.0)
    room = max(clock.left(), 0.0) * (1 - FINISHING_SHARE) / fits - fixed
    return int(np.clip(room / per_row, FEWEST_ROWS, rows))
