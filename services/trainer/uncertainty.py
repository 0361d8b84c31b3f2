"""How sure a score is: a bootstrap over the rows that it was measured on.

Rows are drawn with replacement and the metric is measured anew (Efron 1979; scipy.stats.bootstrap). Two
intervals come of it, both percentiles: one around `cv_mean`, from the out-of-fold predictions, and one
around the held-out metric. What the resamples of the validated rows change is kept, because the same seed
draws the same rows for every model of a run: the difference of two models is then a paired bootstrap that
needs nobody's predictions (`shared.leaderboard.marked`).

From a long table some thousand rows are drawn, and what their resamples change is scaled by the root of
their share: Politis, Romano and Wolf 1999, "Subsampling", section 2. This is the spread that comes of the
rows alone; that of fitting again, on other rows or with another seed, is not in it.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from msgspec import Struct
from scipy import stats

from services.trainer import evaluate
from shared.contracts import METRICS, TaskType, Uncertainty

LEVEL = 0.95
RESAMPLES = 500
FEWEST_RESAMPLES = 100
"""Where time does not suffice for this many there is no interval: its ends would be chance."""
MOST_ROWS = 5_000
MOST_ROWS_ONE_BY_ONE = 1_000
"""Of metrics that are measured anew for each resample, which takes milliseconds."""
LEAST_ROWS = 10
AT_ONCE = frozenset({"accuracy", "log_loss", "mae", "rmse", "r2"})
"""Metrics of means over rows: those of all resamples are a few operations on arrays."""
MOST_UNDEFINED = 0.1
"""Share of resamples that may leave a metric undefined (a class that none of the rows has)."""
BATCH = 50
"""Resamples that are in memory at once."""

_RANGES = {
    "r2": (-math.inf, 1.0),
    "explained_variance": (-math.inf, 1.0),
    "matthews_corrcoef": (-1.0, 1.0),
    "brier": (0.0, 2.0),
    "log_loss": (0.0, math.inf),
    "smape": (0.0, 200.0),
}

Statistic = Callable[[np.ndarray], np.ndarray]
"""Positions of drawn rows, (resamples, rows) → the metric of each resample, NaN where undefined."""


class Answers(Struct):
    """What a model said of some rows: `truth` and `predicted` (n,); of a classification `proba` (n, k), its
    columns in the order of `labels` (k,), sorted. `groups`: (n,), where rows of one group belong together and
    are drawn together."""

    truth: np.ndarray
    predicted: np.ndarray
    proba: np.ndarray | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None


def measured(
    metric: str,
    cv_mean: float | None,
    held_out_score: float | None,
    validated: Answers,
    positions: np.ndarray,
    held_out: Answers,
    *,
    seed: int,
    seconds: float,
) -> Uncertainty | None:
    """The intervals of `metric` around `cv_mean` and `held_out_score`, in its natural sign.

    `positions`: (n,), which rows of the table `validated` tells of. None where neither interval is defined
    on so few rows, or in `seconds` of which each takes half at the most.
    """
    order = np.argsort(positions, kind="stable")
    deviations = _deviations(metric, _taken(validated, order), seed, seconds / 2)
    low, high = _interval(metric, cv_mean, deviations)
    held_low, held_high = _interval(metric, held_out_score, _deviations(metric, held_out, seed, seconds / 2))
    if low is None and held_low is None:
        return None
    kept = [] if low is None else [_short(value) for value in deviations.tolist()]
    return Uncertainty(
        level=LEVEL,
        rows=len(positions),
        low=low,
        high=high,
        held_out_low=held_low,
        held_out_high=held_high,
        digest=_digest(positions[order], seed),
        deviations=kept,
    )


def of_units(
    metric: str, cv_mean: float | None, values: np.ndarray, positions: np.ndarray, *, seed: int
) -> Uncertainty | None:
    """The interval of a mean over units that are drawn whole, such as a series in a backtest.

    `values`: (n,), the metric of each unit; `positions`: (n,), which unit it is. Those that are undefined
    count in none.
    """
    order = np.argsort(positions, kind="stable")
    values, positions = np.asarray(values, dtype=float)[order], np.asarray(positions)[order]
    known = np.isfinite(values)
    values, positions = values[known], positions[known]
    if len(values) < LEAST_ROWS:
        return None
    drawn = _draw(len(values), lambda rows: values[rows].mean(axis=-1), RESAMPLES, seed)
    low, high = _interval(metric, cv_mean, drawn - values.mean())
    if low is None:
        return None
    return Uncertainty(
        level=LEVEL,
        rows=len(values),
        low=low,
        high=high,
        held_out_low=None,
        held_out_high=None,
        digest=_digest(positions, seed),
        deviations=[_short(value) for value in (drawn - values.mean()).tolist()],
    )


def _deviations(metric: str, answers: Answers, seed: int, seconds: float) -> np.ndarray:
    """What each resample changes: (resamples,), empty where there are too few rows or too little time."""
    n = len(answers.truth)
    if n < LEAST_ROWS:
        return np.zeros(0)
    most = MOST_ROWS if metric in AT_ONCE else MOST_ROWS_ONE_BY_ONE
    if n > most:
        answers = _taken(answers, np.sort(np.random.default_rng(seed).choice(n, most, replace=False)))
    statistic = _statistic(metric, answers)
    started = time.perf_counter()
    whole = statistic(np.arange(len(answers.truth))[None, :])
    one = time.perf_counter() - started
    count = int(min(RESAMPLES, seconds / max(one, 1e-9)))
    if not np.isfinite(whole[0]) or count < FEWEST_RESAMPLES:
        return np.zeros(0)
    if answers.groups is None:
        drawn = _draw(len(answers.truth), statistic, count, seed)
    else:
        members = _members(answers.groups)
        if len(members) < LEAST_ROWS:
            return np.zeros(0)
        drawn = _draw(len(members), _of_groups(statistic, members), count, seed)
    return (drawn - whole[0]) * math.sqrt(len(answers.truth) / n)


def _draw(rows: int, statistic: Statistic, count: int, seed: int) -> np.ndarray:
    """(count,). The first resamples are the same however many there are."""
    with warnings.catch_warnings():
        # resamples that leave the metric undefined are counted in `_interval`
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (np.arange(rows),),
            lambda drawn, axis: statistic(np.atleast_2d(drawn)).reshape(drawn.shape[:-1]),
            n_resamples=count,
            batch=BATCH,
            vectorized=True,
            axis=-1,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return np.asarray(found.bootstrap_distribution, dtype=float)


def _statistic(metric: str, answers: Answers) -> Statistic:
    """The metric of resamples: at once where it is a mean over rows, else as `evaluate` has it."""
    truth, predicted, proba = answers.truth, answers.predicted, answers.proba
    if answers.labels is None:
        error = truth - predicted
        if metric == "mae":
            return lambda rows: np.abs(error)[rows].mean(axis=-1)
        if metric == "rmse":
            return lambda rows: np.sqrt(np.square(error)[rows].mean(axis=-1))
        if metric == "r2":
            return lambda rows: _r2(np.square(error)[rows], truth[rows])
        return _one_by_one(metric, truth, predicted, None, None)

    # positions of labels: scikit-learn is many times faster on whole numbers than on text
    labels = np.arange(len(answers.labels))
    truth, predicted = (np.searchsorted(answers.labels, part) for part in (truth, predicted))
    if metric == "accuracy":
        right = (truth == predicted).astype(float)
        return lambda rows: right[rows].mean(axis=-1)
    if metric == "log_loss" and proba is not None:
        share = proba[np.arange(len(truth)), truth] / proba.sum(axis=1)
        surprise = -np.log(np.clip(share, np.finfo(proba.dtype).eps, 1.0))
        return lambda rows: surprise[rows].mean(axis=-1)
    return _one_by_one(metric, truth, predicted, proba, labels)


def _one_by_one(
    metric: str, truth: np.ndarray, predicted: np.ndarray, proba: np.ndarray | None, labels: np.ndarray | None
) -> Statistic:
    def one(rows: np.ndarray) -> float:
        value = evaluate.score(
            metric, truth[rows], predicted[rows], None if proba is None else proba[rows], labels
        )
        return math.nan if value is None else value

    return lambda rows: np.array([one(row) for row in rows])


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The rows of each group, by its first row."""
    codes = pd.factorize(groups, use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes))[:-1])


