"""The two steps of an ensemble: what it is to be made of, and the model made of that.

The first sees the members' predictions, the target and nothing else. The second opens the pickles of those
that were chosen. No model is fitted in either: the ensemble's held-out scores are those of what its members
said of the held-out rows when they had not seen them, whatever rows they were fitted on since.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
from msgspec import Struct
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_limits

from services.trainer import ensemble, evaluate, explain, loading, plots, predictions
from services.trainer.ensemble import STACK, Judge, Learnt
from services.trainer.ensemble_model import assembled
from services.trainer.explained import HeldOut, drawn_of, how_sure
from services.trainer.fit import COMPRESSION
from services.trainer.outcome import MODEL_FILE, Choice, FitOutcome, Importance, Member, Progress
from services.trainer.table_rows import Rows, read
from shared.contracts.catalogue import METRICS
from shared.contracts.results import PlotData
from shared.contracts.training import Plan

LEAST_IN_COMMON = 0.5
"""Of the best member's validated rows, what a member has to have been validated on to be one."""

TIMED_ROWS = 500
"""Held-out rows that the finished ensemble predicts to see how long it takes."""
TIMED_S = 0.5
"""It predicts more of them, as its members did, where that takes no longer."""

SHARE_OF_TIME = 0.4
"""Of the time given, what learning may take: at its end there is always an answer, if a rougher one."""


class Panel(Struct):
    """Predictions side by side. `members`: best first; `train`: (n,) positions of the rows that each of them
    was validated on; `oof`: (m, n, k); `fold`: (n,); `test`: (m, held-out rows, k)."""

    members: list[Member]
    train: np.ndarray
    oof: np.ndarray
    fold: np.ndarray
    test: np.ndarray


def choose(
    table_path: Path,
    plan: Plan,
    model_name: str,
    members: Sequence[Member],
    seconds: float,
    progress: Progress,
) -> Choice:
    """Which of `members` an ensemble is made of. Their predictions are read, not their pickles."""
    progress(0.1, "Weighing the models")
    rows, _ = read(table_path, plan, [plan.target, *filter(None, [plan.group_column])])
    panel = side_by_side(members, rows, plan)
    if len(panel.members) < 2:
        return Choice(weights={}, reason="fewer than two models were validated on the same rows")
    judge = _judge(plan, rows, panel)
    if model_name == STACK and rows.labels is not None and len(np.unique(judge.y)) < len(rows.labels):
        return Choice(weights={}, reason="a class is too rare to be validated, so a stack could not know it")
    until = time.monotonic() + SHARE_OF_TIME * seconds
    weights = ensemble.select(model_name, judge, panel.oof, plan.seed, until)
    if (weights > 0).sum() < 2:
        alone = panel.members[int(weights.argmax())].label
        return Choice(weights={}, reason=f"no average is better than {alone} alone")
    return Choice(weights=_by_slug(weights, panel))


def combine(
    table_path: Path,
    plan: Plan,
    model_name: str,
    members: Sequence[Member],
    choice: Choice,
    scratch: Path,
    seconds: float,
    threads: int,
    progress: Progress,
) -> FitOutcome:
    """The ensemble of a choice; its pickle is left in `scratch / MODEL_FILE`.

    `members`: all that `choose` was given, of which those chosen have their pickles in the scratch folder.
    Raises StorageCorrupt where one of those is another, CannotTrain where it cannot be a member.
    """
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _combine(table_path, plan, model_name, members, choice, scratch, seconds, progress)


def _combine(
    table_path: Path,
    plan: Plan,
    model_name: str,
    members: Sequence[Member],
    choice: Choice,
    scratch: Path,
    seconds: float,
    progress: Progress,
) -> FitOutcome:
    started = time.monotonic()
    progress(0.3, "Weighing the models on the other folds")
    rows, _ = read(table_path, plan)  # whose notices the members have told
    panel = side_by_side(members, rows, plan)
    judge = _judge(plan, rows, panel)
    weights = np.array([choice.weights.get(member.slug, 0.0) for member in panel.members])
    learnt = ensemble.settle(model_name, judge, panel.oof, weights, plan.seed)
    until = started + SHARE_OF_TIME * seconds
    crossed = ensemble.cross_fitted(model_name, judge, panel.oof, panel.fold, plan.seed, until)
    held_out = _held_out(plan, rows, panel, learnt)
    took = time.monotonic() - started

    progress(0.6, "Putting the models together")
    chosen = [member for member, weight in zip(panel.members, learnt.weights, strict=True) if weight > 0]
    fitted = {member.slug: loading.verified(member.model, member.sha256) for member in chosen}
    path = scratch / MODEL_FILE
    joblib.dump(assembled(learnt, fitted, rows.features, rows.labels), path, compress=COMPRESSION)
    del fitted
    progress(0.9, "Reading it again")
    model = loading.reopened(path)
    example = explain.example(model, rows.features, rows.test)
    predict_ms = _milliseconds(model, rows)

    scores = ensemble.fair(judge, panel.oof, panel.fold, learnt, crossed)
    cv_mean = float(np.mean(scores)) if scores else None
    left = max(seconds - (time.monotonic() - started), 0.2)
    spread, intervals = how_sure(
        plan, rows, panel.train, crossed.answers, crossed.said, held_out, cv_mean, min(0.1 * left, 1.0)
    )
    importance = _importance(learnt, panel)
    progress(1.0, "Done")
    return FitOutcome(
        cv_mean=cv_mean,
        cv_std=float(np.std(scores)) if scores else None,
        metrics=held_out.metrics,
        fit_seconds=took + sum(member.fit_seconds for member in chosen),
        predict_ms_per_row=predict_ms,
        packages=_packages(chosen),
        example=example,
        plots=[
            *drawn_of(plan, rows, model_name, held_out, intervals),
            *plots.importance(model_name, plan.metric, importance),
            *_learning_curve(model_name, chosen),
        ],
        importance=importance,
        uncertainty=spread,
        intervals=intervals,
        details={
            "rows_train": len(rows.train),
            "rows_held_out": len(rows.test),
            "rows_validated": len(panel.train),
            "folds": len(scores),
            "refit": all(member.refit for member in chosen),
            "members": _by_slug(learnt.weights, panel),
            "settings": _described(learnt, chosen),
            **({} if learnt.cut is None else {"threshold": learnt.cut}),
        },
    )


