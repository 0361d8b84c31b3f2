from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from services.trainer import series_intervals
from services.trainer.candidates.time_series import LEVELS, bound
from services.trainer.series import MEAN
from services.trainer.series_rows import Columns

COLUMNS = Columns(id="id", time="t", target="y")


def windows(errors: np.ndarray, half: dict[int, float] | None = None) -> list[pd.DataFrame]:
    """`errors`: (w, h, n) of n series; `half`: the half-widths of a model's own intervals."""
    made = []
    for of_window in errors:
        steps, count = of_window.shape
        frame = pd.DataFrame(
            {"id": np.repeat(np.arange(count), steps), "t": np.tile(np.arange(steps), count)}
        )
        frame["y"], frame[MEAN] = of_window.T.ravel(), 0.0
        for level, width in (half or {}).items():
            frame[bound("lower", level)], frame[bound("upper", level)] = -width, width
        made.append(frame)
    return made


def bounds(found: series_intervals.Intervals | None, steps: int, level: int) -> np.ndarray:
    ahead = pd.DataFrame({"id": 0, "t": np.arange(steps), MEAN: 0.0})
    return series_intervals.bounded(ahead, found, COLUMNS, {0: 1.0})[bound("upper", level)].to_numpy()


def test_so_few_errors_bound_95_percent_by_the_largest_of_them() -> None:
    errors = np.random.default_rng(0).normal(size=(6, 2, 1))
    found = series_intervals.study(windows(errors), COLUMNS, {0: 1.0})
    # (n + 1) · 0.95 of twelve is more than there are
    largest = np.abs(errors).max()
    assert bounds(found, 2, 95).max() >= 0.95 * largest
    assert (bounds(found, 2, 80) < bounds(found, 2, 95)).all()


def test_errors_grow_as_all_steps_say_and_as_a_step_with_many_errors_says_itself() -> None:
    rng = np.random.default_rng(1)
    growing = rng.normal(size=(5, 12, 1)) * np.sqrt(np.arange(1, 13))[None, :, None]
    widths = bounds(series_intervals.study(windows(growing), COLUMNS, {0: 1.0}), 12, 80)
    assert (np.diff(widths) > -0.1 * widths[:-1]).all() and 2 < widths[-1] / widths[0] < 6
    # nights are easy: a curve through all steps cannot say so
    nightly = rng.normal(size=(5, 4, 200)) * np.array([3.0, 0.2, 3.0, 0.2])[None, :, None]
    scales = dict.fromkeys(range(200), 1.0)
    widths = bounds(series_intervals.study(windows(nightly), COLUMNS, scales), 4, 80)
    assert widths == pytest.approx(1.28 * np.array([3, 0.3, 3, 0.3]), rel=0.35)


def test_a_models_own_intervals_are_scaled_the_more_the_more_steps_say_so() -> None:
    rng = np.random.default_rng(2)
    own = {80: 1.28, 95: 1.96}
    factors = []
    for count in (1, 100):
        found = series_intervals.study(
            windows(2 * rng.normal(size=(5, 6, count)), own), COLUMNS, dict.fromkeys(range(count), 1.0)
        )
        assert found is not None and found.scores is None
        factors.append(found.factor)
    assert 1.1 < factors[0] < 2 and factors[1] == pytest.approx(2, rel=0.1)
    assert found.coverage == pytest.approx({"80": 0.8, "95": 0.95}, abs=0.03)
    assert all(found.own[str(level)] < level / 100 - 0.15 for level in LEVELS)
