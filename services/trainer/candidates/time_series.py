"""Forecasters: statsforecast's and mlforecast's own objects, built for one table and fitted on a long frame.

Both pickle without any code of ours, keep the user's column names and answer `predict(h=…)`, with `X_df=…`
where the table has columns that are known ahead and the model uses them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.candidates import lag_models, series_models
from services.trainer.candidates.series_models import Effort, Model
from services.trainer.series import MEAN
from services.trainer.series_rows import Columns
from services.trainer.series_times import step
from shared.errors import CannotTrain

if TYPE_CHECKING:
    from statsforecast import StatsForecast

Forecaster: TypeAlias = Any
"""A `StatsForecast` or an `MLForecast`: they share `fit` and `predict`, and no type."""

LEVELS = (80, 95)
"""Prediction intervals, in percent."""
_FAR = 10.0
_AWAY = 0.05
HISTORY = 10_000
"""Steps of each series that a model sees: its time grows with them, and what it keeps of them hardly."""


class Situation(Struct, kw_only=True):
    """What a forecaster's settings depend on: the plan's choices, and the part it is fitted on: how many
    `series`, the `usual` and the `shortest` length, and `rows` in all. `texts`: the columns that are
    encoded. `history`: steps of a series that a model sees. `effort` and `transform`: see
    `series_models` and `lag_models`. `left` answers the seconds until a fit has to give up."""

    model_name: str
    columns: Columns
    frequency: str
    season_length: int
    horizon: int
    series: int
    shortest: int
    usual: int
    rows: int
    seed: int
    threads: int
    seasons: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    effort: Effort = "full"
    transform: str = "difference"
    history: int = HISTORY
    left: Callable[[], float] | None = None


def build(model_name: str, given: Situation) -> Forecaster:
    """The unfitted forecaster of a slug. Raises CannotTrain for one that is not known."""
    if model_name in lag_models.BUILDERS:
        return lag_models.build(model_name, given)
    if model_name not in series_models.BUILDERS:
        raise CannotTrain(f"no time_series model is called {model_name!r}")
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    model = series_models.build(model_name, given, given.season_length)
    model.alias = output_name(model.alias, given.columns)
    # one odd series among many must not cost the others their model
    fallback = SeasonalNaive(given.season_length) if given.series > 1 else None
    return StatsForecast([model], freq=step(given.frequency), n_jobs=1, fallback_model=fallback)


def uses_future(forecaster: Forecaster, columns: Columns) -> bool:
    """Whether it forecasts from the columns known ahead, and must be given them."""
    if not columns.known:
        return False
    return is_lag_model(forecaster) or series_models.uses_columns(forecaster.models[0])


def fit(forecaster: Forecaster, long: pd.DataFrame, given: Situation) -> Forecaster:
    """Fit on a long frame without gaps, and hand the same object back.

    Raises CannotTrain with the library's own reason, and where the time runs out.
    """
    columns = given.columns
    named = {"id_col": columns.id, "time_col": columns.time, "target_col": columns.target}
    base = [columns.id, columns.time, columns.target]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            if is_lag_model(forecaster):
                static = list(columns.static)
                seen = _seen(long[[*base, *columns.known, *static]], given)
                return forecaster.fit(seen, **named, static_features=static, validate_data=False)
            numbers = [name for name in columns.known if name not in given.texts]
            used = [*base, *(numbers if series_models.uses_columns(forecaster.models[0]) else [])]
            return _fit_each(forecaster, _seen(long[used], given), given)
        except CannotTrain:
            raise
        except Exception as error:
            raise CannotTrain(f"the model could not be fitted: {error}") from error


def _seen(long: pd.DataFrame, given: Situation) -> pd.DataFrame:
    """The last steps of each series, as many as a model sees."""
    return long.groupby(given.columns.id, sort=False).tail(given.history)


def _fit_each(forecaster: StatsForecast, long: pd.DataFrame, given: Situation) -> StatsForecast:
    """Fit the series one by one: those too short for the season without one, and none beyond the deadline."""
    from statsforecast.models import Naive

    columns = given.columns
    (model,) = forecaster.models
    # everything but the models, as the library itself sets it up
    forecaster.models = [Naive(alias=model.alias)]
    forecaster.fit(long, id_col=columns.id, time_col=columns.time, target_col=columns.target)
    forecaster.models = [model]
    groups: Any = forecaster.ga
    for at, values in enumerate(groups):
        if given.left is not None and given.left() < 0:
            raise CannotTrain(f"there was time to fit {at:,} of {given.series:,} series only")
        regressed = values.ndim == 2 and values.shape[1] > 1
        y, x = (values[:, 0], values[:, 1:]) if regressed else (values, None)
        forecaster.fitted_[at, 0] = _fitted_one(forecaster, y.ravel(), x, given)
    return forecaster


def _fitted_one(forecaster: StatsForecast, y: np.ndarray, x: np.ndarray | None, given: Situation) -> Model:
    """The model on one series, without a season where that is too short for two; or, among several, the
    naive of its season where the model fails."""
    from statsforecast.models import Naive, SeasonalNaive

    season, alias = given.season_length, forecaster.models[0].alias
    try:
        model = series_models.build(given.model_name, given, season if len(y) >= 2 * season else 1)
        model.alias = alias
        model.fit(y=y, X=x)
        if x is None and not _stays_near(model.predict(h=given.horizon)["mean"], y):
            raise CannotTrain("its forecasts run away from the series")
        return model
    except Exception:
        if forecaster.fallback_model is None:
            raise
    naive = Naive(alias=alias) if len(y) < season else SeasonalNaive(season, alias=alias)
    return naive.fit(y=y)


def forecast(
    forecaster: Forecaster,
    horizon: int,
    columns: Columns,
    future: pd.DataFrame | None = None,
    *,
    intervals: bool,
) -> pd.DataFrame:
    """The next `horizon` steps of each series: id, time, MEAN and, where the model has intervals of its own,
    the columns `bound("lower", 80)` and so on.

    `future`: id, time and the columns known ahead of at least those steps. Raises CannotTrain where a
    forecast is not finite.
    """
    predicted = raw_forecast(forecaster, horizon, columns, future, intervals=intervals)
    answer = renamed(predicted, output(forecaster), columns)
    broken = answer.loc[~np.isfinite(answer[MEAN]), columns.id]
    if len(broken):
        raise CannotTrain(f"the model gives no finite forecast for series {broken.iloc[0]!r}")
    return answer


def raw_forecast(
    forecaster: Forecaster,
    horizon: int,
    columns: Columns,
    future: pd.DataFrame | None = None,
    *,
    intervals: bool = False,
) -> pd.DataFrame:
    """What the forecaster's own `predict` answers, under the library's names."""
    own = not is_lag_model(forecaster) and series_models.has_intervals(forecaster.models[0])
    levels = list(LEVELS) if intervals and own else None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return forecaster.predict(
            h=horizon, level=levels, X_df=_future_of(forecaster, future, horizon, columns)
        )


def onward(
    forecaster: Forecaster, before: pd.DataFrame, window: pd.DataFrame, given: Situation
) -> pd.DataFrame:
    """What a model that was fitted on an earlier part forecasts for `window`, the steps after `before`.

    Its parameters stay as they are, its state goes on to the end of `before` (no gaps in it). A series that
    it has not seen is fitted, as is a model that keeps no state. The answer is that of `forecast`.
    """
    columns = given.columns
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if is_lag_model(forecaster):
            used = [columns.id, columns.time, columns.target, *columns.known, *columns.static]
            predicted = forecaster.predict(
                h=given.horizon,
                new_df=_seen(before[used], given),
                X_df=_future_of(forecaster, window, given.horizon, columns),
            )
            return renamed(predicted, output(forecaster), columns)
        return _each_onward(forecaster, before, window, given)


def _each_onward(
    forecaster: StatsForecast, before: pd.DataFrame, window: pd.DataFrame, given: Situation
) -> pd.DataFrame:
    columns, horizon = given.columns, given.horizon
    fitted = dict(zip(forecaster.uids, forecaster.fitted_[:, 0], strict=True))
    wants_x = uses_future(forecaster, columns)
    numbers = [name for name in columns.known if name not in given.texts] if wants_x else []
    levels = list(LEVELS) if series_models.has_intervals(forecaster.models[0]) else None
    past, steps = _parts(before, columns), _parts(window, columns)
    y, x, ahead = before[columns.target].to_numpy(), before[numbers], window[numbers]
    names = [MEAN, *(bound(side, level) for level in levels or () for side in ("lower", "upper"))]
    made = np.full((len(window), len(names)), np.nan)
    for name, at in steps.items():
        seen = slice(max(past[name].start, past[name].stop - given.history), past[name].stop)
        known = x.iloc[seen].to_numpy(dtype=float) if numbers else None
        to_come = ahead.iloc[at].to_numpy(dtype=float) if numbers else None
        model = fitted.get(name)
        found = None
        if model is not None and hasattr(model, "forward"):
            found = model.forward(y=y[seen], h=horizon, X=known, X_future=to_come, level=levels)
        # parameters that were good for the earlier part may let a state grow without bounds
        if found is None or not _stays_near(found["mean"], y[seen]):
            made_anew = _fitted_one(forecaster, y[seen], known, given)
            found = made_anew.predict(h=horizon, X=to_come, level=levels)
        made[at, 0] = found["mean"]
        for place, level in enumerate(levels or ()):
            made[at, 1 + 2 * place] = found[f"lo-{level}"]
            made[at, 2 + 2 * place] = found[f"hi-{level}"]
    answer = window[[columns.id, columns.time]].reset_index(drop=True)
    return answer.assign(**{name: made[:, nth] for nth, name in enumerate(names)})


def _stays_near(forecasts: np.ndarray, y: np.ndarray) -> bool:
    """Whether forecasts are numbers, and no further from the series than ten times what it ever spanned."""
    low, high = float(y.min()), float(y.max())
    far = _FAR * max(high - low, 1e-6 * max(abs(low), abs(high)))
    return bool(
        np.isfinite(forecasts).all() and forecasts.min() >= low - far and forecasts.max() <= high + far
    )


def check_near(said: pd.DataFrame, before: pd.DataFrame, columns: Columns) -> None:
    """Raise CannotTrain where forecasts of more than a few of the series are no numbers, or further from them
    than ten times what they ever spanned: a model for all of them has no stand-in for one."""
    spans = before.groupby(columns.id, sort=False)[columns.target].agg(["min", "max"])
    ends = said.groupby(columns.id, sort=False)[MEAN].agg(["min", "max"])
    broken = ~np.isfinite(said[MEAN]).groupby(said[columns.id], sort=False).all()
    low, high = (spans[side].reindex(ends.index) for side in ("min", "max"))
    far = _FAR * np.maximum(high - low, 1e-6 * np.maximum(low.abs(), high.abs()))
    away = broken.reindex(ends.index) | (ends["min"] < low - far) | (ends["max"] > high + far)
    if away.mean() > _AWAY:
        raise CannotTrain("its forecasts run away from the series")


def _parts(frame: pd.DataFrame, columns: Columns) -> dict[object, slice]:
    """Where each series lies in a frame that is sorted by series."""
    codes, names = pd.factorize(frame[columns.id])
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    starts = np.r_[0, ends[:-1]]
    return {name: slice(int(a), int(b)) for name, a, b in zip(names, starts, ends, strict=True)}


def _future_of(
    forecaster: Forecaster, future: pd.DataFrame | None, horizon: int, columns: Columns
) -> pd.DataFrame | None:
    """The columns known ahead, in the form that `predict` takes; None where the model uses none."""
    if future is None or not uses_future(forecaster, columns):
        return None
    names = list(columns.known)
    if not is_lag_model(forecaster):
        names = [name for name in names if name in forecaster._exog]
    steps = future.groupby(columns.id, sort=False).head(horizon)
    return steps[[columns.id, columns.time, *names]].reset_index(drop=True)


def renamed(predicted: pd.DataFrame, name: str, columns: Columns) -> pd.DataFrame:
    """What a forecaster's own `predict` answered in the column `name`, under our names."""
    wanted = {name: MEAN}
    for level in LEVELS:
        wanted |= {f"{name}-lo-{level}": bound("lower", level), f"{name}-hi-{level}": bound("upper", level)}
    present = {old: new for old, new in wanted.items() if old in predicted.columns}
    return predicted[[columns.id, columns.time, *present]].rename(columns=present)


