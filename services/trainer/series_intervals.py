"""How far prediction intervals can be trusted: their coverage on backtests, and what is done where it is bad.

A model's own intervals assume that it is right. They are made wider or narrower by one factor, so that they
hold as many of the backtests' values as they promise (a normalised conformal score: Lei et al., 2018,
https://doi.org/10.1080/01621459.2017.1307116); the fewer steps say so, the less is changed. A model without
any gets conformal ones from its backtests' errors, each in units of what its series usually changes and of
how errors grow with the step ahead. Both take quantiles of n errors as of n + 1, one of which is to come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.candidates import series_models, time_series
from services.trainer.candidates.time_series import LEVELS, Forecaster, bound
from services.trainer.series import MEAN
from services.trainer.series_rows import Columns

_SCORES = 20
"""Quantiles of the errors that a model without intervals of its own keeps."""
_FEWEST = 20
"""Forecast steps below which nothing is changed: their coverage says too little."""
_FEWEST_SCORES = 8
"""Forecast steps below which a model that has no intervals gets none: fewer errors bound nothing."""
_DOUBT = 10
"""Forecast steps that a model's own word counts for beside those of its backtests."""
_SHAPE = 20
"""Errors of a step that its own size is trusted as much from as the curve through the sizes of all steps."""
_WIDEST = 5.0


class Intervals(Struct):
    """`coverage`: level → share of the backtests' steps inside, of the intervals as they are handed over
    (each backtest by intervals that the other backtests made); `own`: of the model's own, unchanged.
    `factor`: how much wider they were made. `scores`: (h, q) conformal scores in units of a series' scale.
    """

    coverage: dict[str, float]
    own: dict[str, float]
    steps: int
    factor: float = 1.0
    scores: np.ndarray | None = None

    def described(self) -> dict[str, Any]:
        """For the outcome's details."""
        way = "conformal" if self.scores is not None else "model" if self.factor == 1 else "widened"
        made: dict[str, Any] = {"method": way, "coverage": self.coverage, "steps": self.steps}
        if way == "widened":
            made |= {"factor": round(self.factor, 3), "own_coverage": self.own}
        return made


def coverage(compared: pd.DataFrame, target: str) -> dict[str, float]:
    """Level → share of the known steps whose value lies inside, of the levels that `compared` has."""
    found = {}
    for level in LEVELS:
        lower, upper = bound("lower", level), bound("upper", level)
        if {lower, upper} <= set(compared):
            part = compared.dropna(subset=[target, lower, upper])
            if len(part):
                inside = part[target].between(part[lower], part[upper])
                found[str(level)] = float(inside.mean())
    return found


def study(windows: list[pd.DataFrame], columns: Columns, scales: dict[object, float]) -> Intervals | None:
    """What the backtests (each window's forecasts beside what came) say of the intervals. None where the
    model has none and there are too few steps to make any. `scales`: of each series."""
    every = pd.concat(windows, keys=range(len(windows)), names=["window"]).reset_index(level="window")
    every = every[every[columns.target].notna()]
    if {bound("lower", level) for level in LEVELS} <= set(every.columns):
        return _widened(every, columns)
    step = every.groupby(["window", columns.id], sort=False).cumcount().to_numpy()
    scale = every[columns.id].map(scales).to_numpy(dtype=float)
    errors = np.abs(every[columns.target] - every[MEAN]).to_numpy() / scale
    if len(errors) < _FEWEST_SCORES:
        return None
    window = every["window"].to_numpy()
    inside: dict[str, list[bool]] = {str(level): [] for level in LEVELS}
    for left_out in np.unique(window) if len(np.unique(window)) > 1 else [-1]:
        made = _scores(errors[window != left_out], step[window != left_out])
        judged = window == left_out if left_out >= 0 else np.ones(len(window), dtype=bool)
        at = np.minimum(step[judged], len(made) - 1)
        for level in LEVELS:
            inside[str(level)] += list(errors[judged] <= _quantile(made, level)[at])
    measured = {level: float(np.mean(hits)) for level, hits in inside.items()}
    return Intervals(measured, {}, len(errors), scores=_scores(errors, step))


def scales(long: pd.DataFrame, columns: Columns, season: int) -> dict[object, float]:
    """What each series usually changes from season to season (from step to step where it is shorter than
    two), never 0. Gaps count in neither."""
    values = long[columns.target]
    by = values.groupby(long[columns.id], sort=False)
    found = by.diff(season).abs().groupby(long[columns.id], sort=False).mean()
    steps = by.diff().abs().groupby(long[columns.id], sort=False).mean()
    found = found.where(found > 0, steps)
    size = values.abs().groupby(long[columns.id], sort=False).mean()
    found = found.where(found > 0, size * 1e-3).fillna(0.0)
    return found.where(found > 0, 1.0).to_dict()


def apply(
    forecaster: Forecaster, found: Intervals | None, horizon: int, of_series: dict[object, float]
) -> None:
    """Give a fitted forecaster the intervals that `study` found."""
    if found is None:
        return
    if found.scores is None:
        if found.factor != 1 and not time_series.is_lag_model(forecaster):
            for model in forecaster.fitted_[:, 0]:
                series_models.widened(model, found.factor)
        return
    if time_series.is_lag_model(forecaster):
        _apply_to_lag_model(forecaster, found.scores, horizon, of_series)
        return
    from statsforecast.utils import ConformalIntervals

    for name, model in zip(forecaster.uids, forecaster.fitted_[:, 0], strict=True):
        if not series_models.has_intervals(model):
            model.prediction_intervals = ConformalIntervals(h=horizon, n_windows=_SCORES)
            model._cs = _over(found.scores, horizon).T * of_series[name]


