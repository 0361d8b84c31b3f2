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

import numpy as np
import pandas as pd
from scipy import stats

from services.trainer import resampled
from services.trainer.resampled import Answers, Statistic
from shared.contracts.catalogue import METRICS
from shared.contracts.results import Uncertainty
from shared.contracts.states import TaskType

LEVEL = 0.95
RESAMPLES = 500
FEWEST_RESAMPLES = 100
"""Where time does not suffice for this many there is no interval: its ends would be chance."""
MOST_ROWS = 5_000
MOST_ROWS_SLOW = 1_000
"""Of metrics that take a millisecond or more a resample."""
LEAST_ROWS = 10
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
    on so few rows, or in `seconds`.
    """
    order = np.argsort(positions, kind="stable")
    deviations = _deviations(metric, validated.taken(order), seed, 0.7 * seconds)
    low, high = _interval(metric, cv_mean, deviations)
    held_low, held_high = _interval(
        metric, held_out_score, _deviations(metric, held_out, seed, 0.3 * seconds)
    )
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
    metric: str,
    cv_mean: float | None,
    held_out_score: float | None,
    validated: np.ndarray,
    held_out: np.ndarray,
    *,
    seed: int,
) -> Uncertainty | None:
    """The intervals of a score that is a mean over units, which are drawn whole: series with their steps.

    `validated`, `held_out`: (n,) each, the metric of every unit, NaN where it is undefined: such units count
    in none. None where fewer than LEAST_ROWS are left.
    """
    known = np.isfinite(validated)
    deviations = _unit_deviations(validated[known], seed)
    low, high = _interval(metric, cv_mean, deviations)
    held_low, held_high = _interval(
        metric, held_out_score, _unit_deviations(held_out[np.isfinite(held_out)], seed)
    )
    if low is None:
        return None
    return Uncertainty(
        level=LEVEL,
        rows=int(known.sum()),
        low=low,
        high=high,
        held_out_low=held_low,
        held_out_high=held_high,
        digest=_digest(np.flatnonzero(known), seed),
        deviations=[_short(value) for value in deviations.tolist()],
    )


def _unit_deviations(values: np.ndarray, seed: int) -> np.ndarray:
    if len(values) < LEAST_ROWS:
        return np.zeros(0)
    return _draw(len(values), lambda drawn: values[drawn].mean(axis=-1), RESAMPLES, seed) - values.mean()


def _deviations(metric: str, answers: Answers, seed: int, seconds: float) -> np.ndarray:
    """What each resample changes: (resamples,), empty where there are too few rows or too little time."""
    n = len(answers.truth)
    if n < LEAST_ROWS:
        return np.zeros(0)
    statistic, quick = resampled.statistic(metric, answers)
    most = MOST_ROWS if quick else MOST_ROWS_SLOW
    if n > most:
        answers = answers.taken(np.sort(np.random.default_rng(seed).choice(n, most, replace=False)))
        statistic, _ = resampled.statistic(metric, answers)
    started = time.perf_counter()
    whole = statistic(np.arange(len(answers.truth))[None, :])
    one = time.perf_counter() - started
    # where it takes next to no time, always the same resamples
    count = RESAMPLES if quick else int(min(RESAMPLES, seconds / max(one, 1e-9)))
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


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The rows of each group, by its first row."""
    codes = pd.factorize(groups, use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes))[:-1])


def _of_groups(statistic: Statistic, members: list[np.ndarray]) -> Statistic:
    sizes = np.array([len(rows) for rows in members])
    begins = np.cumsum(sizes) - sizes
    all_rows = np.concatenate(members)

    def of_group(chosen: np.ndarray) -> float:
        n = sizes[chosen]
        # thousands of small groups, which copies of rows are, are not put together one by one
        at = np.arange(n.sum()) + np.repeat(begins[chosen] - (np.cumsum(n) - n), n)
        return float(statistic(all_rows[at][None, :])[0])

    return lambda drawn: np.array([of_group(chosen) for chosen in drawn])


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


def _digest(positions: np.ndarray, seed: int) -> str:
    """Of the rows that are drawn from, and how: two models' deviations are paired where it is the same."""
    content = np.asarray(positions).astype("<i8").tobytes() + f"/{seed}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
