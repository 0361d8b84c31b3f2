"""The trainer's `plan`, `fit` and an ensemble's two steps replaced: what takes as long, and goes as wrong, as
a test wants.

What a model does stands in `SCRIPT` beside the decoded tables, which every trainer of the fleet shares:
model name (or "plan") → [function of this module, its arguments]. Whatever is not named there fits at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import msgspec
import psutil

from services.trainer import steps
from services.trainer.outcome import (
    MODEL_FILE,
    PREDICTIONS_FILE,
    Choice,
    Example,
    FitOutcome,
    Member,
    Progress,
)
from shared.contracts.catalogue import ENSEMBLES, METRICS
from shared.contracts.files import Profile
from shared.contracts.results import PlotData
from shared.contracts.training import Plan, TrainRequest

SCRIPT = "script.json"


def fit(
    *,
    table: str,
    plan: Plan,
    model_name: str,
    soft_deadline_s: float,
    threads: int,
    scratch: Path,
    progress: Progress,
    best_so_far: float | None = None,
    **_: Any,
) -> FitOutcome:
    what, *arguments = scripted(table, model_name)
    if what == "train":
        return steps.fit(
            table=table,
            plan=plan,
            model_name=model_name,
            soft_deadline_s=soft_deadline_s,
            threads=threads,
            scratch=scratch,
            progress=progress,
            best_so_far=best_so_far,
        )
    padding = ACTS[what](progress, *arguments) or 0
    if not set(ENSEMBLES).isdisjoint(plan.models):
        (scratch / PREDICTIONS_FILE).write_bytes(os.urandom(1_000))
    return outcome(plan, model_name, scratch, padding)


def choose(*, members: list[Member], scratch: Path, progress: Progress, **_: Any) -> Choice:
    return Choice(weights={member.slug: 1 / len(members) for member in members})


def combine(
    *,
    table: str,
    plan: Plan,
    model_name: str,
    members: list[Member],
    scratch: Path,
    progress: Progress,
    **_: Any,
) -> FitOutcome:
    what, *arguments = scripted(table, model_name)
    for member in members:
        assert joblib.load(member.model)["model"] == member.slug
    return outcome(plan, model_name, scratch, ACTS[what](progress, *arguments) or 0)


def plan(
    *,
    table: str,
    request: TrainRequest,
    profile: Profile,
    scratch: Path,
    progress: Progress,
    **_: Any,
) -> Plan:
    what, *arguments = scripted(table, "plan")
    ACTS[what](progress, *arguments)
    # these trainers have a guard for fits that import nothing: for a real one it is too small
    return steps.plan(table=table, request=request, profile=profile, scratch=scratch, progress=progress)


def scripted(table: str, name: str) -> list[Any]:
    """What the script has under a name: what to do, and its arguments."""
    path = Path(table).parents[2] / SCRIPT  # the table is a link in a folder of this trainer's folder
    script: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    what: list[Any] = script.get(name, ["sleep", 0])
    return what


def outcome(plan: Plan, model_name: str, scratch: Path, padding: int) -> FitOutcome:
    """What a fit hands back, a pickle of `padding` more bytes included."""
    joblib.dump({"model": model_name, "padding": os.urandom(padding)}, scratch / MODEL_FILE)
    return FitOutcome(
        cv_mean=0.5,
        cv_std=0.1,
        metrics=dict.fromkeys(METRICS[plan.task_type], 0.5),
        fit_seconds=0.01,
        predict_ms_per_row=0.1,
        packages=["scikit-learn==1.9.0"],
        example=Example(rows=[{"x": 1}], predictions=["a"]),
        plots=[PlotData(model_name=model_name, kind="confusion_matrix", data={}, svg="<svg/>")],
    )


def sleep(progress: Progress, seconds: float, padding: int = 0) -> int:
    """Take so long, leave so large a pickle."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(0.1, left))
        progress(1 - left / seconds, "Fitting")
    return padding


def eat(_progress: Progress) -> None:
    """Take memory until there is none."""
    kept = []
    while True:
        kept.append(b"x" * 2**26)


def forever(_progress: Progress) -> None:
    while True:
        pass


def family(_progress: Progress) -> None:
    """Work for ever, and so do two processes more."""
    leave_children(_progress)
    forever(_progress)


def abort(_progress: Progress) -> None:
    os.abort()


def leave_children(_progress: Progress) -> None:
    """Start processes that work on for ever, one of them in a session of its own, and end well."""
    for detached in (False, True):
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=detached)


def chatter(_progress: Progress, mebibytes: int) -> None:
    block = b"x" * 2**20
    for _ in range(mebibytes):
        os.write(1, block)


def poison(_progress: Progress, after_s: float) -> None:
    """Kill the trainer: this process's parent's parent."""
    time.sleep(after_s)
    server = psutil.Process().parent()
    trainer = server.parent() if server else None
    assert trainer is not None and "tests.chaos.trainer" in trainer.cmdline()
    trainer.send_signal(signal.SIGKILL)
    time.sleep(60)


ACTS = {act.__name__: act for act in (sleep, eat, forever, family, abort, leave_children, chatter, poison)}