def _of_groups(statistic: Statistic, members: list[np.ndarray]) -> Statistic:
    def of_groups(drawn: np.ndarray) -> np.ndarray:
        rows = (np.concatenate([members[group] for group in chosen]) for chosen in drawn)
        return np.array([statistic(row[None, :])[0] for row in rows])

    return of_groups


def _r2(squared_error: np.ndarray, truth: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return 1.0 - squared_error.mean(axis=-1) / truth.var(axis=-1)


def _interval(metric: str, score: float | None, deviations: np.ndarray) -> tuple[float | None, float | None]:
    known = deviations[np.isfinite(deviations)]
    if score is None or not len(known) or len(known) < (1 - MOST_UNDEFINED) * len(deviations):
        return None, None
    sides = score + np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.clip(sides, *_range(metric)).tolist()
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def _range(metric: str) -> tuple[float, float]:
    if metric in _RANGES:
        return _RANGES[metric]
    share = metric in METRICS[TaskType.CLASSIFICATION]
    return (0.0, 1.0 if share else math.inf)


def _taken(answers: Answers, rows: np.ndarray) -> Answers:
    proba = None if answers.proba is None else answers.proba[rows]
    groups = None if answers.groups is None else answers.groups[rows]
    return Answers(answers.truth[rows], answers.predicted[rows], proba, answers.labels, groups)


def _digest(positions: np.ndarray, seed: int) -> str:
    """Of the rows that are drawn from, and how: two models' deviations are paired where it is the same."""
    content = np.asarray(positions).astype("<i8").tobytes() + f"/{seed}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
