"""The bootstrap over series."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest

from services.trainer import backtests, evaluate_series, series_uncertainty
from services.trainer.backtests import Window
from services.trainer.series import MEAN
from services.trainer.series_rows import Columns
from shared.contracts.results import Uncertainty
from shared.contracts.states import TaskType
from shared.contracts.training import Plan

COLUMNS = Columns(id="shop", time="day", target="sales")
HORIZON = 4


def plan(metric: str = "mase") -> Plan:
    return Plan(
        task_type=TaskType.TIME_SERIES,
        target="sales",
        metric=metric,
        roles={},
        models=[],
        rows=0,
        test_size=0.2,
        cv_folds=3,
        seed=0,
        refit=True,
        split_digest="",
        deadline_s=60,
        season_length=1,
    )


def table(series: int, steps: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "shop": np.repeat(np.arange(series), steps),
            "day": np.tile(pd.date_range("2024-01-01", periods=steps), series),
            "sales": rng.normal(100, 5, series * steps),
        }
    )


def forecasts_of(long: pd.DataFrame, error: float) -> tuple[list[Window], list[pd.DataFrame]]:
    """Windows, the held-out one first, and forecasts that are about `error` off."""
    windows = [backtests.window(long, COLUMNS, HORIZON, number) for number in range(3)]
    rng = np.random.default_rng(1)
    told = [w.steps.assign(**{MEAN: w.steps["sales"] + rng.normal(0, error, len(w.steps))}) for w in windows]
    return windows, told


def measure(series: int, metric: str = "mase", error: float = 5.0) -> Uncertainty | None:
    windows, told = forecasts_of(table(series), error)
    scores = [backtests.scores(t, w.before, COLUMNS, 1)[metric] for w, t in zip(windows, told, strict=True)]
    assert None not in scores
    cv_mean = float(np.mean(scores[1:]))
    return series_uncertainty.measured(plan(metric), COLUMNS, windows, told, cv_mean, scores[0])


@pytest.mark.parametrize("metric", series_uncertainty.MEANS_OVER_SERIES)
def test_each_series_counts_once(metric: str) -> None:
    windows, told = forecasts_of(table(30), 5.0)
    each = evaluate_series.of_each(metric, told[0], windows[0].before, COLUMNS, 1)
    whole = evaluate_series.evaluate(told[0], windows[0].before, COLUMNS, 1)[metric]
    assert len(each) == 30
    assert each.mean() == pytest.approx(whole)
    found = measure(30, metric)
    assert found is not None
    assert found.rows == 30
    assert found.low < found.high
    assert found.held_out_low < whole < found.held_out_high


def test_models_of_a_run_are_paired() -> None:
    close, far = measure(30, error=1.0), measure(30, error=9.0)
    assert close is not None
    assert far is not None
    assert close.digest == far.digest
    assert close.high < far.low


def test_of_few_series_and_of_pooled_metrics_nothing_is_told() -> None:
    assert measure(5) is None
    assert measure(30, "rmse") is None
    windows, told = forecasts_of(table(30), 1.0)
    only_held_out = series_uncertainty.measured(plan(), COLUMNS, windows[:1], told[:1], 1.0, 1.0)
    assert only_held_out is None


def test_a_series_that_never_moves_counts_in_none() -> None:
    long = table(30)
    long.loc[long["shop"] == 3, "sales"] = 7.0
    windows, told = forecasts_of(long, 5.0)
    each = evaluate_series.of_each("mase", told[0], windows[0].before, COLUMNS, 1)
    assert np.isnan(each[3])
    assert each.drop(3).notna().all()
    found = series_uncertainty.measured(plan(), COLUMNS, windows, told, 1.0, 1.0)
    assert found is not None
    assert found.rows == 29
    still = long.assign(sales=7.0)
    assert evaluate_series.of_each("mase", told[0], still, COLUMNS, 1).isna().all()
    assert msgspec.json.decode(msgspec.json.encode(found), type=Uncertainty) == found
