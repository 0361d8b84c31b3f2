"""What is known only afterwards: columns that hold the target of a later row, and rows split against time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from msgspec import Struct
from scipy.stats import rankdata

from services.trainer.leakage_sample import names_past

LEAST_ROWS = 40
STEPS_AHEAD = 24
"""Steps into the future that are tried where nothing says how far is forecast."""

NEARLY = 0.02
"""Variance of "column - target k steps later", over that of the target's change from step to step (and over
the target's own), up to which the column is that later target."""

NEXT_TO = 0.5
"""Of the difference between two random rows, what is left between neighbours in time where time matters."""


class Ahead(Struct, frozen=True):
    """`steps`: how many rows later the target is what the column holds; 0 for the same row's."""

    name: str
    steps: int
    evidence: str
    exact: bool


def ahead(
    columns: dict[str, np.ndarray],
    y: np.ndarray,
    series: np.ndarray,
    most_steps: int = STEPS_AHEAD,
    *,
    same_row: bool = True,
) -> list[Ahead]:
    """The columns that are the target of the same (with `same_row`) or of a later step, exactly or nearly.

    `columns`, `y`: (n,) floats, missing as NaN, rows sorted by series and time; `series`: (n,) codes. A
    column that fits an earlier step as well or better is a lag, which is known in time.
    """
    if len(y) < LEAST_ROWS:
        return []
    found = []
    for name, values in columns.items():
        fits = {
            k: fit
            for k in range(-most_steps, most_steps + 1)
            if (fit := _unlike(values, y, series, k)) is not None
        }
        if not fits:
            continue
        best = min(fits, key=lambda k: (fits[k][0], k))
        unlike, rows = fits[best]
        if best < 0 or unlike > NEARLY or (best == 0 and not same_row) or names_past(name):
            continue
        exact = unlike <= 1e-9
        said = (
            f"equal in {rows:,} pairs of rows"
            if exact
            else f"{unlike:.2%} of its changes differ, {rows:,} pairs"
        )
        found.append(Ahead(name, best, said, exact))
    return found


def _unlike(x: np.ndarray, y: np.ndarray, series: np.ndarray, k: int) -> tuple[float, int] | None:
    """How far x is from y k rows later, up to a factor and a shift, over y's changes between rows."""
    if abs(k) >= len(y) - 1:
        return None
    now, then = (slice(0, len(y) - k), slice(k, None)) if k >= 0 else (slice(-k, None), slice(0, len(y) + k))
    pairs = (series[now] == series[then]) & ~np.isnan(x[now]) & ~np.isnan(y[then])
    if pairs.sum() < LEAST_ROWS // 2:
        return None
    a, b = x[now][pairs], y[then][pairs]
    a, b = a - a.mean(), b - b.mean()
    steady = (series[1:] == series[:-1]) & ~np.isnan(np.diff(y))
    change = float(np.square(np.diff(y)[steady]).mean()) if steady.any() else 0.0
    scale, total = float(a @ a), float(b @ b)
    least = min(change, total / len(b))
    if scale <= 0 or least <= 0:
        return None
    left = b - (float(a @ b) / scale) * a
    return float(left @ left) / len(b) / least, len(b)


def without_last(y: np.ndarray, series: np.ndarray, horizon: int) -> np.ndarray:
    """`y` with each series' last `horizon` known values taken out. Rows sorted by series and time."""
    made = y.astype(np.float64, copy=True)
    known = np.flatnonzero(~np.isnan(made))
    counted = pd.Series(series[known]).groupby(series[known]).cumcount(ascending=False).to_numpy()
    made[known[counted < horizon]] = np.nan
    return made


def order(times: np.ndarray, y: np.ndarray, *, classes: bool) -> float | None:
    """Of the difference between two random rows' targets, the share that is left between neighbours in time:
    near 1 where time says nothing, near 0 where it says all. None for too few rows with a time."""
    known = ~np.isnan(times)
    if known.sum() < LEAST_ROWS:
        return None
    rows = np.argsort(times[known], kind="stable")
    y = y[known][rows]
    if classes:
        shares = np.unique(y, return_counts=True)[1] / len(y)
        any_two, next_to = 1 - float(shares @ shares), float((np.diff(y) != 0).mean())
    else:
        ranks = rankdata(y)
        any_two, next_to = 2 * float(ranks.var()), float(np.square(np.diff(ranks)).mean())
    return next_to / any_two if any_two > 0 else None


def sorted_rows(times: np.ndarray, series: np.ndarray | None = None) -> np.ndarray:
    """Positions of the rows in the order of series and time, those without a time left out."""
    codes = np.zeros(len(times)) if series is None else series
    positions = np.lexsort((times, codes))
    return positions[~np.isnan(times[positions])]
