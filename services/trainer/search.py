"""A small search for better settings in the time that a candidate has to spare.

Trials are validated on parts of their own, split with another seed than the folds that the leaderboard's
score comes from, so that this score is not the best of many on the same rows. The winner is then
validated on those folds like the default, and handed over only where it is better there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import optuna
from msgspec import Struct
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import skew
from sklearn.base import BaseEstimator

from services.trainer import side_by_side, split, threshold
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, Shape
from services.trainer.validation import Parts, attempt, prepared
from shared.contracts.states import TaskType

MOST_TRIALS = 40

PATIENCE = 12
"""Trials without a better one after which the search stops."""

FEWEST_ROWS = 150
"""Below it the differences between settings are smaller than the noise of any validation."""

SKEWED = 1.0
"""A target's skewness from which on its logarithm is tried."""

SLOW = 3.0
"""How many times as long as the default a trial's fit may take before it is stopped."""

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "lightgbm": {
        "learning_rate": FloatDistribution(0.01, 0.2, log=True),
        "num_leaves": IntDistribution(4, 128, log=True),
        "min_child_samples": IntDistribution(2, 60, log=True),
        "subsample": FloatDistribution(0.5, 1.0),
        "colsample_bytree": FloatDistribution(0.3, 1.0),
        "reg_lambda": FloatDistribution(1e-2, 50.0, log=True),
    },
    "xgboost": {
        "learning_rate": FloatDistribution(0.01, 0.2, log=True),
        "max_depth": IntDistribution(2, 10),
        "min_child_weight": FloatDistribution(0.1, 20.0, log=True),
        "subsample": FloatDistribution(0.5, 1.0),
        "colsample_bytree": FloatDistribution(0.3, 1.0),
        "reg_lambda": FloatDistribution(1e-2, 50.0, log=True),
    },
    "hist_gradient_boosting": {
        "learning_rate": FloatDistribution(0.01, 0.2, log=True),
        "max_leaf_nodes": IntDistribution(4, 128, log=True),
        "min_samples_leaf": IntDistribution(2, 60, log=True),
        "l2_regularization": FloatDistribution(1e-2, 50.0, log=True),
        "max_features": FloatDistribution(0.3, 1.0),
    },
    "catboost": {
        "learning_rate": FloatDistribution(0.02, 0.2, log=True),
        "depth": IntDistribution(3, 8),
        "l2_leaf_reg": FloatDistribution(0.3, 30.0, log=True),
        "random_strength": FloatDistribution(0.1, 10.0, log=True),
    },
    "random_forest": {
        "max_features": CategoricalDistribution(["sqrt", 0.3, 0.5, 0.8, 1.0]),
        "min_samples_leaf": IntDistribution(1, 20, log=True),
    },
    "extra_trees": {
        "max_features": CategoricalDistribution(["sqrt", 0.3, 0.5, 0.8, 1.0]),
        "min_samples_leaf": IntDistribution(1, 20, log=True),
    },
    "mlp": {
        "alpha": FloatDistribution(1e-5, 1.0, log=True),
        "learning_rate_init": FloatDistribution(3e-4, 1e-2, log=True),
    },
    "k_nearest_neighbors": {
        "n_neighbors": IntDistribution(3, 60, log=True),
        "weights": CategoricalDistribution(["uniform", "distance"]),
        "p": CategoricalDistribution([1, 2]),
    },
}
"""Slug → the settings that pay, by the names under which the builders ask for them. Linear models choose
their penalty within each fit."""


class Trial(Struct):
    settings: Settings
    score: float


class Found(Struct):
    """`best`: the settings that did best, None where that is the default; `trials`: how many were made."""

    best: Settings | None
    trials: int
    stopped: str


def searched(candidate: Candidate) -> bool:
    """Whether there is anything to look for: settings, or another shape of the target."""
    enough = len(candidate.rows.train) >= FEWEST_ROWS
    return enough and (candidate.model_name in SPACES or len(shapes(candidate)) > 1)


def shapes(candidate: Candidate) -> list[Shape]:
    """The shapes in which a regression's target is worth learning, as it is first."""
    if candidate.plan.task_type is not TaskType.REGRESSION:
        return ["plain"]
    y = candidate.rows.y[candidate.rows.train]
    if y.min() < 0 or y.min() == y.max() or not skew(y) >= SKEWED:
        return ["plain"]
    return ["plain", "log" if y.min() > 0 else "log1p"]


def parts(candidate: Candidate) -> Parts:
    """What trials are validated on: other folds than the plan's, fewer the more rows there are."""
    plan, rows = candidate.plan, candidate.rows
    n = len(rows.train)
    groups = None if rows.groups is None else rows.groups[rows.train]
    wanted = plan.cv_folds if n < 1_000 else min(3, plan.cv_folds) if n < 10_000 else 1
    made = split.folds(
        rows.y[rows.train], groups, max(wanted, 2, min(4, plan.cv_folds)), plan.seed + 1, plan.task_type
    )
    return Parts(candidate, [(rows.train[learn], rows.train[held]) for learn, held in made[:wanted]])


