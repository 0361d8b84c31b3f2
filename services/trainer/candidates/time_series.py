"""Forecasters: statsforecast's and mlforecast's own objects, built for one table and fitted on a long frame.

Both pickle without any code of ours, keep the user's column names and answer `predict(h=…)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.series import LEAST_TRAINING, MEAN, Columns
from services.trainer.series_times import step, unit
from shared.errors import CannotTrain

if TYPE_CHECKING:
    from mlforecast import MLForecast

Forecaster: TypeAlias = Any
"""A `StatsForecast` or an `MLForecast`: they share `fit` and `predict`, and no type."""

LEVELS = (80, 95)
"""Prediction intervals, in percent."""
HISTORY = 10_000
"""Steps of each series that the statistical models see: their time grows with them, their states forget."""
_LONGEST_ETS_SEASON = 24
"""ETS keeps a state for each step of the season and refuses more, as R's forecast::ets does."""
_CALIBRATION = (3, 10)
"""Least and most backtests that conformal intervals are calibrated on."""
_CALIBRATION_STEPS = 400
"""Of all those backtests together, each step of which is a call of the model."""

_DATE_FEATURES = {
    "month": ["month", "quarter"],
    "quarter": ["quarter"],
    "week": ["week", "month"],
    "day": ["dayofweek", "day", "month"],
    "hour": ["hour", "dayofweek", "month"],
    "minute": ["minute", "hour", "dayofweek"],
}


class Situation(Struct, kw_only=True):
    """What a forecaster's settings depend on: the plan's choices, and the part it is fitted on: how many
    `series`, their `shortest` length, and `rows` in all."""

    columns: Columns
    frequency: str
    season_length: int
    horizon: int
    series: int
    shortest: int
    rows: int
    seed: int
    threads: int
    intervals: bool = True
    """Whether intervals will be asked for: conformal ones cost a fit more."""


def build(model_name: str, given: Situation) -> Forecaster:
    """The unfitted forecaster of a slug. Raises CannotTrain for one that is not known."""
    if model_name == "lightgbm":
        return _lightgbm(given)
    if model_name not in _STATISTICAL:
        raise CannotTrain(f"no time_series model is called {model_name!r}")
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    model = _STATISTICAL[model_name](given.season_length)
    model.alias = _output(model.alias, given.columns)
    # one odd series among many must not cost the others their model
    fallback = SeasonalNaive(given.season_length) if given.series > 1 else None
    return StatsForecast([model], freq=step(given.frequency), n_jobs=1, fallback_model=fallback)


