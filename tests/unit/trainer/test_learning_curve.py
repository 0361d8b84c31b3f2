"""The learning curve."""

from __future__ import annotations

import time

import numpy as np
import pytest

from services.trainer import learning_curve
from services.trainer.learning_curve import Points

FOLDS = [(np.delete(np.arange(1000), part), part) for part in np.split(np.arange(1000), 5)]


def measure(
    fitted: list[np.ndarray], *, limit: int = 10_000, seconds: float = 10.0, fit_seconds: float = 0.1
) -> Points | None:
    """A model is the rows it was fitted on, and its score how many these are."""

    def fit(rows: np.ndarray) -> np.ndarray:
        fitted.append(rows)
        return rows

    return learning_curve.measured(
        FOLDS,
        [0.9, 0.8, 0.85, 0.9, 0.9],
        0.95,
        limit=limit,
        part=lambda rows, size: rows[:size],
        fitted=fit,
        score=lambda model, rows: float(len(model)),
        fit_seconds=fit_seconds,
        seconds=seconds,
    )


def test_parts_are_fitted_in_three_folds_and_the_whole_is_not_fitted_again() -> None:
    fitted: list[np.ndarray] = []
    points = measure(fitted)
    assert points is not None
    assert points.rows == [100, 200, 400, 800]
    assert points.validation.tolist() == [[100] * 3, [200] * 3, [400] * 3, [0.9, 0.8, 0.85]]
    assert points.training[-1].tolist() == [0.95] * 3
    assert [len(rows) for rows in fitted] == [100] * 3 + [200] * 3 + [400] * 3
    for rows, (_, valid) in zip(fitted, FOLDS, strict=False):
        assert not set(rows) & set(valid)


def test_a_model_that_is_fitted_on_fewer_rows_ends_there() -> None:
    points = measure([], limit=400)
    assert points is not None
    assert points.rows == [50, 100, 200, 400]
    assert measure([], limit=60) is None


def test_with_less_time_there_are_fewer_folds_and_then_no_curve() -> None:
    points = measure([], seconds=2.0, fit_seconds=1.0)
    assert points is not None
    assert points.validation.shape == (4, 2)
    fitted: list[np.ndarray] = []
    assert measure(fitted, seconds=1.0, fit_seconds=1.0) is None
    assert fitted == []


def test_parts_that_take_longer_than_expected_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(time, "perf_counter", clock)
    points = measure([], seconds=7.5, fit_seconds=0.1)
    assert points is not None
    assert points.rows == [100, 200, 800]
    assert measure([], seconds=4.5, fit_seconds=0.1) is None


def test_an_undefined_score_is_nan() -> None:
    points = learning_curve.measured(
        FOLDS,
        [0.9] * 5,
        None,
        limit=1000,
        part=lambda rows, size: rows[:size],
        fitted=lambda rows: rows,
        score=lambda model, rows: None,
        fit_seconds=0.0,
        seconds=10.0,
    )
    assert points is not None
    assert np.isnan(points.training).all()
    assert points.validation[-1].tolist() == [0.9] * 3
