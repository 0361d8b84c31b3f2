"""Rolling-origin backtests: which steps are forecast from where, the same for every model of a run.

The cut-offs follow from the series and the plan alone. Window 0 is held out; windows 1, 2, … are the
`horizon` steps before one another, each forecast from all that came before it. A series takes part in a
window where enough of it lies before (Tashman, 2000, https://doi.org/10.1016/S0169-2070(00)00065-0).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import evaluate_series
from services.trainer.series import MEAN
from services.trainer.series_rows import LEAST_TRAINING, Columns


class Window(Struct):
    """`before`: what may be seen; `steps`: what is forecast from it, `horizon` of each series that takes
    part. Both are parts of the long frame and keep its index."""

    number: int
    before: pd.DataFrame
    steps: pd.DataFrame


def window(long: pd.DataFrame, columns: Columns, horizon: int, number: int) -> Window:
    """The window that ends `number` horizons before the end. Series that are too short for window 0 are in
    none: what they say of the time that is forecast would be seen too early."""
    by_series = long.groupby(columns.id, sort=False)
    from_end = by_series.cumcount(ascending=False).to_numpy()
    length = by_series[columns.target].transform("size").to_numpy()
    scored = length >= 2 * horizon + LEAST_TRAINING
    first, last = (number + 1) * horizon, number * horizon
    enough = scored & (length - first >= LEAST_TRAINING)
    steps = enough & (from_end < first) & (from_end >= last)
    return Window(number, long[enough & (from_end >= first)], long[steps])


def planned(long: pd.DataFrame, columns: Columns, horizon: int, windows: int) -> list[int]:
    """The numbers of the windows, the earliest first, without those that no series takes part in."""
    longest = int(long.groupby(columns.id, sort=False)[columns.target].size().max())
    room = (longest - LEAST_TRAINING) // horizon - 1
    return list(range(max(1, min(windows, room)), 0, -1))


def against(forecasts: pd.DataFrame, steps: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """`forecasts` of the `steps` of a window, with what really came beside them, in the order (and with
    the index) of `steps`."""
    key = [columns.id, columns.time]
    found = steps[[*key, columns.target]].reset_index().merge(forecasts, on=key, how="left", validate="1:1")
    return found.set_index("index")


def naive(before: pd.DataFrame, steps: pd.DataFrame, columns: Columns, season: int) -> pd.DataFrame:
    """The seasonal naive's forecasts of `steps`: the last season of `before` (no gaps in it) again and
    again; of a series shorter than a season, its last value."""
    values = before[columns.target].to_numpy()
    codes, names = pd.factorize(before[columns.id])
    ends = np.searchsorted(codes, np.arange(len(names)), side="right")
    sizes = np.bincount(codes, minlength=len(names))
    at = pd.Index(names).get_indexer(steps[columns.id])
    nth = steps.groupby(columns.id, sort=False).cumcount().to_numpy()
    span = np.where(sizes >= season, season, 1)[at]
    return steps[[columns.id, columns.time]].assign(**{MEAN: values[ends[at] - span + nth % span]})


def scores(
    compared: pd.DataFrame, before: pd.DataFrame, columns: Columns, season: int
) -> dict[str, float | None]:
    """Every metric of one window; None where none of its steps is known."""
    return evaluate_series.evaluate(compared, before, columns, season)


def averages(of_windows: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Each metric's mean over the windows that define it."""
    means = {}
    for name in of_windows[0]:
        values = [value for score in of_windows if (value := score[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
    return means
