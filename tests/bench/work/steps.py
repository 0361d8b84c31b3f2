"""The trainer's `fit` with work of a known amount in its place; everything around it is the product's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

from services.trainer.outcome import MODEL_FILE, Example, FitOutcome, Progress
from services.trainer.table_rows import read
from shared.contracts.catalogue import METRICS
from shared.contracts.training import Plan
from tests.bench.work import fits, lengths

MIB = 2**20
WAITING_S = 3.0
WAITING_STEP_S = 0.25


def mixed(*, table: str, plan: Plan, model_name: str, scratch: Path, **_: Any) -> FitOutcome:
    """What the plain script does for this model."""
    return _fitted(table, plan, fits.MIXED[model_name], scratch)


def equal(*, table: str, plan: Plan, scratch: Path, **_: Any) -> FitOutcome:
    """The same forest, whichever model was asked for."""
    return _fitted(table, plan, fits.equal, scratch)


def waiting(*, plan: Plan, scratch: Path, progress: Progress, **_: Any) -> FitOutcome:
    """Takes its time and no core: what is left is the fleet's own doing."""
    return _waited(WAITING_S, plan, scratch, progress)


def known(*, plan: Plan, model_name: str, scratch: Path, progress: Progress, **_: Any) -> FitOutcome:
    """Takes as long as `lengths` says for the run's seed and this model, and no core."""
    return _waited(lengths.of(plan.seed, model_name), plan, scratch, progress)


def _waited(seconds: float, plan: Plan, scratch: Path, progress: Progress) -> FitOutcome:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(WAITING_STEP_S, left))
        progress(1 - left / seconds, "Waiting")
    return quick(plan=plan, scratch=scratch)


def quick(*, plan: Plan, scratch: Path, **_: Any) -> FitOutcome:
    """Nothing but a file."""
    joblib.dump({"model": None}, scratch / MODEL_FILE)
    return _outcome(plan, {"cv_mean": 0.5, "cv_std": 0.1, "accuracy": 0.5}, 0.01)


def large(*, plan: Plan, scratch: Path, progress: Progress, **_: Any) -> FitOutcome:
    """A file of one MiB for each row of the table, of bytes that nothing can squeeze."""
    with (scratch / MODEL_FILE).open("wb") as file:
        for number in range(plan.rows):
            file.write(os.urandom(MIB))
            progress(number / plan.rows, "Writing")
    return _outcome(plan, {"cv_mean": 0.5, "cv_std": 0.1, "accuracy": 0.5}, 0.01)


def _fitted(table: str, plan: Plan, model: Callable[[], Any], scratch: Path) -> FitOutcome:
    began = time.perf_counter()
    rows, _ = read(Path(table), plan)
    frame = rows.features.assign(**{plan.target: rows.y})
    scores = fits.fit(frame, model, scratch / MODEL_FILE)
    return _outcome(plan, scores, time.perf_counter() - began)


def _outcome(plan: Plan, scores: dict[str, float], seconds: float) -> FitOutcome:
    return FitOutcome(
        cv_mean=scores["cv_mean"],
        cv_std=scores["cv_std"],
        metrics=dict.fromkeys(METRICS[plan.task_type], scores["accuracy"]),
        fit_seconds=seconds,
        predict_ms_per_row=0.1,
        packages=["scikit-learn==1.9.0"],
        example=Example(rows=[{"measure_0": 1.0}], predictions=["yes"]),
        plots=[],
    )