def search(candidate: Candidate, until: float, part_seconds: float, progress: Callable[[int], None]) -> Found:
    """Trial after trial until `until` (`time.monotonic`), on average `part_seconds` a part.

    The default is the first, the default on the transformed target the second. Deterministic in the plan's
    seed as far as the clock lets it. Where a candidate is wide so many trials are made at a time.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = SPACES.get(candidate.model_name, {})
    found_shapes = shapes(candidate)
    if len(found_shapes) > 1:
        space = {**space, "shape": CategoricalDistribution(found_shapes)}
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            seed=candidate.plan.seed,
            n_startup_trials=8,
            multivariate=True,
            constant_liar=candidate.wide > 1,  # trials that are under way are not made twice
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    usual = _usual(candidate, space)
    for shape in found_shapes:
        study.enqueue_trial(usual | ({"shape": shape} if "shape" in space else {}))
    on = parts(candidate)
    most = MOST_TRIALS if candidate.model_name in SPACES else len(found_shapes)
    best: Trial | None = None
    first: Trial | None = None
    since = 0
    stopped = "trials"
    made = 0
    while made < most:
        if made and time.monotonic() + part_seconds > until:
            stopped = "time"
            break
        if since >= PATIENCE:
            stopped = "patience"
            break
        progress(made)
        wave = [study.ask(fixed_distributions=space) for _ in range(min(candidate.wide, most - made))]
        # the first trials are the defaults themselves, whatever the space can say of them
        asked = [
            _settings(candidate, trial.params if number >= len(found_shapes) else {}, trial.params)
            for number, trial in enumerate(wave, start=made)
        ]
        made += len(wave)
        if len(wave) > 1:
            left = until - time.monotonic()
            scores = side_by_side.computed(
                candidate, _tried_apart, [(on.folds, settings, left, part_seconds) for settings in asked]
            )
        else:
            scores = [_tried(candidate, on, asked[0], wave[0], until, part_seconds)]
        for trial, settings, score in zip(wave, asked, scores, strict=True):
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                since += 1
                continue
            study.tell(trial, score)
            tried = Trial(settings, score)
            first = first or tried
            if best is None or score > best.score:
                best, since = tried, 0
            else:
                since += 1
    better = best is not None and first is not None and best.settings != first.settings
    return Found(best.settings if best is not None and better else None, made, stopped)


def _tried(
    candidate: Candidate,
    on: Parts,
    settings: Settings,
    trial: optuna.Trial,
    until: float,
    part_seconds: float,
) -> float | None:
    """The mean score over the parts, higher is better; None where it was given up as hopeless or late."""
    sign = 1.0 if candidate.greater_is_better else -1.0
    scores: list[float] = []
    for number in range(len(on)):
        now = time.monotonic()
        if number and now > until:
            return None
        made = attempt(candidate, on[number], settings, now + SLOW * part_seconds)
        score = _score(candidate, made.answers(candidate, made.rounds()), on[number].held)
        if score is None:
            return None
        scores.append(sign * score)
        trial.report(float(np.mean(scores)), number)
        if number + 1 < len(on) and trial.should_prune():
            return None
    return float(np.mean(scores))


def _tried_apart(
    candidate: Candidate,
    folds: list[tuple[np.ndarray, np.ndarray]],
    settings: Settings,
    left: float,
    part_seconds: float,
) -> float | None:
    """The same on a worker, which knows of no other trial that would make this one hopeless."""
    sign = 1.0 if candidate.greater_is_better else -1.0
    until = time.monotonic() + left
    scores: list[float] = []
    for learn, held in folds:
        now = time.monotonic()
        if scores and now > until:
            return None
        made = attempt(candidate, prepared(candidate, learn, held), settings, now + SLOW * part_seconds)
        score = _score(candidate, made.answers(candidate, made.rounds()), held)
        if score is None:
            return None
        scores.append(sign * score)
    return float(np.mean(scores))


def _score(candidate: Candidate, answers: np.ndarray, held: np.ndarray) -> float | None:
    metric, labels, truth = candidate.plan.metric, candidate.rows.labels, candidate.rows.y[held]
    chosen = None
    if labels is not None and threshold.tuned(metric, labels):
        # each trial with the threshold that suits it best: all are flattered alike
        chosen = threshold.best(metric, truth, answers[:, 1], labels)
    return candidate.score(truth, answers, chosen)


def _settings(candidate: Candidate, knobs: Mapping[str, Any], drawn: Mapping[str, Any]) -> Settings:
    return msgspec.structs.replace(
        candidate.settings,
        knobs={name: value for name, value in knobs.items() if name != "shape"},
        shape=drawn.get("shape", "plain"),
    )


def _usual(candidate: Candidate, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The default's own settings, as near as the space has them: what the sampler learns of it."""
    known: dict[str, Any] = {}
    for step in _estimators(candidate.unfitted(candidate.limited(candidate.rows.train)).steps[-1][1]):
        known |= step.get_params(deep=False)
    usual = {}
    for name, distribution in space.items():
        value = known.get(name)
        if isinstance(distribution, CategoricalDistribution):
            usual[name] = value if value in distribution.choices else distribution.choices[0]
        elif isinstance(distribution, IntDistribution | FloatDistribution) and value is not None:
            usual[name] = type(distribution.low)(np.clip(value, distribution.low, distribution.high))
    return usual


def _estimators(model: BaseEstimator) -> list[BaseEstimator]:
    """The estimator and those that it wraps."""
    inner = getattr(model, "regressor", None)
    named = [estimator for _, estimator in getattr(model, "estimators", [])]
    return [model, *([inner] if inner is not None else []), *named]
