"""The fit of one candidate on a plain table: validated, scored on held-out rows, refitted, written.

Order matters for the clock: what must be handed over comes first, what only explains it last.
"""

from __future__ import annotations

import math
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import msgspec
import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from services.trainer import (
    candidates,
    evaluate,
    explain,
    loading,
    pacing,
    predictions,
    prepare,
    search,
)
from services.trainer.budget import FEWEST_FOLDS, FEWEST_ROWS, LEAST_SHARE, Clock, affordable_rows
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings
from services.trainer.cluster import Asked
from services.trainer.explained import HeldOut, explained
from services.trainer.outcome import MODEL_FILE, FitOutcome, Progress
from services.trainer.table_rows import folds, read, sample
from services.trainer.validation import Parts, Validated, validate, with_threshold
from shared.contracts.problems import Notice
from shared.contracts.training import Plan

if TYPE_CHECKING:
    from services.trainer.cluster_fit import Spread

COMPRESSION = ("zlib", 1)
"""Forests shrink to a fifth; the ZIP stores its members as they are."""

ALWAYS_IMPORTED = ["scikit-learn", "pandas", "numpy", "scipy", "joblib"]

BOOSTERS = {
    "xgboost": ["xgboost-cpu", "xgboost"],
    "lightgbm": ["lightgbm"],
    "catboost": ["catboost"],
}
"""Slug → the distributions that may provide it, the first one installed is pinned."""


def fit(
    table_path: Path,
    plan: Plan,
    model_name: str,
    scratch: Path,
    soft_deadline_s: float,
    threads: int,
    progress: Progress,
    best_so_far: float | None = None,
    cluster: Asked | None = None,
) -> FitOutcome:
    """Fit one classification or regression model; the pickle is left in `scratch / MODEL_FILE`.

    Work that would not fit in `soft_deadline_s` seconds from now is left out and said in the
    warnings: trees, rows, folds, the refit, the importance, in that order. `best_so_far`: the best `cv_mean`
    of the run as yet; a model that does not reach it has no learning curve. `cluster`: where parts of it are
    computed. Raises CannotTrain where the table is not the plan's or leaves nothing to learn, ClusterFailed
    where the cluster does not do its part.
    """
    clock = Clock(soft_deadline_s)
    progress(0.0, "Reading the table")
    rows, notices = read(table_path, plan)
    learnt = rows.features.iloc[rows.train]
    columns = prepare.survey(learnt, plan.roles)
    if columns.texts:
        progress(0.01, "Learning to read the texts")
        columns = prepare.with_encoders(columns, learnt, len(rows.y), plan.seed, soft_deadline_s)
    limit = candidates.ROW_LIMITS.get(model_name, len(rows.y))
    candidate = Candidate(plan, model_name, rows, columns, threads, limit)
    with threadpool_limits(threads), warnings.catch_warnings():
        # convergence and unseen categories in a fold: nothing the user of the service can act on
        warnings.simplefilter("ignore")
        if cluster is None:
            return _run(candidate, clock, scratch, progress, notices, best_so_far)
        from services.trainer import cluster_fit

        with cluster_fit.session(cluster, candidate) as (candidate, spread):
            return _run(candidate, clock, scratch, progress, notices, best_so_far, spread)


def _run(
    candidate: Candidate,
    clock: Clock,
    scratch: Path,
    progress: Progress,
    notices: list[Notice],
    best_so_far: float | None,
    spread: Spread | None = None,
) -> FitOutcome:
    plan, rows = candidate.plan, candidate.rows
    validated, sought = _settle(candidate, spread.settling(clock) if spread else clock, progress, notices)
    if spread is not None:
        candidate, validated = spread.validated(candidate, validated, clock, progress, notices)
    threshold, scores = with_threshold(candidate, validated)
    candidate.settings = msgspec.structs.replace(candidate.settings, threshold=threshold)

    scored, scored_rows, fit_seconds = _scored(candidate, validated, clock, progress, notices)
    held_out, predict_ms = _held_out(candidate, scored)
    predictions.write(
        scratch,
        predictions.Predictions(
            train=validated.train, oof=validated.oof, fold=validated.fold, test=held_out.answers
        ),
    )

    final, refitted = scored, False
    everything = np.sort(np.concatenate([rows.train, rows.test]))
    growth = min(len(everything), candidate.row_limit) / min(len(rows.train), candidate.row_limit)
    refit_seconds = max(fit_seconds, validated.seconds) * growth
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

    told = explained(
        candidate,
        scored,
        validated,
        scores,
        held_out,
        clock,
        progress,
        # in a fold the answers are counted in, which of some families are dearer than their fit
        fit_seconds=max(fit_seconds, validated.seconds),
        predict_s_per_row=predict_ms / 1e3,
        best_so_far=best_so_far,
        curve=spread is None,
    )
    progress(1.0, "Done")
    return FitOutcome(
        cv_mean=float(np.mean(scores)) if scores else None,
        cv_std=float(np.std(scores)) if scores else None,
        metrics=held_out.metrics,
        fit_seconds=fit_seconds,
        predict_ms_per_row=predict_ms,
        packages=packages(candidate.model_name, candidate.columns),
        example=example,
        plots=told.plots,
        importance=told.importance,
        uncertainty=told.uncertainty,
        intervals=told.intervals,
        warnings=notices,
        details={
            "rows_train": len(rows.train),
            "rows_held_out": len(rows.test),
            "rows_fitted": min(candidate.row_limit, len(everything)) if refitted else scored_rows,
            "folds": len(scores),
            "refit": refitted,
            "settings": " ".join(settings.split()),
            **_chosen(candidate.settings),
            **sought,
            **(spread.details(rows.train if not refitted else everything) if spread is not None else {}),
        },
    )


