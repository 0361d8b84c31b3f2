"""The fit of one candidate on a plain table: validated, scored on held-out rows, refitted, written.

Order matters for the clock: what must be handed over comes first, what only explains it last.
"""

from __future__ import annotations

import time
import warnings
from importlib import metadata
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from services.trainer import candidates, evaluate, explain, loading, prepare, split, table
from services.trainer.budget import Clock, affordable_rows
from services.trainer.outcome import MODEL_FILE, FitOutcome, Progress
from shared.contracts import METRICS, Notice, Plan, PlotData, TaskType
from shared.errors import CannotTrain

COMPRESSION = ("zlib", 1)
"""Forests shrink to a fifth; the ZIP stores its members as they are."""

ALWAYS_IMPORTED = ["scikit-learn", "pandas", "numpy", "scipy", "joblib"]

BOOSTERS = {"xgboost": ["xgboost-cpu", "xgboost"], "lightgbm": ["lightgbm"]}
"""Slug → the distributions that may provide it, the first one installed is pinned."""


class Rows(Struct):
    """The rows that have a target. `features`: (n, columns) without the target; `y`: (n,);
    `train`, `test`: positions; `labels`: the sorted classes, None for a regression."""

    features: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray | None
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None


class Candidate(Struct):
    """One model on one table: what every one of its fits shares."""

    plan: Plan
    model_name: str
    rows: Rows
    columns: prepare.Columns
    threads: int
    row_limit: int

    def fitted(self, positions: np.ndarray, given: candidates.Situation | None = None) -> Pipeline:
        """Fit on these rows, on a random sample of them where they are over the limit."""
        if len(positions) > self.row_limit:
            positions = _sample(positions, self.rows, self.row_limit, self.plan.seed)
        pipeline = self.unfitted(positions, given)
        return pipeline.fit(self.rows.features.iloc[positions], self.rows.y[positions])

    def unfitted(self, positions: np.ndarray, given: candidates.Situation | None = None) -> Pipeline:
        return candidates.build(self.model_name, self.plan.task_type, given or self.situation(positions))

    def situation(self, positions: np.ndarray) -> candidates.Situation:
        return candidates.situation(
            self.columns, self.rows.y[positions], self.plan.task_type, self.plan.seed, self.threads
        )

    def measure(self, model: Pipeline, features: pd.DataFrame, truth: np.ndarray) -> float | None:
        """The plan's metric on these raw rows, in its natural sign."""
        metric, labels = self.plan.metric, self.rows.labels
        if labels is None or metric not in evaluate.NEEDS_PROBABILITIES:
            return evaluate.score(metric, truth, model.predict(features), None, labels)
        proba = evaluate.aligned(model.predict_proba(features), model.classes_, labels)
        return evaluate.score(metric, truth, truth, proba, labels)


def fit(
    table_path: Path,
    plan: Plan,
    model_name: str,
    scratch: Path,
    soft_deadline_s: float,
    threads: int,
    progress: Progress,
) -> FitOutcome:
    """Fit one classification or regression model; the pickle is left in `scratch / MODEL_FILE`.

    Work that would not fit in `soft_deadline_s` seconds from now is left out and said in the
    warnings: rows, folds, the refit, the importance, in that order. Raises CannotTrain where the
    table is not the plan's or leaves nothing to learn.
    """
    clock = Clock(soft_deadline_s)
    progress(0.0, "Reading the table")
    rows, notices = _read(table_path, plan)
    columns = prepare.survey(rows.features.iloc[rows.train], plan.roles)
    limit = candidates.ROW_LIMITS.get(model_name, len(rows.y))
    candidate = Candidate(plan, model_name, rows, columns, threads, limit)
    with threadpool_limits(threads), warnings.catch_warnings():
        # convergence and unseen categories in a fold: nothing the user of the service can act on
        warnings.simplefilter("ignore")
        return _run(candidate, clock, scratch, progress, notices)


