"""Prediction intervals of a regression, calibrated on residuals of rows that no fit had seen.

The residuals are those of the folds: each row's prediction comes from a model that was fitted without it,
and the interval of a new prediction is what covers the wanted share of them. This is the cross-validation
method of Barber, Candès, Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+"
(https://doi.org/10.1214/20-AOS1965, section 1.1), whose quantiles are MAPIE's. Where there are rows
enough, they are taken apart by the size of the prediction and each bin is calibrated by itself, so that an
interval is narrow where the model is sure: Boström and Johansson 2020, "Mondrian conformal regressors"
(https://proceedings.mlr.press/v128/bostrom20a.html).
"""

from __future__ import annotations

import numpy as np
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.metrics.regression import regression_coverage_score, regression_mean_width_score
from mapie.regression import SplitConformalRegressor
from sklearn.base import BaseEstimator, RegressorMixin

from shared.contracts.results import Intervals

LEVELS = {"80": 0.80, "95": 0.95}

ROWS_A_BIN = 200
"""A bin of fewer rows has too few of them beyond the 95 % bounds to tell where these are."""
MOST_BINS = 5

SIGNED_FROM_ROWS = 100
"""With fewer rows in a bin an interval reaches equally far up and down: half as many quantiles to find."""


def calibrated(
    truth: np.ndarray, predicted: np.ndarray, held_out: tuple[np.ndarray, np.ndarray]
) -> Intervals | None:
    """Intervals that cover `truth` around the out-of-fold `predicted`, (n,) each.

    `held_out`: truth and predictions (m,) of rows that were in no fold; coverage and width are measured on
    them. A level that the rows do not support is left out, and None is answered where that is each.
    """
    truth, predicted = _finite(truth, predicted)
    if not len(truth):
        return None
    edges = _edges(predicted)
    bins = np.searchsorted(edges, predicted, side="right")
    found = [_bounds((truth - predicted)[bins == i]) for i in range(len(edges) + 1)]
    levels = [level for level in LEVELS if all(level in bounds for bounds in found)]
    if not levels:
        return None
    made = Intervals(
        rows=len(truth),
        edges=edges.tolist(),
        lower={level: [bounds[level][0] for bounds in found] for level in levels},
        upper={level: [bounds[level][1] for bounds in found] for level in levels},
        coverage={},
        mean_width={},
    )
    truth, predicted = _finite(*held_out)
    if len(truth):
        for level, sides in bounds(made, predicted).items():
            both = np.stack(sides, axis=1)[:, :, None]
            made.coverage[level] = float(regression_coverage_score(truth, both)[0])
            made.mean_width[level] = float(regression_mean_width_score(both)[0])
    return made


def bounds(intervals: Intervals, predicted: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Level → the lower and upper bound of each of `predicted` (n,), in the target's unit."""
    bins = np.searchsorted(np.array(intervals.edges), predicted, side="right")
    return {
        level: (
            predicted + np.array(intervals.lower[level])[bins],
            predicted + np.array(intervals.upper[level])[bins],
        )
        for level in intervals.lower
    }


class _Given(RegressorMixin, BaseEstimator):
    """Answers its only column, which is what was predicted already: for MAPIE, a model that is fitted."""

    n_features_in_ = 1

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Given:
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0]


def _bounds(residuals: np.ndarray) -> dict[str, tuple[float, float]]:
    """Level → what is to be added to a prediction of this bin, without the levels it has no rows for.

    MAPIE is given residuals around 0: around large predictions it takes their rounding for an error.
    """
    signed = len(residuals) >= SIGNED_FROM_ROWS
    found = {}
    for level, share in LEVELS.items():
        # n rows tell of n + 1 places that the next one can take
        if (len(residuals) + 1) * (1 - share) < 1 - 1e-9:
            continue
        conformal = SplitConformalRegressor(
            _Given(), confidence_level=share, conformity_score=AbsoluteConformityScore(sym=not signed)
        ).conformalize(np.zeros((len(residuals), 1)), residuals)
        _, interval = conformal.predict_interval(np.zeros((1, 1)), allow_infinite_bounds=True)
        if np.isfinite(interval).all():
            # a model that is always too high somewhere would be outside its own interval
            found[level] = (min(float(interval[0, 0, 0]), 0.0), max(float(interval[0, 1, 0]), 0.0))
    return found


def _edges(predicted: np.ndarray) -> np.ndarray:
    """Between the bins: as many of about ROWS_A_BIN rows each as the predictions can be told apart into."""
    for count in range(min(MOST_BINS, len(predicted) // ROWS_A_BIN), 1, -1):
        edges = np.unique(np.quantile(predicted, np.arange(1, count) / count))
        sizes = np.bincount(np.searchsorted(edges, predicted, side="right"), minlength=len(edges) + 1)
        if sizes.min() >= ROWS_A_BIN // 2:
            return edges
    return np.zeros(0)


def _finite(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    ok = np.isfinite(truth) & np.isfinite(predicted)
    # beyond it a difference is no number any more
    ok &= (np.abs(truth) < 1e300) & (np.abs(predicted) < 1e300)
    return truth[ok], predicted[ok]
