"""From which probability on the second of two classes is answered, where the metric depends on it."""

from __future__ import annotations

import numpy as np

from services.trainer import evaluate

TUNED = frozenset({"f1_macro", "f1_weighted", "balanced_accuracy", "recall_macro", "matthews_corrcoef"})
"""Metrics of answers for which a half is the wrong threshold as soon as the classes are uneven. Not accuracy,
which a half is right for, nor precision, which the most extreme threshold would win."""

TRIED = 100
"""Thresholds compared: beyond it they differ by single rows."""


def tuned(metric: str, labels: np.ndarray | None) -> bool:
    """Whether a threshold is to be looked for: two classes, and a metric that asks for it."""
    return labels is not None and len(labels) == 2 and metric in TUNED


def best(metric: str, truth: np.ndarray, second: np.ndarray, labels: np.ndarray) -> float:
    """The threshold that the metric likes best on these rows.

    `truth`: (n,) labels; `second`: (n,) probabilities of `labels[1]`, of rows that the model had not seen.
    Of a run of thresholds that score within a hundredth of the spread of all the middle one, not the
    luckiest one. A half where nothing is better.
    """
    tried = _thresholds(second)
    scores = np.array([at(metric, truth, second, labels, threshold) for threshold in tried])
    usual = at(metric, truth, second, labels, 0.5)
    if not np.isfinite(scores).any() or np.nanmax(scores) <= usual:
        return 0.5
    near = scores >= np.nanmax(scores) - 0.01 * (np.nanmax(scores) - np.nanmin(scores))
    top = int(np.nanargmax(scores))
    first = last = top
    while first > 0 and near[first - 1]:
        first -= 1
    while last + 1 < len(near) and near[last + 1]:
        last += 1
    return float(tried[(first + last) // 2])


def crossed(
    metric: str, truth: np.ndarray, second: np.ndarray, fold: np.ndarray, labels: np.ndarray
) -> list[float]:
    """For each fold, ascending, the threshold that the rows of all others ask for."""
    return [best(metric, truth[fold != number], second[fold != number], labels) for number in np.unique(fold)]


def at(metric: str, truth: np.ndarray, second: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """The metric where `labels[1]` is answered from `threshold` on; NaN where it is undefined."""
    predicted = labels[(second >= threshold).astype(int)]
    value = evaluate.score(metric, truth, predicted, None, labels)
    return np.nan if value is None else value


def _thresholds(second: np.ndarray) -> np.ndarray:
    """Between neighbouring probabilities, evenly over the rows and over the rarer end alike."""
    known = np.unique(second)
    if len(known) < 2:
        return np.array([0.5])
    middles = (known[1:] + known[:-1]) / 2
    if len(middles) <= TRIED:
        return middles
    by_rows = np.quantile(second, np.linspace(0, 1, TRIED // 2 + 2)[1:-1])
    from_top = np.sort(second)[::-1][np.unique(np.geomspace(1, len(second) - 1, TRIED // 2).astype(int))]
    return np.unique(np.concatenate([by_rows, from_top]))
