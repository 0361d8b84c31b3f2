"""How a candidate's settings do on rows that its fit has not seen.

Each fold's rows are prepared once, whatever is tried on them. Boosters are watched while they learn; how
many rounds the rows of one fold are answered with is what the *other* folds ask for, so that no score owes
anything to the rows that it was measured on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer import candidates, evaluate, side_by_side, threshold
from services.trainer.budget import Clock
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, Situation
from services.trainer.candidates.boosting import LIBRARIES, rounds_of
from services.trainer.table_room import KEPT_BYTES, planned


class Part(Struct):
    """Rows to learn from and rows to validate on, prepared. `learn`, `held`: positions; `before`: the fitted
    steps before the model; `x_learn`, `x_held`: what they make of the rows."""

    learn: np.ndarray
    held: np.ndarray
    before: Pipeline
    x_learn: Any
    x_held: Any


class Attempt(Struct):
    """A model fitted on one part. `curve`: a booster's loss on the held rows after each round; `back`: what
    leads from its answers to the target's own scale."""

    part: Part
    model: Any
    curve: np.ndarray | None
    back: Any

    def rounds(self) -> int | None:
        return None if self.curve is None else rounds_of([self.curve])

    def pipeline(self) -> Pipeline:
        return Pipeline([*self.part.before.steps, ("model", self.model)])

    def answers(self, candidate: Candidate, rounds: int | None) -> np.ndarray:
        """Probabilities (n, k) in the order of the plan's labels, or numbers (n, 1), for the held rows."""
        if rounds is None:
            return candidate.answers(self.model, self.part.x_held)
        told = LIBRARIES[candidate.model_name].answers(self.model, self.part.x_held, rounds)
        labels = candidate.rows.labels
        if labels is not None:
            present = np.unique(candidate.rows.y[self.part.learn])
            return evaluate.aligned(np.asarray(told, dtype=np.float64), present, labels)
        told = np.asarray(told, dtype=np.float64)[:, None]
        return told if self.back is None else self.back.inverse_transform(told)


class Validated(Struct):
    """Out-of-fold scores and predictions. `train`: positions, `oof`: (n, k), `fold`: (n,); `rounds`: what
    all folds together ask for, None for what grows in no rounds; `seconds`: what one fold took; `only`: where
    one fold was all there was time for, its model as it would be handed over (not of a booster, which was
    fitted bare)."""

    scores: list[float]
    train: np.ndarray
    oof: np.ndarray
    fold: np.ndarray
    rounds: int | None
    seconds: float
    folds: int
    only: Pipeline | None = None

    def settings(self, of: Settings) -> Settings:
        return of if self.rounds is None else msgspec.structs.replace(of, effort=self.rounds)


def prepared(candidate: Candidate, learn: np.ndarray, held: np.ndarray) -> Part:
    learn = candidate.limited(learn)
    before = Pipeline(candidate.unfitted(learn).steps[:-1])
    features, y = candidate.rows.features, candidate.rows.y
    x_learn = before.fit_transform(features.iloc[learn], y[learn])
    return Part(learn, held, before, x_learn, before.transform(features.iloc[held]))


def attempt(candidate: Candidate, part: Part, settings: Settings, deadline: float) -> Attempt:
    """Fit on the part. A booster that can be stopped stops at `deadline` (`time.monotonic`)."""
    given = msgspec.structs.replace(
        candidate.situation(part.learn), settings=msgspec.structs.replace(settings, threshold=None)
    )
    library = LIBRARIES.get(candidate.model_name)
    y = candidate.rows.y
    if library is None:
        model = candidates.build(candidate.model_name, candidate.plan.task_type, given).steps[-1][1]
        return Attempt(part, model.fit(part.x_learn, y[part.learn]), None, None)
    model = library.model(given, watched=True)
    learn, held, back = _bare_targets(candidate, part, given)
    curve = library.watch(model, (part.x_learn, learn), (part.x_held, held), deadline)
    return Attempt(part, model, curve, back)


def _bare_targets(candidate: Candidate, part: Part, given: Situation) -> tuple[np.ndarray, np.ndarray, Any]:
    """The targets as a bare booster takes them: codes, or numbers on its scale and the way back from it."""
    y = candidate.rows.y
    if candidate.rows.labels is not None:
        present = np.unique(y[part.learn])
        return np.searchsorted(present, y[part.learn]), np.searchsorted(present, y[part.held]), None
    from services.trainer.candidates.regression import target_transformer

    transformer = target_transformer(candidate.model_name, given)
    if transformer is None:
        return y[part.learn], y[part.held], None
    learn = transformer.fit_transform(y[part.learn][:, None])
    return learn[:, 0], transformer.transform(y[part.held][:, None])[:, 0], transformer