def bound(side: Literal["lower", "upper"], level: int) -> str:
    """The column of an interval's side."""
    return f"@{side}_{level}"


def output(forecaster: Forecaster) -> str:
    """The column in which `predict` puts the forecast."""
    return next(iter(forecaster.models)) if is_lag_model(forecaster) else forecaster.models[0].alias


def settings(forecaster: Forecaster) -> str:
    """The model and its settings in one line, for the model card."""
    if is_lag_model(forecaster):
        text = f"{forecaster!r} {next(iter(forecaster.models.values()))!r}"
        return " ".join(text.split())
    model = forecaster.models[0]
    plain = {
        name: value for name, value in vars(model).items() if isinstance(value, str | int | float | bool)
    }
    return f"{type(model).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"


def replaced(forecaster: Forecaster) -> list[object]:
    """The series that the model failed on, so that a naive stands in for it there."""
    from statsforecast.models import Naive, SeasonalNaive

    if is_lag_model(forecaster) or isinstance(forecaster.models[0], Naive | SeasonalNaive):
        return []
    return [
        name
        for name, fitted in zip(forecaster.uids, forecaster.fitted_[:, 0], strict=True)
        if isinstance(fitted, Naive | SeasonalNaive)
    ]


def is_lag_model(forecaster: Forecaster) -> bool:
    return not hasattr(forecaster, "fallback_model")


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
    for slug in ("seasonal_naive", "dynamic_optimized_theta", "auto_ets", "auto_ces"):
        given = _warm_up_situation(slug, columns, len(long))
        forecast(fit(build(slug, given), long, given), given.horizon, columns, intervals=True)
    lag_models.build("lightgbm", _warm_up_situation("lightgbm", columns, len(long))).preprocess(
        long, static_features=[]
    )


def _warm_up_situation(slug: str, columns: Columns, rows: int) -> Situation:
    return Situation(
        model_name=slug,
        columns=columns,
        frequency="MS",
        season_length=12,
        horizon=2,
        series=1,
        shortest=rows,
        usual=rows,
        rows=rows,
        seed=0,
        threads=1,
    )


def output_name(name: str, columns: Columns) -> str:
    """`name`, or where it is one of the table's own, another."""
    own = (columns.id, columns.time, columns.target, *columns.known, *columns.static)
    return f"{name}_forecast" if name in own else name