def bounded(
    forecasts: pd.DataFrame, found: Intervals | None, columns: Columns, of_series: dict[object, float]
) -> pd.DataFrame:
    """`forecasts` with the conformal bounds that a forecaster has been given by `apply`, for the steps that
    backtests went to."""
    if found is None or found.scores is None:
        return forecasts
    step = forecasts.groupby(columns.id, sort=False).cumcount().to_numpy()
    inside = step < len(found.scores)
    scale = forecasts[columns.id].map(of_series).to_numpy(dtype=float)
    made = {}
    for level in LEVELS:
        half = _quantile(found.scores, level)[np.where(inside, step, 0)] * scale
        half = np.where(inside, half, np.nan)
        made[bound("lower", level)] = forecasts[MEAN] - half
        made[bound("upper", level)] = forecasts[MEAN] + half
    return forecasts.assign(**made)


def _apply_to_lag_model(
    forecaster: Forecaster, scores: np.ndarray, horizon: int, of_series: dict[object, float]
) -> None:
    from mlforecast.utils import PredictionIntervals

    names = list(forecaster.ts.uids)
    scale = np.array([of_series[name] for name in names])
    # the library's order: a window after another, in it a series after another
    made = _over(scores, horizon).T[:, None, :] * scale[None, :, None]
    ids = np.tile(np.repeat(np.asarray(names, dtype=object), horizon), _SCORES)
    forecaster.prediction_intervals = PredictionIntervals(n_windows=_SCORES, h=horizon)
    forecaster._cs_df = pd.DataFrame(
        {forecaster.ts.id_col: ids, time_series.output(forecaster): made.ravel()}
    )


def _widened(every: pd.DataFrame, columns: Columns) -> Intervals:
    own = coverage(every, columns.target)
    far = every[columns.target] - every[MEAN]
    ratios = {}
    for level in LEVELS:
        lower, upper = every[bound("lower", level)], every[bound("upper", level)]
        side = np.where(far >= 0, upper - every[MEAN], every[MEAN] - lower)
        ratios[level] = (far.abs() / np.where(side > 0, side, np.nan)).to_numpy()
    window = every["window"].to_numpy()
    usable = np.isfinite(np.stack(list(ratios.values()))).all(axis=0)
    as_is = Intervals(own, own, int(usable.sum()))
    if usable.sum() < _FEWEST or len(np.unique(window)) < 2:
        return as_is
    inside: dict[str, list[bool]] = {str(level): [] for level in LEVELS}
    for left_out in np.unique(window):
        factor = _factor(ratios, usable & (window != left_out))
        judged = usable & (window == left_out)
        for level in LEVELS:
            inside[str(level)] += list(ratios[level][judged] <= factor)
    changed = {level: float(np.mean(hits)) for level, hits in inside.items()}
    return Intervals(changed, own, int(usable.sum()), factor=_factor(ratios, usable))


def _factor(ratios: dict[int, np.ndarray], rows: np.ndarray) -> float:
    """How much wider the intervals have to be to hold what they promise; between the two levels, and nearer
    to 1 the fewer rows there are."""
    count = int(rows.sum())
    if not count:
        return 1.0
    needed = [
        np.quantile(ratios[level][rows], min(level / 100 * (count + 1) / count, 1.0)) for level in LEVELS
    ]
    whole = float(np.clip(np.sqrt(np.prod(needed)), 1 / _WIDEST, _WIDEST))
    return whole ** (count / (count + _DOUBT))


def _scores(errors: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(h, q) scores: the quantiles of all errors, scaled to how errors grow with the step."""
    growth = _growth(errors, step)
    # so spread that the libraries' interpolation between the scores gives back each level
    at = (np.arange(_SCORES) + 0.5) / (_SCORES - 0.5)
    at = np.minimum(at * (len(errors) + 1) / len(errors), 1.0)
    return growth[:, None] * np.quantile(errors / growth[step], at)[None, :]


def _growth(errors: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(h,) how large errors are at each step: a power of it from none to proportional, fitted to all, from
    which a step departs as far as it has errors enough of its own."""
    horizon = int(step.max()) + 1
    count = np.bincount(step, minlength=horizon)
    squares = np.bincount(step, weights=errors**2, minlength=horizon)
    ahead, there = np.arange(1.0, horizon + 1), (count > 0) & (squares > 0)
    power = 0.5  # a random walk's
    if there.sum() > 2:
        size = np.log(squares[there] / count[there]) / 2
        power = float(np.clip(np.polyfit(np.log(ahead[there]), size, 1)[0], 0.0, 1.0))
    curve = ahead ** (2 * power)
    curve *= max(float(squares.sum()), 1e-24) / float((curve * count).sum())
    return np.sqrt((squares + _SHAPE * curve) / (count + _SHAPE))


def _quantile(scores: np.ndarray, level: int) -> np.ndarray:
    """(h,) half-widths that the libraries make of `scores` for a level."""
    both = np.hstack([-scores, scores])
    return np.quantile(both, 0.5 + level / 200, axis=1)


def _over(scores: np.ndarray, horizon: int) -> np.ndarray:
    """`scores` for so many steps; the last ones go on."""
    return scores[np.minimum(np.arange(horizon), len(scores) - 1)]