def _chosen(settings: Settings) -> dict[str, object]:
    """What validation decided, for the report; nothing where it is the family's own way."""
    told = {
        "rounds": settings.effort,
        "most_effort": settings.most_effort,
        "threshold": settings.threshold,
        "target": None if settings.shape == "plain" else settings.shape,
        "knobs": settings.knobs or None,
    }
    return {name: value for name, value in told.items() if value is not None}


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


def _settle(
    candidate: Candidate, clock: Clock, progress: Progress, notices: list[Notice]
) -> tuple[Validated, dict[str, object]]:
    """Decide on the candidate's settings: what there is time for, the default validated, then a search.

    Answers how the settings that were kept did, and what is to be told of the search.
    """
    plan, rows = candidate.plan, candidate.rows
    _limit_rows(candidate, clock, progress, notices)
    parts = Parts(candidate, folds(rows, plan))
    # what has to follow, in folds: a fit on the whole training part, and one on all rows
    to_follow = plan.cv_folds / (plan.cv_folds - 1) * (1 + plan.refit * len(rows.y) / len(rows.train))
    part_seconds = clock.share_of(1 / (FEWEST_FOLDS + to_follow))
    parts = _limit_effort(candidate, parts, part_seconds, notices)

    def told(number: int) -> None:
        progress(0.05 + 0.4 * number / len(parts), f"Validating: fold {number + 1} of {len(parts)}")

    default = validate(candidate, parts, candidate.settings, clock, to_follow, part_seconds, told)
    if default.folds < len(parts):
        notices.append(_folds_skipped(default.folds, len(parts)))
    usual = default.settings(candidate.settings)
    until = clock.search_ends(len(rows.train), (to_follow + len(parts)) * default.seconds)
    trial_parts = 3 * default.seconds
    if not search.searched(candidate) or default.folds < len(parts) or time.monotonic() + trial_parts > until:
        candidate.settings = usual
        return default, {}
    started = time.perf_counter()

    def tried(number: int) -> None:
        progress(0.45 + 0.2 * number / search.MOST_TRIALS, f"Looking for better settings: trial {number + 1}")

    found = search.search(candidate, until, default.seconds, tried)
    sought: dict[str, object] = {"trials": found.trials, "search": f"kept the default after {found.stopped}"}
    candidate.settings = usual
    if found.best is not None:
        progress(0.66, "Validating what the search found")
        seconds = part_seconds
        winner = validate(
            candidate, parts, found.best, clock, to_follow, seconds, lambda _: None, at_least=len(parts)
        )
        if _better(candidate, winner, default):
            candidate.settings = winner.settings(found.best)
            sought["search"] = f"found better settings, ended by {found.stopped}"
            default = winner
    return default, sought | {"search_seconds": round(time.perf_counter() - started, 2)}


def _better(candidate: Candidate, winner: Validated, default: Validated) -> bool:
    """By the mean over the same folds, each with the threshold that it would be handed over with."""
    ahead, behind = (with_threshold(candidate, found)[1] for found in (winner, default))
    if len(ahead) != len(behind) or not ahead:
        return False
    gain = float(np.mean(ahead) - np.mean(behind))
    return gain > 0 if candidate.greater_is_better else gain < 0


