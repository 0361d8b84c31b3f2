"""mlforecast's models: one regression for all series, on lags, the calendar and columns known ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from services.trainer.series_times import step, unit

if TYPE_CHECKING:
    from mlforecast import MLForecast

    from services.trainer.candidates.time_series import Situation

Regression: TypeAlias = Any

TRANSFORMS = ("difference", "seasonal", "level", "log", "log_seasonal")
"""What the regression may be made to learn: the step from the value before, that from the season before,
the value itself, and the two steps in logarithms."""

_DATE_FEATURES = {
    "month": ["month", "quarter"],
    "quarter": ["quarter"],
    "week": ["week", "month"],
    "day": ["dayofweek", "day", "dayofyear", "month"],
    "hour": ["hour", "dayofweek", "month"],
    "minute": ["minute", "hour", "dayofweek"],
}


def build(model_name: str, given: Situation) -> MLForecast:
    """Raises KeyError for a slug that is not here."""
    from mlforecast import MLForecast

    alias, regression = BUILDERS[model_name]
    own = {given.columns.id, given.columns.time, given.columns.target}
    own |= {*given.columns.known, *given.columns.static}
    features = [name for name in _DATE_FEATURES.get(unit(given.frequency) or "", []) if name not in own]
    name = f"{alias}_forecast" if alias in own else alias
    return MLForecast(
        models={name: regression(given, features)},
        freq=step(given.frequency),
        lags=lags(given),
        lag_transforms=_rolling(given),
        target_transforms=_transforms(given),
        date_features=features,
    )


def choices(given: Situation, least: float) -> list[str]:
    """The transforms that series can take; `least`: their smallest value."""
    season = given.season_length
    seasonal = season > 1 and given.shortest > 3 * season
    possible = ["difference", "level"]
    possible += ["seasonal"] if seasonal else []
    if least > 0:
        possible += ["log", *(["log_seasonal"] if seasonal else [])]
    return [name for name in TRANSFORMS if name in possible]


def lags(given: Situation) -> list[int]:
    """The last steps, and the same step a season and two ago; at most a third of the shortest series."""
    recent = set(range(1, (min(given.season_length, 12) if given.season_length > 1 else 8) + 1))
    seasonal = {lag for length in given.seasons if length > 1 for lag in (length, length + 1, 2 * length)}
    longest = max(1, given.usual // 3)
    return sorted(lag for lag in recent | seasonal if lag <= longest)


def _rolling(given: Situation) -> dict[int, list[Any]]:
    from mlforecast.lag_transforms import ExpandingMean, RollingMean, RollingStd, SeasonalRollingMean

    window = max(3, min(given.season_length, given.usual // 3))
    made: dict[int, list[Any]] = {
        1: [RollingMean(window, min_samples=1), RollingStd(window, min_samples=2), ExpandingMean()]
    }
    if given.season_length > 1 and given.usual > 4 * given.season_length:
        made[given.season_length] = [SeasonalRollingMean(given.season_length, 3, min_samples=1)]
    return made


def _transforms(given: Situation) -> list[Any]:
    from mlforecast.target_transforms import Differences, GlobalSklearnTransformer, LocalStandardScaler
    from sklearn.preprocessing import FunctionTransformer

    made: list[Any] = []
    if given.transform.startswith("log"):
        made.append(GlobalSklearnTransformer(FunctionTransformer(np.log, inverse_func=np.exp)))
    if given.transform in ("difference", "log"):
        # trees cannot go beyond what they have seen, so they learn the steps, not the level
        made.append(Differences([1]))
    elif given.transform in ("seasonal", "log_seasonal"):
        made.append(Differences([given.season_length]))
    if given.series > 1 or given.transform == "level":
        made.append(LocalStandardScaler())
    return made


def _lightgbm(given: Situation, _features: list[str]) -> Regression:
    from lightgbm import LGBMRegressor
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

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
    if not given.texts:
        return model
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    encode = make_column_transformer((codes, list(given.texts)), remainder="passthrough")
    return make_pipeline(encode.set_output(transform="pandas"), model)


def _ridge(given: Situation, features: list[str]) -> Regression:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    kinds = [name for name in features if name != "dayofyear"]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), [*kinds, *given.texts]),
        remainder=make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()),
    )
    return make_pipeline(encode, RidgeCV(np.logspace(-2, 4, 13)))


BUILDERS = {"lightgbm": ("LightGBM", _lightgbm), "ridge": ("Ridge", _ridge)}
