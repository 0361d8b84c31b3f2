from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from services.trainer.evaluate_series import evaluate
from services.trainer.series import MEAN, Columns
from shared.contracts.catalogue import METRICS
from shared.contracts.states import TaskType

NAMES = Columns(id="shop", time="day", target="sold")


def frame(values: dict[str, list[float]], start: int = 0) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"shop": shop, "day": np.arange(start, start + len(sold)), "sold": sold})
        for shop, sold in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


def forecasts(actual: dict[str, list[float]], mean: dict[str, list[float]], start: int) -> pd.DataFrame:
    return frame(actual, start).assign(**{MEAN: np.concatenate([mean[shop] for shop in actual])})


def test_one_series_by_hand() -> None:
    train = frame({"a": [1.0, 2.0, 4.0, 3.0]})
    scored = evaluate(forecasts({"a": [10.0, 20.0]}, {"a": [12.0, 16.0]}, 4), train, NAMES, 1)
    naive = [1.0, 2.0, 1.0]
    assert scored == {
        "mase": pytest.approx(3.0 / np.mean(naive)),
        "smape": pytest.approx(200 * (2 / 22 + 4 / 36) / 2),
        "wape": pytest.approx(6 / 30),
        "rmse": pytest.approx(math.sqrt((4 + 16) / 2)),
        "mae": pytest.approx(3.0),
        "rmsse": pytest.approx(math.sqrt(10 / np.mean(np.square(naive)))),
    }
    assert list(scored) == list(METRICS[TaskType.TIME_SERIES])


def test_the_scale_is_the_seasonal_naive() -> None:
    train = frame({"a": [1.0, 5.0, 2.0, 8.0, 4.0, 9.0]})
    scored = evaluate(forecasts({"a": [10.0]}, {"a": [13.0]}, 6), train, NAMES, 2)
    assert scored["mase"] == pytest.approx(3.0 / np.mean([1, 3, 2, 1]))


def test_several_series_are_averaged_and_pooled() -> None:
    train = frame({"a": [0.0, 1.0, 0.0], "b": [0.0, 10.0, 0.0]})
    both = forecasts({"a": [1.0], "b": [10.0]}, {"a": [3.0], "b": [15.0]}, 3)
    scored = evaluate(both, train, NAMES, 1)
    assert scored["mase"] == pytest.approx((2 / 1 + 5 / 10) / 2)
    assert scored["wape"] == pytest.approx(7 / 11)
    assert scored["rmse"] == pytest.approx(math.sqrt((4 + 25) / 2))


def test_a_series_without_a_scale_is_left_out_of_the_scaled_ones() -> None:
    train = frame({"flat": [3.0] * 6, "b": [0.0, 10.0] * 3})
    both = forecasts({"flat": [3.0], "b": [10.0]}, {"flat": [4.0], "b": [15.0]}, 6)
    assert evaluate(both, train, NAMES, 1)["mase"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "train",
    [
        [7.0] * 12,
        [0.1 * (i % 3) + 0.3 for i in range(12)],
        [0.1 * (i % 3) + 1e-17 * i for i in range(12)],
        [1.0, 2.0],
    ],
)
def test_without_a_scale_mase_is_undefined(train: list[float]) -> None:
    scored = evaluate(forecasts({"a": [1.0]}, {"a": [2.0]}, 12), frame({"a": train}), NAMES, 3)
    assert (scored["mase"], scored["rmsse"]) == (None, None)
    assert scored["mae"] == 1.0


def test_zeros_leave_wape_undefined_and_smape_zero() -> None:
    train = frame({"a": [0.0, 1.0, 0.0, 2.0]})
    scored = evaluate(forecasts({"a": [0.0, 0.0]}, {"a": [0.0, 0.0]}, 4), train, NAMES, 1)
    assert scored["wape"] is None
    assert (scored["smape"], scored["mae"], scored["mase"]) == (0.0, 0.0, 0.0)


def test_smape_reaches_200() -> None:
    train = frame({"a": [0.0, 1.0, 0.0, 2.0]})
    assert evaluate(forecasts({"a": [-5.0]}, {"a": [5.0]}, 4), train, NAMES, 1)["smape"] == pytest.approx(200)


def test_gaps_are_not_scored() -> None:
    train = frame({"a": [0.0, math.nan, 0.0, 2.0, 1.0]})
    scored = evaluate(forecasts({"a": [1.0, math.nan]}, {"a": [2.0, 99.0]}, 5), train, NAMES, 1)
    assert scored["mae"] == 1.0
    assert scored["mase"] == pytest.approx(1 / np.mean([2.0, 1.0]))
    empty = evaluate(forecasts({"a": [math.nan]}, {"a": [99.0]}, 5), train, NAMES, 1)
    assert set(empty.values()) == {None}


def test_overflow_is_undefined() -> None:
    train = frame({"a": [0.0, 1.0, 0.0, 2.0]})
    with np.errstate(over="ignore"):
        scored = evaluate(forecasts({"a": [1e200]}, {"a": [-1e200]}, 4), train, NAMES, 1)
    assert scored["rmse"] is None
    assert all(value is None or math.isfinite(value) for value in scored.values())


def test_columns_may_be_called_anything() -> None:
    names = Columns(id="y", time="cutoff", target="unique_id")
    train = frame({"a": [1.0, 2.0, 4.0, 3.0]}).set_axis(["y", "cutoff", "unique_id"], axis=1)
    ahead = forecasts({"a": [10.0]}, {"a": [12.0]}, 4).set_axis(["y", "cutoff", "unique_id", MEAN], axis=1)
    assert evaluate(ahead, train, names, 1)["mae"] == 2.0
