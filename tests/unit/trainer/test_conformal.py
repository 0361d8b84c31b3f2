"""Conformal prediction intervals."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer import conformal
from shared.contracts.results import Intervals


def uneven(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and a truth whose errors grow with them and lean to one side, as prices' do."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(1, 10, rows)
    return predicted * rng.lognormal(0, 0.2, rows), predicted


@pytest.mark.parametrize("rows", [60, 300, 3000])
def test_intervals_cover_what_they_say(rows: int) -> None:
    covered: dict[str, list[float]] = {"80": [], "95": []}
    for seed in range(40):
        made = conformal.calibrated(*uneven(rows, seed), uneven(500, 1000 + seed))
        assert made is not None
        assert made.rows == rows
        for level, share in made.coverage.items():
            covered[level].append(share)
    # within what 40 calibrations on so few rows leave to chance
    for level, share in conformal.LEVELS.items():
        error = 3 * math.sqrt(share * (1 - share) * (1 / rows + 1 / 500) / 40)
        assert np.mean(covered[level]) == pytest.approx(share + 0.5 / rows, abs=error + 0.5 / rows)


def test_bins_make_intervals_wide_only_where_errors_are() -> None:
    made = conformal.calibrated(*uneven(3000, 0), uneven(5000, 1))
    assert made is not None
    assert len(made.edges) == conformal.MOST_BINS - 1
    widths = np.subtract(made.upper["80"], made.lower["80"])
    assert (np.diff(widths) > 0).all()
    assert widths[-1] > 3 * widths[0]
    # where the model is most sure and where it is least, they cover alike
    truth, predicted = uneven(5000, 1)
    lower, upper = conformal.bounds(made, predicted)["80"]
    inside = (lower <= truth) & (truth <= upper)
    for part in (predicted < made.edges[0], predicted >= made.edges[-1]):
        assert inside[part].mean() == pytest.approx(0.8, abs=0.06)
    # errors reach further up than down
    assert made.upper["95"][-1] > -made.lower["95"][-1]
    assert json.loads(msgspec.json.encode(made))["coverage"].keys() == {"80", "95"}


def test_a_prediction_at_an_edge_is_in_the_bin_that_begins_there() -> None:
    made = Intervals(
        rows=9, edges=[5.0], lower={"80": [-1, -2]}, upper={"80": [1, 2]}, coverage={}, mean_width={}
    )
    lower, upper = conformal.bounds(made, np.array([4.5, 5.0]))["80"]
    assert lower.tolist() == [3.5, 3.0]
    assert upper.tolist() == [5.5, 7.0]


def test_a_level_that_so_few_rows_do_not_support_is_left_out() -> None:
    held_out = uneven(20, 1)
    assert conformal.calibrated(*uneven(3, 0), held_out) is None
    assert conformal.calibrated(np.zeros(0), np.zeros(0), held_out) is None
    made = conformal.calibrated(*uneven(18, 0), held_out)
    assert made is not None
    assert list(made.lower) == list(made.coverage) == ["80"]
    made = conformal.calibrated(*uneven(19, 0), held_out)
    assert made is not None
    assert list(made.lower) == ["80", "95"]
    assert made.lower["95"][0] == -made.upper["95"][0]


def test_the_unit_of_the_target_makes_no_difference() -> None:
    truth, predicted = uneven(400, 0)
    one = conformal.calibrated(truth, predicted, uneven(100, 1))
    large = conformal.calibrated(truth * 1e12, predicted * 1e12, tuple(1e12 * v for v in uneven(100, 1)))
    assert one is not None
    assert large is not None
    assert large.lower["80"] == pytest.approx([1e12 * bound for bound in one.lower["80"]])
    assert large.coverage == one.coverage


def test_a_prediction_is_within_its_own_interval() -> None:
    predicted = np.linspace(0, 1, 300)
    too_high = conformal.calibrated(predicted - 5, predicted, (predicted - 5, predicted))
    assert too_high is not None
    assert too_high.upper["80"] == [0.0]
    assert too_high.coverage["80"] == 1.0


def test_predictions_that_are_all_equal_are_one_bin() -> None:
    truth = np.random.default_rng(0).normal(size=2000)
    made = conformal.calibrated(truth, np.zeros(2000), (truth, np.zeros(2000)))
    assert made is not None
    assert made.edges == []
    assert made.coverage["80"] == pytest.approx(0.8, abs=0.002)


def test_without_held_out_rows_nothing_is_measured() -> None:
    made = conformal.calibrated(*uneven(100, 0), (np.array([math.nan]), np.array([1.0])))
    assert made is not None
    assert made.coverage == made.mean_width == {}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=60))
def test_any_numbers(pairs: list[tuple[float, float]]) -> None:
    truth, predicted = (
        np.array(side, dtype=float) for side in (zip(*pairs, strict=True) if pairs else ((), ()))
    )
    made = conformal.calibrated(truth, predicted, (truth, predicted))
    if made is not None:
        json.dumps(msgspec.to_builtins(made), allow_nan=False)
        for level in made.lower:
            assert all(np.less_equal(made.lower[level], made.upper[level]))
            assert 0 <= made.coverage[level] <= 1