def _limit_rows(candidate: Candidate, clock: Clock, progress: Progress, notices: list[Notice]) -> None:
    """Set the candidate's row limit to what its time allows, and say so. A family that can do with fewer
    trees, rounds or epochs is tried with few of them: it gives up rows last."""
    plan, train = candidate.plan, candidate.rows.train
    reachable = min(len(train), candidate.row_limit)
    usual = candidate.row_limit
    if pacing.elastic(candidate.model_name):
        candidate.settings = pacing.probing(candidate.model_name)

    # a fit is followed by the answers for a fold's rows, or for those that are held out
    answered = max(len(candidate.rows.test), len(train) // plan.cv_folds)

    def timed_fit(size: int) -> float:
        progress(0.02, "Trying a part of the rows")
        started = time.perf_counter()
        model = candidate.fitted(sample(train, candidate.rows, size, plan.seed))
        fitted = time.perf_counter() - started
        return fitted + answered * pacing.answering(candidate, model)

    # one fold, the scored fit and the refit are the least that is wanted
    fits, cells = 3.2 if plan.refit else 2.0, max(reachable, answered) * len(plan.roles)
    affordable = affordable_rows(reachable, fits, clock, timed_fit, cells=cells)
    candidate.settings = Settings()
    if affordable < reachable:
        candidate.row_limit = affordable
    if candidate.row_limit >= len(train):
        return
    why = "keeps its rows" if candidate.row_limit == usual else "would not be done in its time on all of them"
    notices.append(_rows_sampled(candidate, why))


def _limit_effort(candidate: Candidate, parts: Parts, seconds: float, notices: list[Notice]) -> Parts:
    """Set how many trees, rounds or epochs a fit has time for, and say so where it is fewer than usual.

    Rows are given up, and `parts` made anew, where all of them would leave too few to be of any use.
    """
    slug = candidate.model_name
    most = pacing.most_effort(candidate, parts[0], seconds) if pacing.elastic(slug) else math.inf
    if math.isinf(most):
        return parts
    enough = pacing.worthwhile(slug)
    if most < enough and len(parts[0].learn) > FEWEST_ROWS:
        share = max(most / enough, LEAST_SHARE)
        candidate.row_limit = max(FEWEST_ROWS, int(len(parts[0].learn) * share))
        notices[:] = [notice for notice in notices if notice.code != "rows-sampled"]
        notices.append(_rows_sampled(candidate, "would not be done in its time on all of them"))
        parts = Parts(candidate, folds(candidate.rows, candidate.plan))
    effort = max(int(most), enough)
    candidate.settings = msgspec.structs.replace(candidate.settings, most_effort=effort)
    notices.append(
        Notice(
            code="effort-limited",
            message=f"Each fit was given {effort:,} {pacing.unit(slug)}: there was no time for as many as "
            "this model usually has.",
            action="A larger time budget lets it have them.",
            evidence=str(effort),
        )
    )
    return parts


def _rows_sampled(candidate: Candidate, why: str) -> Notice:
    limit, rows = candidate.row_limit, len(candidate.rows.train)
    return Notice(
        code="rows-sampled",
        message=f"Fitted on {limit:,} of {rows:,} training rows: this model {why}.",
        action="Rows were drawn at random; every class is among them.",
        evidence=f"{limit} of {rows}",
    )


def _scored(
    candidate: Candidate, validated: Validated, clock: Clock, progress: Progress, notices: list[Notice]
) -> tuple[Pipeline, int, float]:
    """The model whose held-out scores are told, the rows it was fitted on, and the seconds that took.

    On the whole training part; where the one fold that was validated has left no time for that, the model
    of this fold is it: a score in time is worth more than a fifth of the rows.
    """
    train, folds = candidate.rows.train, candidate.plan.cv_folds
    if validated.only is not None and not clock.fits(validated.seconds * folds / (folds - 1)):
        learnt = min(len(train) - len(validated.train), candidate.row_limit)
        notices.append(_fitted_once(learnt, len(train)))
        return validated.only, learnt, validated.seconds
    progress(0.7, "Fitting on the training rows")
    started = time.perf_counter()
    scored = candidate.fitted(train)
    return scored, min(candidate.row_limit, len(train)), time.perf_counter() - started


def _held_out(candidate: Candidate, model: Pipeline) -> tuple[HeldOut, float]:
    """What the model says of the held-out rows, and milliseconds a row of a batch prediction."""
    rows = candidate.rows
    features, truth = rows.features.iloc[rows.test], rows.y[rows.test]
    started = time.perf_counter()
    answers = candidate.answers(model, features)
    predict_ms = (time.perf_counter() - started) * 1e3 / len(rows.test)
    # as the model itself concludes from its answers; asking it again would take as long once more
    predicted = candidate.predicted(answers, candidate.settings.threshold)
    if rows.labels is None:
        return HeldOut(answers, predicted, evaluate.regression(truth, predicted)), predict_ms
    metrics = evaluate.classification(truth, predicted, answers, rows.labels)
    return HeldOut(answers, predicted, metrics), predict_ms


def _fitted_once(learnt: int, rows: int) -> Notice:
    return Notice(
        code="fitted-once",
        message=f"Fitted on the {learnt:,} of {rows:,} training rows of one fold: there was no time for a "
        "second fit on all of them.",
        action="A larger time budget lets it have them.",
        evidence=f"{learnt} of {rows}",
    )


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
