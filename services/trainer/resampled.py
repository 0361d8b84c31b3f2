"""Metrics of many resamples at once: the numbers that `evaluate` has of one, some hundred times faster.

A resample is drawn as positions of rows, with repetitions; (resamples, rows) in, (resamples,) out, NaN where
a resample leaves the metric undefined. A test holds each against `evaluate.score`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from scipy.stats import rankdata

from services.trainer import evaluate

MOST_CELLS = 1_000
"""Of a confusion matrix; with more classes a resample is measured by `evaluate`."""

Statistic = Callable[[np.ndarray], np.ndarray]


class Answers(Struct):
    """What a model said of some rows: `truth` and `predicted` (n,); of a classification `proba` (n, k), its
    columns in the order of `labels` (k,), sorted. `groups`: (n,), where rows of one group belong together and
    are drawn together."""

    truth: np.ndarray
    predicted: np.ndarray
    proba: np.ndarray | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def taken(self, rows: np.ndarray) -> Answers:
        proba = None if self.proba is None else self.proba[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Answers(self.truth[rows], self.predicted[rows], proba, self.labels, groups)


def statistic(metric: str, answers: Answers) -> tuple[Statistic, bool]:
    """The metric of resamples of these rows, and whether it takes next to no time."""
    if answers.labels is None:
        made = _of_numbers(metric, answers.truth, answers.predicted)
        return (made, True) if made else (_one_by_one(metric, answers), False)
    k = len(answers.labels)
    # positions of labels: scikit-learn is many times faster on whole numbers than on text
    coded = Answers(
        np.searchsorted(answers.labels, answers.truth),
        np.searchsorted(answers.labels, answers.predicted),
        answers.proba,
        np.arange(k),
    )
    if metric in _OF_CONFUSIONS and k * k <= MOST_CELLS:
        return _of_confusions(metric, coded.truth * k + coded.predicted, k), True
    if coded.proba is not None and metric in _OF_PROBABILITIES and k * k <= MOST_CELLS:
        # ranks are sorted for each resample and each class
        return _OF_PROBABILITIES[metric](coded.truth, coded.proba), metric != "roc_auc"
    return _one_by_one(metric, coded), False


def _one_by_one(metric: str, answers: Answers) -> Statistic:
    def one(rows: np.ndarray) -> float:
        drawn = answers.taken(rows)
        value = evaluate.score(metric, drawn.truth, drawn.predicted, drawn.proba, drawn.labels)
        return math.nan if value is None else value

    return lambda rows: np.array([one(row) for row in rows])


def _of_numbers(metric: str, truth: np.ndarray, predicted: np.ndarray) -> Statistic | None:
    error = truth - predicted
    size = np.abs(error)
    if metric == "mae":
        return lambda rows: size[rows].mean(axis=-1)
    if metric == "median_absolute_error":
        return lambda rows: np.median(size[rows], axis=-1)
    if metric == "max_error":
        return lambda rows: size[rows].max(axis=-1)
    if metric == "rmse":
        return lambda rows: np.sqrt(np.square(error)[rows].mean(axis=-1))
    if metric == "mape":
        with np.errstate(all="ignore"):
            share = np.where(truth == 0, np.nan, size / np.abs(truth))
        return lambda rows: share[rows].mean(axis=-1)
    if metric == "r2":
        return lambda rows: _explained(np.square(error)[rows].mean(axis=-1), truth[rows])
    if metric == "explained_variance":
        return lambda rows: _explained(error[rows].var(axis=-1), truth[rows])
    return None


def _explained(left: np.ndarray, truth: np.ndarray) -> np.ndarray:
    spread = truth.var(axis=-1)
    return 1.0 - left / np.where(spread > 0, spread, np.nan)


def _of_confusions(metric: str, cells: np.ndarray, k: int) -> Statistic:
    """`cells`: (n,), each row's place in the confusion matrix of k classes, row by row."""

    def of_resamples(rows: np.ndarray) -> np.ndarray:
        counts = np.stack([np.bincount(cells[row], minlength=k * k) for row in rows])
        with np.errstate(all="ignore"):
            return _OF_CONFUSIONS[metric](counts.reshape(-1, k, k).astype(float))

    return of_resamples


