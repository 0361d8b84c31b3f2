"""What is told of a fitted model beside its scores: how sure they are, what it relies on, its plots.

Nothing here changes a model or its score. It comes when the model is written, and is left out piece by piece
where time is short.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer import conformal, explain, learning_curve, plots, uncertainty
from services.trainer.budget import Clock
from services.trainer.candidate import Candidate
from services.trainer.outcome import Importance, Progress
from services.trainer.resampled import Answers
from services.trainer.table_rows import Rows, sample
from services.trainer.validation import Validated
from shared.contracts.results import Intervals, PlotData, Uncertainty
from shared.contracts.training import Plan

UNCERTAINTY_S = (0.2, 2.0)
"""Least and most seconds that the bootstraps of a score are given."""

LEARNING_S = 1.0
"""A learning curve may take a tenth of what the fit took, or this."""

DRAWING_S = 0.5
"""With less than this left nothing is drawn: a model without plots is better than one that came too late."""


class HeldOut(Struct):
    """The held-out rows as a model that was fitted on the training part sees them. `answers`: (n, k),
    probabilities or numbers; `predicted`: (n,); `metrics`: all of the task type's."""

    answers: np.ndarray
    predicted: np.ndarray
    metrics: dict[str, float | None]


class Explained(Struct):
    plots: list[PlotData]
    importance: list[Importance]
    uncertainty: Uncertainty | None
    intervals: Intervals | None


def explained(
    candidate: Candidate,
    model: Pipeline,
    validated: Validated,
    scores: list[float],
    held_out: HeldOut,
    clock: Clock,
    progress: Progress,
    *,
    fit_seconds: float,
    predict_s_per_row: float,
    best_so_far: float | None,
    curve: bool = True,
) -> Explained:
    """Everything that there is time for. `scores`: of the folds; `best_so_far`: the best `cv_mean` of the run
    when this fit began: only a model that is better may end up the best, and has a learning curve. `curve`:
    whether it may have one, which is learnt from parts of the rows that are here."""
    plan, rows = candidate.plan, candidate.rows
    cv_mean = float(np.mean(scores)) if scores else None
    seconds = float(np.clip(0.1 * clock.left(), *UNCERTAINTY_S))
    predicted = candidate.predicted(validated.oof, candidate.settings.threshold)
    spread, intervals = how_sure(
        plan, rows, validated.train, validated.oof, predicted, held_out, cv_mean, seconds
    )
    drawn: list[PlotData] = []
    if clock.left() > DRAWING_S:
        drawn = drawn_of(plan, rows, candidate.model_name, held_out, intervals)

    progress(0.95, "Measuring what the model relies on")
    seconds = min(0.3 * clock.left(), max(3.0, 0.1 * clock.elapsed()))
    shuffle_s = predict_s_per_row * min(len(rows.test), explain.IMPORTANCE_ROWS)
    importance: list[Importance] = []
    if shuffle_s * len(plan.roles) <= seconds:  # else it would find so only after answering the rows once
        importance = explain.permutation(
            model,
            candidate.measure,
            rows.features.iloc[rows.test][list(plan.roles)],  # a large table is not copied whole for it
            rows.y[rows.test],
            greater_is_better=candidate.greater_is_better,
            seed=plan.seed,
            seconds=seconds,
        )
    drawn += plots.importance(candidate.model_name, plan.metric, importance)
    leads = cv_mean is not None and _leads(
        cv_mean, best_so_far, greater_is_better=candidate.greater_is_better
    )
    if leads and curve:
        progress(0.97, "Measuring whether more rows would help")
        points = _learning(candidate, model, validated, scores, clock, fit_seconds)
        drawn += plots.learning_curve(candidate.model_name, plan.task_type, plan.metric, points)
    return Explained(drawn, importance, spread, intervals)


def how_sure(
    plan: Plan,
    rows: Rows,
    train: np.ndarray,
    oof: np.ndarray,
    predicted: np.ndarray,
    held_out: HeldOut,
    cv_mean: float | None,
    seconds: float,
) -> tuple[Uncertainty | None, Intervals | None]:
    """How sure the score is, and the predictions of a regression.

    `train`: positions (n,) of the rows validated, `oof`: (n, k) what was said of them, `predicted`: (n,).
    """

    def answers(positions: np.ndarray, told: np.ndarray, said: np.ndarray) -> Answers:
        groups = None if rows.groups is None else rows.groups[positions]
        proba = None if rows.labels is None else told
        return Answers(rows.y[positions], said, proba, rows.labels, groups)

    spread = uncertainty.measured(
        plan.metric,
        cv_mean,
        held_out.metrics.get(plan.metric),
        answers(train, oof, predicted),
        train,
        answers(rows.test, held_out.answers, held_out.predicted),
        seed=plan.seed,
        seconds=seconds,
    )
    if rows.labels is not None:
        return spread, None
    return spread, conformal.calibrated(rows.y[train], predicted, (rows.y[rows.test], held_out.predicted))


def drawn_of(
    plan: Plan, rows: Rows, model_name: str, held_out: HeldOut, intervals: Intervals | None
) -> list[PlotData]:
    """The plots of what a model says of the held-out rows."""
    truth = rows.y[rows.test]
    if rows.labels is None:
        return plots.regression(model_name, truth, held_out.predicted, intervals)
    labels = rows.labels.tolist()
    return plots.classification(model_name, truth, held_out.predicted, held_out.answers, labels)


def _leads(cv_mean: float, best_so_far: float | None, *, greater_is_better: bool) -> bool:
    if best_so_far is None:
        return True
    return cv_mean >= best_so_far if greater_is_better else cv_mean <= best_so_far


def _learning(
    candidate: Candidate,
    model: Pipeline,
    validated: Validated,
    scores: list[float],
    clock: Clock,
    fit_seconds: float,
) -> learning_curve.Points | None:
    if len(scores) < validated.folds:
        return None
    rows, plan = candidate.rows, candidate.plan
    held = [validated.train[validated.fold == number] for number in range(validated.folds)]

    def score(fitted: Pipeline, positions: np.ndarray) -> float | None:
        return candidate.measure(fitted, rows.features.iloc[positions], rows.y[positions])

    learnt = candidate.limited(rows.train)
    return learning_curve.measured(
        [(np.setdiff1d(rows.train, part), part) for part in held],
        scores,
        score(model, learnt[:: max(1, len(learnt) // learning_curve.SCORED_ROWS)]),
        limit=candidate.row_limit,
        part=lambda positions, size: sample(positions, rows, size, plan.seed),
        fitted=candidate.fitted,
        score=score,
        fit_seconds=fit_seconds,
        seconds=min(0.2 * clock.left(), max(LEARNING_S, 0.1 * clock.elapsed())),
    )