def _run(
    candidate: Candidate, clock: Clock, scratch: Path, progress: Progress, notices: list[Notice]
) -> FitOutcome:
    plan, rows = candidate.plan, candidate.rows
    _limit_rows(candidate, clock, progress, notices)
    scores, fold_seconds = _validate(candidate, clock, progress, notices)

    progress(0.7, "Fitting on the training rows")
    started = time.perf_counter()
    scored = candidate.fitted(rows.train)
    fit_seconds = time.perf_counter() - started
    metrics, plots, predict_ms = _held_out(candidate, scored)

    final, refitted = scored, False
    everything = np.sort(np.concatenate([rows.train, rows.test]))
    growth = min(len(everything), candidate.row_limit) / min(len(rows.train), candidate.row_limit)
    refit_seconds = max(fit_seconds, fold_seconds) * growth
    if plan.refit and clock.fits(refit_seconds):
        progress(0.85, "Fitting on all rows")
        final, refitted = candidate.fitted(everything, candidate.situation(rows.train)), True
    elif plan.refit:
        notices.append(_refit_skipped())

    path = scratch / MODEL_FILE
    joblib.dump(final, path, compress=COMPRESSION)
    settings = repr(final.named_steps["model"])
    del final
    example = explain.example(loading.reopened(path), rows.features, rows.test)

    progress(0.95, "Measuring what the model relies on")
    importance = explain.permutation(
        scored,
        candidate.measure,
        rows.features[list(plan.roles)].iloc[rows.test],
        rows.y[rows.test],
        greater_is_better=METRICS[plan.task_type][plan.metric],
        seed=plan.seed,
        seconds=min(0.3 * clock.left(), max(3.0, 0.1 * clock.elapsed())),
    )
    progress(1.0, "Done")
    return FitOutcome(
        cv_mean=float(np.mean(scores)) if scores else None,
        cv_std=float(np.std(scores)) if scores else None,
        metrics=metrics,
        fit_seconds=fit_seconds,
        predict_ms_per_row=predict_ms,
        packages=packages(candidate.model_name, candidate.columns),
        example=example,
        plots=plots,
        importance=importance,
        warnings=notices,
        details={
            "rows_train": len(rows.train),
            "rows_held_out": len(rows.test),
            "rows_fitted": min(candidate.row_limit, len(everything if refitted else rows.train)),
            "folds": len(scores),
            "refit": refitted,
            "settings": " ".join(settings.split()),
        },
    )


def packages(model_name: str, columns: prepare.Columns) -> list[str]:
    """Exact requirements of what the pickle imports, as installed here."""
    names = list(ALWAYS_IMPORTED)
    if columns.uses_skrub():
        names.append("skrub")
    installed = (
        {_normal(found.name) for found in metadata.distributions()} if model_name in BOOSTERS else set()
    )
    names += [name for name in BOOSTERS.get(model_name, []) if name in installed][:1]
    return [f"{name}=={metadata.version(name)}" for name in names]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def _read(table_path: Path, plan: Plan) -> tuple[Rows, list[Notice]]:
    """The table's rows as the plan split them; raises CannotTrain where they are not the plan's."""
    whole = table.load(table_path)
    if plan.target not in whole.columns:
        raise CannotTrain(f"the table has no column {plan.target!r}")
    frame = split.with_target(whole, plan.target)
    y = split.target_values(frame, plan.target, plan.task_type)
    groups = None if plan.group_column is None else frame[plan.group_column].to_numpy()
    try:
        train, test = split.holdout(y, groups, plan.task_type, plan.test_size, plan.seed)
    except ValueError as error:
        raise CannotTrain(f"the rows cannot be split: {error}") from error
    if split.digest(test) != plan.split_digest:
        raise CannotTrain("the held-out rows are not those of the plan: the table has changed")
    notices: list[Notice] = []
    labels = None
    if plan.task_type is TaskType.CLASSIFICATION:
        y = _labels(y, whole_numbers=len(frame) < len(whole), notices=notices)
        labels = np.unique(y)
        if len(np.unique(y[train])) < 2:
            raise CannotTrain("the target has a single class in the training rows")
    else:
        train, test = (part[np.isfinite(y[part])] for part in (train, test))
        if len(train) < 2 or not len(test):
            raise CannotTrain("the target holds too few numbers")
    return Rows(frame.drop(columns=plan.target), y, groups, train, test, labels), notices


def _labels(y: np.ndarray, *, whole_numbers: bool, notices: list[Notice]) -> np.ndarray:
    """Labels that classifiers take: one kind, sortable, and not fractions.

    `whole_numbers`: rows without a target were dropped, so 0.0 and 1.0 were written 0 and 1.
    """
    if y.dtype.kind == "f":
        if (y == np.floor(y)).all():
            return y.astype(np.int64) if whole_numbers and np.abs(y).max() < 2**53 else y
        notices.append(
            Notice(
                code="fractional-labels",
                message="The classes are fractional numbers, which classifiers take for measurements.",
                action="They are handled as text, and the model answers text.",
            )
        )
        return y.astype(str).astype(object)
    if y.dtype == object and not all(isinstance(label, str) for label in y):
        return np.array([str(label) for label in y], dtype=object)
    return y


