"""statsforecast's models: a model for each series, from its own past (and columns known ahead, AutoARIMA).

Each builder makes one unfitted model for a season of so many steps (1: none).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from services.trainer.candidates.time_series import Situation

Model: TypeAlias = Any
"""One of `statsforecast.models`: they share their methods, and no public type."""

Effort = Literal["full", "narrow", "single"]
"""How much of a model's own search there is time for: every form, the additive ones, or one robust form."""

_LONGEST_ETS_SEASON = 24
"""ETS keeps a state for each step of the season and refuses more, as R's forecast::ets does."""
_LONGEST_ARIMA_SEASON = 24
"""Beyond it a seasonal ARIMA takes minutes a series; the season is taken out by loess first."""
_WINDOW = 4
"""Seasons (or, without one, steps) that are averaged."""


def build(model_name: str, given: Situation, season: int) -> Model:
    """Raises KeyError for a slug that is not here."""
    return BUILDERS[model_name](given, season)


def uses_columns(model: Model) -> bool:
    """Whether a model regresses on columns that are known ahead."""
    return bool(getattr(model, "uses_exog", False))


def has_intervals(model: Model) -> bool:
    """Whether a model knows how sure it is, without having been tested."""
    return type(model).__name__ not in _WITHOUT_INTERVALS


_WITHOUT_INTERVALS = {"SeasonalWindowAverage", "WindowAverage", "CrostonSBA", "TSB", "AutoCES"}
"""AutoCES has some, simulated at 20 times the cost of its fit and, on backtests, far too narrow."""


def widened(model: Model, factor: float) -> None:
    """Make the intervals of a fitted model `factor` times as wide, at any horizon and level.

    They all follow from the spread of the errors that the fit found, so it is that which is changed.
    """
    inner: Model = getattr(model, "trend_forecaster", model)
    fitted = inner.model_
    if "sigma2" in fitted:
        fitted["sigma2"] = fitted["sigma2"] * factor**2
    elif "sigma" in fitted:
        fitted["sigma"] = fitted["sigma"] * factor
    else:  # Theta takes it from the residuals each time
        fitted["residuals"] = fitted["residuals"] * factor


def _seasonal_naive(_given: Situation, season: int) -> Model:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(season)


def _seasonal_window_average(given: Situation, season: int) -> Model:
    from statsforecast.models import SeasonalWindowAverage, WindowAverage

    if season == 1:
        return WindowAverage(_WINDOW, alias="SeasWA")
    return SeasonalWindowAverage(season, window_size=max(1, min(_WINDOW, given.shortest // season)))


def _theta(_given: Situation, season: int) -> Model:
    from statsforecast.models import DynamicOptimizedTheta

    return DynamicOptimizedTheta(season)


def _auto_theta(_given: Situation, season: int) -> Model:
    from statsforecast.models import AutoTheta

    return AutoTheta(season)


def _ets(given: Situation, season: int) -> Model:
    from statsforecast.models import MSTL, AutoETS

    if season > _LONGEST_ETS_SEASON:
        # a long season is taken out by loess first, as R's forecast::stlf does
        return MSTL(season, trend_forecaster=_trend(given), alias="AutoETS")
    if given.effort == "full":
        return AutoETS(season)
    if given.effort == "narrow":
        return AutoETS(season, model="AZZ")
    return AutoETS(season, model="AAA" if season > 1 else "AAN", damped=True)


def _trend(given: Situation) -> Model:
    from statsforecast.models import AutoETS

    return AutoETS(model="AAN", damped=True) if given.effort == "single" else AutoETS(model="ZZN")


def _mstl(given: Situation, season: int) -> Model:
    from statsforecast.models import MSTL

    fitting = [length for length in given.seasons if length > 1 and given.shortest >= 2 * length]
    if season == 1 or not fitting:
        model = _trend(given)
        model.alias = "MSTL"
        return model
    return MSTL(fitting, trend_forecaster=_trend(given))


def _ces(_given: Situation, season: int) -> Model:
    from statsforecast.models import AutoCES

    return AutoCES(season, alias="AutoCES")


def _arima(given: Situation, season: int) -> Model:
    from statsforecast.models import MSTL, AutoARIMA

    fast: dict[str, Any] = {} if given.effort == "full" else {"approximation": True, "nmodels": 20}
    if season > _LONGEST_ARIMA_SEASON:
        return MSTL(season, trend_forecaster=AutoARIMA(**fast), alias="AutoARIMA")
    return AutoARIMA(season_length=season, **fast)


def _croston(_given: Situation, _season: int) -> Model:
    from statsforecast.models import CrostonSBA

    return CrostonSBA(alias="Croston")


def _tsb(_given: Situation, _season: int) -> Model:
    from statsforecast.models import TSB

    # the values that Teunter, Syntetos and Babai (2011) found robust lie between 0.1 and 0.3
    return TSB(alpha_d=0.2, alpha_p=0.2)


BUILDERS: dict[str, Callable[[Situation, int], Model]] = {
    "seasonal_naive": _seasonal_naive,
    "seasonal_window_average": _seasonal_window_average,
    "dynamic_optimized_theta": _theta,
    "auto_theta": _auto_theta,
    "auto_ets": _ets,
    "mstl": _mstl,
    "auto_ces": _ces,
    "auto_arima": _arima,
    "croston": _croston,
    "tsb": _tsb,
}

SEARCHING = frozenset({"auto_ets", "auto_arima", "mstl"})
"""Models that fewer forms can be tried of, where time is short."""