def _accuracy(matrix: np.ndarray) -> np.ndarray:
    return _right(matrix).sum(axis=1) / matrix.sum(axis=(1, 2))


def _balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    # of the classes that there are
    return np.nanmean(_right(matrix) / matrix.sum(axis=2), axis=1)


def _precision_macro(matrix: np.ndarray) -> np.ndarray:
    return _macro(matrix, _right(matrix) / matrix.sum(axis=1))


def _recall_macro(matrix: np.ndarray) -> np.ndarray:
    return _macro(matrix, _right(matrix) / matrix.sum(axis=2))


def _f1_macro(matrix: np.ndarray) -> np.ndarray:
    return _macro(matrix, _f1(matrix))


def _f1_weighted(matrix: np.ndarray) -> np.ndarray:
    return np.nansum(_f1(matrix) * matrix.sum(axis=2), axis=1) / matrix.sum(axis=(1, 2))


def _matthews(matrix: np.ndarray) -> np.ndarray:
    """Gorodkin's, of any number of classes; 0 where everything is answered alike, as scikit-learn has it."""
    n, of_truth, of_answers = matrix.sum(axis=(1, 2)), matrix.sum(axis=2), matrix.sum(axis=1)
    both = n * _right(matrix).sum(axis=1) - (of_truth * of_answers).sum(axis=1)
    answered = np.square(n) - np.square(of_answers).sum(axis=1)
    there = np.square(n) - np.square(of_truth).sum(axis=1)
    value = both / np.sqrt(answered * there)
    return np.where(there == 0, np.nan, np.where(answered == 0, 0.0, value))


def _right(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=1, axis2=2)


def _f1(matrix: np.ndarray) -> np.ndarray:
    return 2 * _right(matrix) / (matrix.sum(axis=1) + matrix.sum(axis=2))


def _macro(matrix: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
    """The mean over the classes that there are or that are answered; 0 of one where it is 0/0."""
    there = matrix.sum(axis=1) + matrix.sum(axis=2) > 0
    return np.where(there, np.nan_to_num(of_classes), 0.0).sum(axis=1) / there.sum(axis=1)


def _log_loss(truth: np.ndarray, proba: np.ndarray) -> Statistic:
    share = proba[np.arange(len(truth)), truth] / proba.sum(axis=1)
    surprise = -np.log(np.clip(share, np.finfo(proba.dtype).eps, 1.0))
    return lambda rows: surprise[rows].mean(axis=-1)


def _brier(truth: np.ndarray, proba: np.ndarray) -> Statistic:
    squared = np.square(proba - np.eye(proba.shape[1])[truth]).sum(axis=1)
    # of two classes it is the second one's alone
    squared = squared / 2 if proba.shape[1] == 2 else squared
    return lambda rows: squared[rows].mean(axis=-1)


def _roc_auc(truth: np.ndarray, proba: np.ndarray) -> Statistic:
    """By ranks: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747."""

    def one_class(rows: np.ndarray, code: int) -> np.ndarray:
        of_class = truth[rows] == code
        count = of_class.sum(axis=-1)
        ranks = (rankdata(proba[:, code][rows], axis=-1) * of_class).sum(axis=-1)
        with np.errstate(all="ignore"):
            return (ranks - count * (count + 1) / 2) / (count * (rows.shape[-1] - count))

    codes = [1] if proba.shape[1] == 2 else list(range(proba.shape[1]))
    return lambda rows: np.mean([one_class(rows, code) for code in codes], axis=0)


_OF_CONFUSIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "f1_weighted": _f1_weighted,
    "precision_macro": _precision_macro,
    "recall_macro": _recall_macro,
    "matthews_corrcoef": _matthews,
}

_OF_PROBABILITIES: dict[str, Callable[[np.ndarray, np.ndarray], Statistic]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "roc_auc": _roc_auc,
}