def fit(forecaster: Forecaster, long: pd.DataFrame, given: Situation) -> Forecaster:
    """Fit on a long frame without gaps, and hand the same object back.

    Raises CannotTrain with the library's own reason.
    """
    columns = given.columns
    named = {"id_col": columns.id, "time_col": columns.time, "target_col": columns.target}
    more: dict[str, Any] = {}
    if _is_mlforecast(forecaster):
        more = {"static_features": [], "validate_data": False, **_conformal(given)}
    else:
        long = long.groupby(columns.id, sort=False).tail(HISTORY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return forecaster.fit(long, **named, **more)
        except Exception as error:
            raise CannotTrain(f"the model could not be fitted: {error}") from error


def forecast(forecaster: Forecaster, horizon: int, columns: Columns, *, intervals: bool) -> pd.DataFrame:
    """The next `horizon` steps of each series: id, time, MEAN and, where the model has them, the columns
    `bound("lower", 80)` and so on. Raises CannotTrain where a forecast is not finite.
    """
    wanted = intervals
    if _is_mlforecast(forecaster):
        calibrated = getattr(forecaster, "prediction_intervals", None)
        wanted = intervals and calibrated is not None and calibrated.h >= horizon
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = forecaster.predict(h=horizon, level=list(LEVELS) if wanted else None)
    name = output(forecaster)
    renamed = {name: MEAN}
    for level in LEVELS if wanted else ():
        renamed |= {f"{name}-lo-{level}": bound("lower", level), f"{name}-hi-{level}": bound("upper", level)}
    answer = predicted[[columns.id, columns.time, *renamed]].rename(columns=renamed)
    broken = answer.loc[~np.isfinite(answer[MEAN]), columns.id]
    if len(broken):
        raise CannotTrain(f"the model gives no finite forecast for series {broken.iloc[0]!r}")
    return answer


def bound(side: Literal["lower", "upper"], level: int) -> str:
    """The column of an interval's side."""
    return f"@{side}_{level}"


def output(forecaster: Forecaster) -> str:
    """The column in which `predict` puts the forecast."""
    return next(iter(forecaster.models)) if _is_mlforecast(forecaster) else forecaster.models[0].alias


def settings(forecaster: Forecaster) -> str:
    """The model and its settings in one line, for the model card."""
    if _is_mlforecast(forecaster):
        text = f"{forecaster!r} {next(iter(forecaster.models.values()))!r}"
        return " ".join(text.split())
    model = forecaster.models[0]
    plain = {
        name: value for name, value in vars(model).items() if isinstance(value, str | int | float | bool)
    }
    return f"{type(model).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"


def replaced(forecaster: Forecaster) -> list[object]:
    """The series that the model failed on, so that a seasonal naive stands in for it there."""
    if _is_mlforecast(forecaster):
        return []
    wanted = forecaster.models[0]
    # a constant series makes AutoCES a Naive by itself: only the fallback is counted
    fallback = type(forecaster.fallback_model) if forecaster.fallback_model is not None else ()
    return [
        name
        for name, fitted in zip(forecaster.uids, forecaster.fitted_[:, 0], strict=True)
        if not isinstance(fitted, type(wanted)) and isinstance(fitted, fallback)
    ]


def warm_up() -> None:
    """Import and run once what a first fit would load lazily. For the process that fits are forked from:
    one thread, no LightGBM training (OpenMP's pool must not exist before a fork).
    """
    columns = Columns(id="unique_id", time="ds", target="y")
    season = 12
    long = pd.DataFrame(
        {
            "unique_id": "y",
            "ds": pd.date_range("2000-01-01", periods=4 * season, freq="MS"),
            "y": 10 + np.sin(np.arange(4 * season)) + np.arange(4 * season) % season,
        }
    )
    given = Situation(
        columns=columns,
        frequency="MS",
        season_length=season,
        horizon=2,
        series=1,
        shortest=len(long),
        rows=len(long),
        seed=0,
        threads=1,
    )
    for slug in _STATISTICAL:
        forecast(fit(build(slug, given), long, given), given.horizon, columns, intervals=True)
    _lightgbm(given).preprocess(long, static_features=[])


# --- the models ---------------------------------------------------------------------------------


def _seasonal_naive(season: int) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(season)


def _theta(season: int) -> Any:
    from statsforecast.models import DynamicOptimizedTheta

    return DynamicOptimizedTheta(season)


def _ets(season: int) -> Any:
    from statsforecast.models import MSTL, AutoETS

    if season <= _LONGEST_ETS_SEASON:
        return AutoETS(season)
    # a long season is taken out by loess first, as R's forecast::stlf does
    return MSTL(season, trend_forecaster=AutoETS(model="ZZN"), alias="AutoETS")


def _ces(season: int) -> Any:
    from statsforecast.models import AutoCES

    return AutoCES(season, alias="AutoCES")


_STATISTICAL: dict[str, Callable[[int], Any]] = {
    "seasonal_naive": _seasonal_naive,
    "dynamic_optimized_theta": _theta,
    "auto_ets": _ets,
    "auto_ces": _ces,
}


def _lightgbm(given: Situation) -> MLForecast:
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean, RollingStd
    from mlforecast.target_transforms import Differences, LocalStandardScaler

    large = given.rows >= 2_000
    model = LGBMRegressor(
        n_estimators=200,
        learning_rate=0.05,
        num_leaves=31 if large else 15,
        min_child_samples=20 if large else 5,
        random_state=given.seed,
        n_jobs=given.threads,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )
    window = max(3, min(given.season_length, given.shortest // 3))
    # trees cannot go beyond what they have seen, so they learn the steps, not the level
    transforms: list[Any] = [Differences([1])]
    if given.series > 1:
        transforms.append(LocalStandardScaler())
    own = {given.columns.id, given.columns.time, given.columns.target}
    features = [name for name in _DATE_FEATURES.get(unit(given.frequency) or "", []) if name not in own]
    return MLForecast(
        models={_output("LightGBM", given.columns): model},
        freq=step(given.frequency),
        lags=_lags(given),
        lag_transforms={1: [RollingMean(window, min_samples=1), RollingStd(window, min_samples=2)]},
        target_transforms=transforms,
        date_features=features,
    )


def _lags(given: Situation) -> list[int]:
    """The last steps, and the same step a season and two ago; at most a third of the shortest series."""
    season = given.season_length
    recent = range(1, (min(season, 12) if season > 1 else 8) + 1)
    seasonal = [season, season + 1, 2 * season] if season > 1 else []
    longest = max(1, given.shortest // 3)
    return sorted({lag for lag in [*recent, *seasonal] if lag <= longest})


def _conformal(given: Situation) -> dict[str, Any]:
    """Arguments of `MLForecast.fit` for intervals, where the shortest series is long enough for them."""
    from mlforecast.utils import PredictionIntervals

    least, most = _CALIBRATION
    needed = max(LEAST_TRAINING, 2 * given.season_length, 2 * max(_lags(given)))
    most = max(least, min(most, _CALIBRATION_STEPS // given.horizon))
    windows = min(most, (given.shortest - needed) // given.horizon)
    if not given.intervals or windows < least:
        return {}
    return {"prediction_intervals": PredictionIntervals(n_windows=windows, h=given.horizon)}


def _output(name: str, columns: Columns) -> str:
    return f"{name}_forecast" if name in (columns.id, columns.time, columns.target) else name


def _is_mlforecast(forecaster: Forecaster) -> bool:
    return not hasattr(forecaster, "fallback_model")
