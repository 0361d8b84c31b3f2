"""What is learnt from the predictions of other models: how to weigh them, and how far that is an improvement.

Nothing here sees a table, a pickle or the held-out rows. `answers` are the out-of-fold predictions of the
members: (m, n, k), probabilities in the order of the labels, or one column of numbers.

A weighted average is found by greedy selection with replacement (Caruana, Niculescu-Mizil, Crew and Ksikes
2004, "Ensemble selection from libraries of models"): the model that helps the average most is added, again
and again, and how often one was taken is its weight. A stack is a small regularised model of the members'
predictions (Wolpert 1992; for numbers, with weights that are not negative: Breiman 1996).
Both overfit the more rows they choose by too few of, so the steps are few, and the score that is told of them
is not that of the rows they were learnt from alone, but also cross-fitted: each fold's rows answered by what
was learnt on the other folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from msgspec import Struct
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from services.trainer import evaluate, threshold
from shared.contracts.catalogue import ENSEMBLES

AVERAGE, STACK = ENSEMBLES
"""The slugs of what can be learnt here."""

MOST_MEMBERS = 6
"""A download holds each of them, and a prediction asks each of them; more hardly ever helped."""

STEPS = 15
"""Of the greedy selection: beyond it weights follow the noise of the rows they are chosen by."""

LEARN_ROWS = 10_000
LEARN_ROWS_DEAR = 2_000
"""Rows that weights are learnt from at most; the second where scikit-learn's metric is asked each time."""

CROSS_FITTED = 5
"""Parts that rows of a single fold are taken apart into."""

STACK_C = 0.1
STACK_ALPHA = 1e-3
"""How strongly the model over the members is held back (of numbers in shares of their variance)."""

SUREST = 1e-3
"""Nearer to 0 or 1 a member's probability tells its stack nothing more: a few sure errors would decide it."""

_LOG_LOSS = frozenset({"log_loss", "brier", "roc_auc", "average_precision"})
"""Metrics of probabilities: what pays by one of them pays by the log loss, which changes with every row."""
_ABSOLUTE = frozenset({"mae", "mape", "median_absolute_error"})

Loss = Callable[[np.ndarray], tuple[float, ...]]
"""An average's predictions (n, k) → what is to be small, first things first."""


class Judge(Struct):
    """What answers are judged by. `y`: (n,) labels or numbers; `labels`: (k,) sorted, None for numbers."""

    metric: str
    labels: np.ndarray | None
    y: np.ndarray

    def of(self, rows: np.ndarray) -> Judge:
        return Judge(self.metric, self.labels, self.y[rows])

    def score(self, answers: np.ndarray, cut: float | None = None) -> float | None:
        """The metric in its natural sign; `cut`: from which probability on the second label is answered."""
        proba = None if self.labels is None else answers
        return evaluate.score(self.metric, self.y, self.said(answers, cut), proba, self.labels)

    def said(self, answers: np.ndarray, cut: float | None = None) -> np.ndarray:
        """The labels or numbers (n,) that such answers (n, k) come to."""
        if self.labels is None:
            return answers[:, 0]
        if cut is not None:
            return self.labels[(answers[:, 1] >= cut).astype(int)]
        return self.labels[answers.argmax(axis=1)]


class Learnt(Struct):
    """`weights`: (m,), of a stack only which members it has (1 or 0); `meta`: a stack's own model, fitted;
    `cut`: from which probability on the second of two labels is answered, None for the likeliest."""

    weights: np.ndarray
    meta: Pipeline | Ridge | None = None
    cut: float | None = None

    def answers(self, answers: np.ndarray) -> np.ndarray:
        """(m, n, k) → (n, k)."""
        if self.meta is None:
            return np.tensordot(self.weights, answers, 1)
        features = _stacked(answers[self.weights > 0])
        if answers.shape[2] == 1:
            return self.meta.predict(features)[:, None]
        told = np.zeros(answers.shape[1:])
        told[:, self.meta.classes_] = self.meta.predict_proba(features)
        return told