def side_by_side(members: Sequence[Member], rows: Rows, plan: Plan) -> Panel:
    """The members that were validated on the rows of the best of them, and those rows.

    Where time was short models were validated on fewer folds. Scores compare on the same rows only, so the
    best member's rows are what the ensemble is judged on, and who lacks many of them is left out, as is one
    whose file is not what a fit leaves.
    """
    columns = 1 if rows.labels is None else len(rows.labels)
    sign = 1 if METRICS[plan.task_type][plan.metric] else -1
    kept: list[tuple[Member, predictions.Predictions]] = []
    train = fold = np.zeros(0, dtype=np.int64)
    for member in sorted(members, key=lambda each: -sign * each.cv_mean):
        try:
            told = predictions.read(member.predictions, columns=columns)
        except ValueError:
            continue
        if len(told.test) != len(rows.test) or not np.isin(told.train, rows.train).all():
            continue
        if not kept:
            train, fold, best = told.train, told.fold, len(told.train)
        common, ours, theirs = np.intersect1d(train, told.train, assume_unique=True, return_indices=True)
        if len(common) < LEAST_IN_COMMON * best or (fold[ours] != told.fold[theirs]).any():
            continue
        train, fold = common, fold[ours]
        kept.append((member, told))
    if not kept:
        return Panel([], train, np.zeros((0, 0, columns)), fold, np.zeros((0, len(rows.test), columns)))
    return Panel(
        [member for member, _ in kept],
        train,
        np.stack([told.oof[np.searchsorted(told.train, train)] for _, told in kept]),
        fold,
        np.stack([told.test for _, told in kept]),
    )


def _judge(plan: Plan, rows: Rows, panel: Panel) -> Judge:
    return Judge(plan.metric, rows.labels, rows.y[panel.train])


def _held_out(plan: Plan, rows: Rows, panel: Panel, learnt: Learnt) -> HeldOut:
    truth, told = rows.y[rows.test], learnt.answers(panel.test)
    said = Judge(plan.metric, rows.labels, truth).said(told, learnt.cut)
    if rows.labels is None:
        return HeldOut(told, said, evaluate.regression(truth, said))
    return HeldOut(told, said, evaluate.classification(truth, said, told, rows.labels))


def _milliseconds(model: BaseEstimator, rows: Rows) -> float:
    """Of one row in a batch, which is as large as its members' batches were if there is time."""

    def taken(count: int) -> float:
        some = rows.features.iloc[rows.test[:count]]
        started = time.perf_counter()
        model.predict(some)
        return time.perf_counter() - started

    count = min(TIMED_ROWS, len(rows.test))
    seconds = taken(count)
    more = min(len(rows.test), int(count * TIMED_S / max(seconds, 1e-6)))
    if more > count:
        count, seconds = more, taken(more)
    return seconds * 1e3 / count


def _by_slug(weights: np.ndarray, panel: Panel) -> dict[str, float]:
    return {
        member.slug: round(float(weight), 6)
        for member, weight in zip(panel.members, weights, strict=True)
        if weight > 0
    }


def _importance(learnt: Learnt, panel: Panel) -> list[Importance]:
    """The members' own, averaged with their weights: each was measured on rows that its model had not seen,
    which the handed-over members, fitted on all rows, have."""
    shares = (learnt.weights / learnt.weights.sum()).tolist()
    told = [(m, share) for m, share in zip(panel.members, shares, strict=True) if share > 0 and m.importance]
    whole = sum(share for _, share in told)
    means: dict[str, float] = {}
    variances: dict[str, float] = {}
    for member, share in told:
        for each in member.importance:
            means[each.feature] = means.get(each.feature, 0.0) + share / whole * each.mean
            variances[each.feature] = variances.get(each.feature, 0.0) + (share / whole * each.std) ** 2
    found = [Importance(feature, mean, variances[feature] ** 0.5) for feature, mean in means.items()]
    return sorted(found, key=lambda each: -each.mean)


def _learning_curve(model_name: str, chosen: Sequence[Member]) -> list[PlotData]:
    """Of the best of them that has one: they are best first."""
    best = next((member for member in chosen if member.learning_curve is not None), None)
    return [] if best is None else plots.members_learning_curve(model_name, best.label, best.learning_curve)


def _packages(members: Sequence[Member]) -> list[str]:
    """What all of them together import; of a package in two versions, which a mixed fleet may have, the one
    that the best of them was fitted with."""
    found: dict[str, str] = {}
    for member in members:
        for requirement in member.packages:
            found.setdefault(requirement.partition("==")[0], requirement)
    return list(found.values())


def _described(learnt: Learnt, chosen: Sequence[Member]) -> str:
    if learnt.meta is not None:
        return f"{learnt.meta!r} over {', '.join(member.label for member in chosen)}".replace("\n", "")
    weights = learnt.weights[learnt.weights > 0]
    return " + ".join(f"{w:.2f} {member.label}" for w, member in zip(weights, chosen, strict=True))
