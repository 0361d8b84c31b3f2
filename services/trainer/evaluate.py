"""Metrics of predictions, all in their natural sign; one that is undefined on the rows is None.

Formulas are scikit-learn's (https://scikit-learn.org/stable/modules/model_evaluation.html).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from sklearn import metrics as skm

from shared.contracts.catalogue import METRICS
from shared.contracts.states import TaskType

NEEDS_PROBABILITIES = frozenset({"roc_auc", "average_precision", "log_loss", "brier"})


def classification(
    y_true: np.ndarray, y_pred: np.ndarray, proba: np.ndarray | None, labels: np.ndarray
) -> dict[str, float | None]:
    """Every classification metric.

    `y_true`, `y_pred`: (n,); `proba`: (n, k), its columns in the order of `labels` (k,), sorted.
    """
    names = METRICS[TaskType.CLASSIFICATION]
    return {name: score(name, y_true, y_pred, proba, labels) for name in names}


def regression(y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float | None]:
    """Every regression metric of (n,) numbers, in the target's unit where it has one."""
    return {name: score(name, y_true, y_pred) for name in METRICS[TaskType.REGRESSION]}


def score(
    metric: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    proba: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> float | None:
    """One metric in its natural sign, None where these rows leave it undefined.

    `labels` and, for the metrics in NEEDS_PROBABILITIES, `proba` are needed for a classification.
    Raises KeyError for a metric that is not known.
    """
    if labels is None:
        measure: Callable[..., float] = _OF_NUMBERS[metric]
        given: tuple[np.ndarray | None, ...] = (y_true, y_pred)
    else:
        measure = _OF_CLASSES[metric]
        given = (y_true, y_pred, proba, labels)
        if metric in NEEDS_PROBABILITIES and proba is None:
            return None
    if len(y_true) == 0:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(measure(*given))
    except ValueError:
        # scikit-learn's answer to predictions that are not finite or classes that are not there
        return None
    return value if math.isfinite(value) else None


def aligned(proba: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities (n, len(classes)) as (n, len(labels)): a class never fitted has probability 0."""
    if len(classes) == len(labels) and (classes == labels).all():
        return proba
    wide = np.zeros((len(proba), len(labels)))
    wide[:, np.searchsorted(labels, classes)] = proba
    return wide


Measure = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float]


def _all_present(y_true: np.ndarray, labels: np.ndarray) -> bool:
    return len(np.unique(y_true)) == len(labels) >= 2


def _roc_auc(y_true: np.ndarray, _: np.ndarray, proba: np.ndarray, labels: np.ndarray) -> float:
    if not _all_present(y_true, labels):
        return math.nan
    if len(labels) == 2:
        return skm.roc_auc_score(y_true == labels[1], proba[:, 1])
    one_hot = y_true[:, None] == labels[None, :]
    return skm.roc_auc_score(one_hot, proba, average="macro")


def _average_precision(y_true: np.ndarray, _: np.ndarray, proba: np.ndarray, labels: np.ndarray) -> float:
    if not _all_present(y_true, labels):
        return math.nan
    if len(labels) == 2:
        return skm.average_precision_score(y_true == labels[1], proba[:, 1])
    return skm.average_precision_score(y_true[:, None] == labels[None, :], proba, average="macro")


def _matthews(y_true: np.ndarray, y_pred: np.ndarray, *_: np.ndarray) -> float:
    # scikit-learn answers 0 where the coefficient is 0/0
    if len(np.unique(y_true)) < 2:
        return math.nan
    return skm.matthews_corrcoef(y_true, y_pred)


def _mape(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    # scikit-learn divides by its epsilon where the truth is 0 and answers some 1e15
    if (y_true == 0).any():
        return math.nan
    return skm.mean_absolute_percentage_error(y_true, y_pred)


def _r2(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return skm.r2_score(y_true, y_pred, force_finite=False)


def _explained_variance(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    if len(y_true) < 2:
        return math.nan
    return skm.explained_variance_score(y_true, y_pred, force_finite=False)


_OF_CLASSES: dict[str, Measure] = {
    "accuracy": lambda t, p, q, k: skm.accuracy_score(t, p),
    "balanced_accuracy": lambda t, p, q, k: skm.balanced_accuracy_score(t, p),
    "f1_macro": lambda t, p, q, k: skm.f1_score(t, p, average="macro", zero_division=0),
    "f1_weighted": lambda t, p, q, k: skm.f1_score(t, p, average="weighted", zero_division=0),
    "precision_macro": lambda t, p, q, k: skm.precision_score(t, p, average="macro", zero_division=0),
    "recall_macro": lambda t, p, q, k: skm.recall_score(t, p, average="macro", zero_division=0),
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": lambda t, p, q, k: skm.log_loss(t, q, labels=k),
    "matthews_corrcoef": _matthews,
    "brier": lambda t, p, q, k: skm.brier_score_loss(t, q, labels=k),
}

_OF_NUMBERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "r2": _r2,
    "rmse": skm.root_mean_squared_error,
    "mae": skm.mean_absolute_error,
    "mape": _mape,
    "median_absolute_error": skm.median_absolute_error,
    "max_error": skm.max_error,
    "explained_variance": _explained_variance,
}