class CrossFitted(Struct):
    """`answers`: (n, k), each row by what was learnt without its fold; `said`: (n,); `scores`: one a fold."""

    answers: np.ndarray
    said: np.ndarray
    scores: list[float]


def learn(slug: str, judge: Judge, answers: np.ndarray, seed: int, until: float) -> Learnt:
    """`select`, then `settle`."""
    return settle(slug, judge, answers, select(slug, judge, answers, seed, until), seed)


def select(slug: str, judge: Judge, answers: np.ndarray, seed: int, until: float) -> np.ndarray:
    """Weights (m,) that sum to 1, at most MOST_MEMBERS of them above 0; a stack's members are those that an
    average by log loss or squared error has. `until`: of `time.monotonic`, when the best so far is taken."""
    rows = _some_rows(slug, judge, seed)
    sampled = judge.of(rows)
    loss = _proper_loss(sampled) if slug == STACK else _loss(sampled)
    return _greedy(answers[:, rows], loss, until)


def settle(slug: str, judge: Judge, answers: np.ndarray, weights: np.ndarray, seed: int) -> Learnt:
    """All else that is learnt once the members are known: a stack's own model, and the threshold."""
    found = Learnt(weights)
    if slug == STACK:
        rows = _some_rows(slug, judge, seed)
        found = Learnt((weights > 0).astype(float), _meta(judge.of(rows), answers[weights > 0][:, rows]))
    if judge.labels is not None and threshold.tuned(judge.metric, judge.labels):
        cut = threshold.best(judge.metric, judge.y, found.answers(answers)[:, 1], judge.labels)
        found.cut = None if cut == 0.5 else cut
    return found


def cross_fitted(
    slug: str, judge: Judge, answers: np.ndarray, fold: np.ndarray, seed: int, until: float
) -> CrossFitted:
    """How well what is learnt from other folds does on each; rows of a single fold are taken apart at random,
    and scored together as the members' were. `fold`: (n,)."""
    parts = fold
    if len(np.unique(fold)) < 2:
        parts = np.random.default_rng(seed).permutation(len(fold)) % CROSS_FITTED
    told, said = np.empty(answers.shape[1:]), np.empty(len(fold), dtype=judge.y.dtype)
    numbers = np.unique(parts)
    for done, number in enumerate(numbers):
        others, own = np.flatnonzero(parts != number), np.flatnonzero(parts == number)
        now = time.monotonic()
        share = now + max(until - now, 0.0) / (len(numbers) - done)
        found = learn(slug, judge.of(others), answers[:, others], seed, share)
        told[own] = found.answers(answers[:, own])
        said[own] = judge.said(told[own], found.cut)
    return CrossFitted(told, said, _by_fold(judge, fold, told, said))


def fair(
    judge: Judge, answers: np.ndarray, fold: np.ndarray, learnt: Learnt, crossed: CrossFitted
) -> list[float]:
    """One score a fold, half way between two that miss the truth in opposite directions.

    Cross-fitted, what is learnt from four fifths of the rows answers for what is learnt from all of them:
    too low. On the rows that it was learnt from, it is flattered: too high. Of both Efron 1983, "Estimating
    the error rate of a prediction rule" (where the weight is 0.632); decision 0013 has the figures.
    """
    told = learnt.answers(answers)
    apparent = _by_fold(judge, fold, told, judge.said(told, learnt.cut))
    return [(low + high) / 2 for low, high in zip(crossed.scores, apparent, strict=True)]


def _by_fold(judge: Judge, fold: np.ndarray, told: np.ndarray, said: np.ndarray) -> list[float]:
    """Of each fold whose rows leave the metric defined. `told`: (n, k), `said`: (n,)."""
    scores = []
    for number in np.unique(fold):
        own = np.flatnonzero(fold == number)
        proba = None if judge.labels is None else told[own]
        value = evaluate.score(judge.metric, judge.y[own], said[own], proba, judge.labels)
        if value is not None:
            scores.append(value)
    return scores