def _validated(
    candidate: Candidate, learn: np.ndarray, held: np.ndarray, settings: Settings, seconds: float
) -> tuple[Attempt, np.ndarray | None, float]:
    """One fold, on a worker: prepared there, since its matrix is larger than the rows."""
    started = time.perf_counter()
    part = prepared(candidate, learn, held)
    made = attempt(candidate, part, settings, time.monotonic() + seconds)
    made, told, took = _done(candidate, made, started)
    if told is not None:  # nothing will be asked of it any more, and a forest is large
        made = msgspec.structs.replace(made, model=None, part=msgspec.structs.replace(made.part, x_held=None))
    return made, told, took


def _done(candidate: Candidate, made: Attempt, started: float) -> tuple[Attempt, np.ndarray | None, float]:
    """A fold's model, its answers where no other fold has a say in them, and the seconds that both took."""
    told = made.answers(candidate, None) if made.curve is None else None
    # what it learned from is not needed any more; a large part is not kept alive by it
    made = msgspec.structs.replace(made, part=msgspec.structs.replace(made.part, x_learn=None))
    return made, told, time.perf_counter() - started


class Parts:
    """The parts of one split into folds, prepared when they are first asked for."""

    def __init__(self, candidate: Candidate, folds: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """`folds`: positions (learn, held) of rows of the table."""
        self._candidate, self.folds = candidate, folds
        self._kept_bytes = 0 if planned(candidate.plan.details) else KEPT_BYTES
        self._kept: dict[int, Part] = {}

    def __len__(self) -> int:
        return len(self.folds)

    def __getitem__(self, number: int) -> Part:
        if number in self._kept:
            return self._kept[number]
        part = prepared(self._candidate, *self.folds[number])
        size = getattr(part.x_learn, "nbytes", None)
        if size is None:
            size = int(part.x_learn.memory_usage().sum())
        if size * len(self) <= self._kept_bytes:
            self._kept[number] = part
        return part


def validate(
    candidate: Candidate,
    parts: Parts,
    settings: Settings,
    clock: Clock,
    to_follow: float,
    part_seconds: float,
    progress: Callable[[int], None],
    at_least: int = 1,
) -> Validated:
    """Fold after fold, `at_least` so many, then while there is time for one more and for what follows:
    `to_follow`, in folds. A booster that can be stopped has `part_seconds` a fold. Where a candidate is wide
    so many folds are a wave, and it is between waves that there has to be time."""
    attempts: list[Attempt] = []
    answered: list[np.ndarray] = []
    spent: list[float] = []
    while len(attempts) < len(parts):
        if len(spent) >= at_least and not clock.fits(float(np.mean(spent)) * (1 + to_follow)):
            break
        progress(len(attempts))
        folds = parts.folds[len(attempts) : len(attempts) + candidate.wide]
        if len(folds) > 1:
            calls = [(learn, held, settings, part_seconds) for learn, held in folds]
            wave = side_by_side.computed(candidate, _validated, calls)
        else:
            started = time.perf_counter()
            made = attempt(candidate, parts[len(attempts)], settings, time.monotonic() + part_seconds)
            wave = [_done(candidate, made, started)]
        for made, told, seconds in wave:
            attempts.append(made)
            spent.append(seconds)
            if told is not None:
                answered.append(told)
    curves = [made.curve for made in attempts if made.curve is not None]
    answers = answered or [
        made.answers(candidate, rounds_of(curves[:n] + curves[n + 1 :] or curves))
        for n, made in enumerate(attempts)
    ]
    y = candidate.rows.y
    scores = [candidate.score(y[made.part.held], told) for made, told in zip(attempts, answers, strict=True)]
    return Validated(
        scores=[score for score in scores if score is not None],
        train=np.concatenate([made.part.held for made in attempts]),
        oof=np.concatenate(answers),
        fold=np.repeat(np.arange(len(attempts)), [len(made.part.held) for made in attempts]),
        rounds=rounds_of(curves) if curves else None,
        seconds=float(np.mean(spent)),
        folds=len(attempts),
        only=attempts[0].pipeline() if len(attempts) == 1 and not curves else None,
    )


def with_threshold(candidate: Candidate, found: Validated) -> tuple[float | None, list[float]]:
    """The threshold that pays, and the scores with it: each fold's rows judged by what the others ask for.

    None and the scores as they were where the metric does not depend on it, or none pays across folds.
    """
    metric, labels = candidate.plan.metric, candidate.rows.labels
    if labels is None or not threshold.tuned(metric, labels) or found.folds < 2:
        return None, found.scores
    truth, second = candidate.rows.y[found.train], found.oof[:, 1]
    crossed = threshold.crossed(metric, truth, second, found.fold, labels)
    scores = [
        candidate.score(truth[found.fold == number], found.oof[found.fold == number], chosen)
        for number, chosen in enumerate(crossed)
    ]
    known = [score for score in scores if score is not None]
    if len(known) < len(found.scores) or np.mean(known) <= np.mean(found.scores):
        return None, found.scores
    chosen = threshold.best(metric, truth, second, labels)
    return (None, found.scores) if chosen == 0.5 else (chosen, known)