def _sample(positions: np.ndarray, rows: Rows, size: int, seed: int) -> np.ndarray:
    """`size` of `positions`, sorted; of each class at least one row, or a fold could not be scored."""
    shuffled = np.random.default_rng(seed).permutation(positions)
    if rows.labels is not None:
        first = np.unique(rows.y[shuffled], return_index=True)[1]
        shuffled = np.concatenate([shuffled[first], np.delete(shuffled, first)])
    return np.sort(shuffled[:size])


def _limit_rows(candidate: Candidate, clock: Clock, progress: Progress, notices: list[Notice]) -> None:
    """Set the candidate's row limit to what its time allows, and say so."""
    plan, train = candidate.plan, candidate.rows.train
    reachable = min(len(train), candidate.row_limit)
    usual = candidate.row_limit

    def timed_fit(size: int) -> float:
        progress(0.02, "Trying a part of the rows")
        started = time.perf_counter()
        candidate.fitted(_sample(train, candidate.rows, size, plan.seed))
        return time.perf_counter() - started

    # one fold, the scored fit and the refit are the least that is wanted
    affordable = affordable_rows(reachable, 3.2 if plan.refit else 2.0, clock, timed_fit)
    if affordable < reachable:
        candidate.row_limit = affordable
    if candidate.row_limit >= len(train):
        return
    why = "keeps its rows" if candidate.row_limit == usual else "would not be done in its time on all of them"
    notices.append(
        Notice(
            code="rows-sampled",
            message=f"Fitted on {candidate.row_limit:,} of {len(train):,} training rows: this model {why}.",
            action="Rows were drawn at random; every class is among them.",
            evidence=f"{candidate.row_limit} of {len(train)}",
        )
    )


def _validate(
    candidate: Candidate, clock: Clock, progress: Progress, notices: list[Notice]
) -> tuple[list[float], float]:
    """The metric of each fold that there was time for, and the seconds one fold took."""
    plan, rows = candidate.plan, candidate.rows
    groups = None if rows.groups is None else rows.groups[rows.train]
    try:
        folds = split.folds(rows.y[rows.train], groups, plan.cv_folds, plan.seed, plan.task_type)
    except ValueError as error:
        raise CannotTrain(f"the training rows cannot be split into folds: {error}") from error
    scores: list[float] = []
    spent: list[float] = []
    # what has to follow, in folds: a fit on the whole training part, and one on all rows
    scored = plan.cv_folds / (plan.cv_folds - 1)
    to_follow = scored * (1 + plan.refit * len(rows.y) / len(rows.train))
    for number, (learn, valid) in enumerate(folds):
        if spent and not clock.fits(float(np.mean(spent)) * (1 + to_follow)):
            notices.append(_folds_skipped(number, len(folds)))
            break
        progress(0.05 + 0.65 * number / len(folds), f"Validating: fold {number + 1} of {len(folds)}")
        started = time.perf_counter()
        held = rows.train[valid]
        value = candidate.measure(candidate.fitted(rows.train[learn]), rows.features.iloc[held], rows.y[held])
        spent.append(time.perf_counter() - started)
        if value is not None:
            scores.append(value)
    return scores, float(np.mean(spent)) if spent else 0.0


def _held_out(candidate: Candidate, model: Pipeline) -> tuple[dict[str, float | None], list[PlotData], float]:
    """Every metric and plot on the held-out rows, and milliseconds a row of a batch prediction."""
    from services.trainer import plots

    rows = candidate.rows
    features, truth = rows.features.iloc[rows.test], rows.y[rows.test]
    started = time.perf_counter()
    predicted = model.predict(features)
    predict_ms = (time.perf_counter() - started) * 1e3 / len(rows.test)
    if rows.labels is None:
        metrics = evaluate.regression(truth, predicted)
        return metrics, plots.regression(candidate.model_name, truth, predicted), predict_ms
    proba = evaluate.aligned(model.predict_proba(features), model.classes_, rows.labels)
    metrics = evaluate.classification(truth, predicted, proba, rows.labels)
    drawn = plots.classification(candidate.model_name, truth, predicted, proba, rows.labels.tolist())
    return metrics, drawn, predict_ms


def _folds_skipped(done: int, planned: int) -> Notice:
    return Notice(
        code="validation-shortened",
        message=f"Validated on {done} of {planned} folds: there was no time for more.",
        action="The validation score is the mean of the folds that were done.",
        evidence=f"{done} of {planned}",
    )


def _refit_skipped() -> Notice:
    return Notice(
        code="refit-skipped",
        message="There was no time to fit the model once more on all rows.",
        action="The model handed over is the one that was scored, fitted on the training rows.",
    )