def _greedy(answers: np.ndarray, loss: Loss, until: float) -> np.ndarray:
    """Shares of the members in the best average on the way, the one with the fewest steps among equals."""
    counts = np.zeros(len(answers), dtype=int)
    total = np.zeros(answers.shape[1:])
    best: tuple[tuple[float, ...], np.ndarray] | None = None
    for step in range(1, STEPS + 1):
        if best is not None and time.monotonic() > until:
            break
        taken = np.flatnonzero(counts)
        open_to = range(len(answers)) if len(taken) < MOST_MEMBERS else taken

        # among equals one that is in already: it makes nothing larger
        after = [(*loss((total + answers[i]) / step), bool(counts[i] == 0), i) for i in open_to]
        chosen = int(min(after)[-1])
        counts[chosen] += 1
        total += answers[chosen]
        found = loss(total / step)
        if best is None or found < best[0]:
            best = found, counts.copy()
    assert best is not None
    return best[1] / best[1].sum()


def _loss(judge: Judge) -> Loss:
    """What a greedy selection for this metric makes small."""
    proper = _proper_loss(judge)
    if judge.labels is None or judge.metric in _LOG_LOSS or threshold.tuned(judge.metric, judge.labels):
        return proper  # a threshold that is looked for afterwards is no part of the average
    if judge.metric == "accuracy":
        codes = np.searchsorted(judge.labels, judge.y)
        return lambda answers: (float((answers.argmax(axis=1) != codes).mean()), *proper(answers))
    # every other metric of labels is one of those that are large where they are good
    return lambda answers: (-(judge.score(answers) or 0.0), *proper(answers))


def _proper_loss(judge: Judge) -> Loss:
    """Log loss of probabilities, squared (or, for metrics of it, absolute) error of numbers."""
    if judge.labels is None:
        if judge.metric in _ABSOLUTE:
            return lambda answers: (float(np.abs(answers[:, 0] - judge.y).mean()),)
        return lambda answers: (float(np.square(answers[:, 0] - judge.y).mean()),)
    codes, each = np.searchsorted(judge.labels, judge.y), np.arange(len(judge.y))
    return lambda answers: (float(-np.log(np.clip(answers[each, codes], 1e-15, None)).mean()),)


def _some_rows(slug: str, judge: Judge, seed: int) -> np.ndarray:
    """Ascending positions of the rows to learn from: all of them where they are few."""
    cheap = slug == STACK or judge.labels is None or judge.metric in {"accuracy", *_LOG_LOSS}
    most = LEARN_ROWS if cheap or threshold.tuned(judge.metric, judge.labels) else LEARN_ROWS_DEAR
    rows = np.arange(len(judge.y))
    if len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    if judge.labels is not None:  # every class that there is
        first = np.unique(judge.y[shuffled], return_index=True)[1]
        shuffled = np.concatenate([shuffled[first], np.delete(shuffled, first)])
    return np.sort(shuffled[:most])


def _stacked(answers: np.ndarray) -> np.ndarray:
    """(m, n, k) → the columns that scikit-learn's stack makes of them: of two classes the second alone."""
    if answers.shape[2] == 2:
        answers = answers[:, :, 1:]
    return np.concatenate(list(answers), axis=1)


def _meta(judge: Judge, answers: np.ndarray) -> Pipeline | Ridge:
    """The model over the members, of public functions only, because it goes into the pickle."""
    features = _stacked(answers)
    if judge.labels is None:
        spread = float(np.var(judge.y)) or 1.0
        return Ridge(alpha=STACK_ALPHA * len(judge.y) * spread, positive=True).fit(features, judge.y)
    clip = FunctionTransformer(np.clip, kw_args={"a_min": SUREST, "a_max": 1 - SUREST})
    scale = FunctionTransformer(logit if len(judge.labels) == 2 else np.log)
    model = LogisticRegression(C=STACK_C, max_iter=300)
    # the classes' numbers: what scikit-learn's own stack hands to its last model
    codes = np.searchsorted(judge.labels, judge.y)
    return Pipeline([("clip", clip), ("scale", scale), ("model", model)]).fit(features, codes)
