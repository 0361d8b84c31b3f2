"""A run's history, from what the database has of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from services.api.run_log import entries
from shared.contracts.accounts import AuditAction
from shared.contracts.states import Stage, TaskStatus, TaskType, uuid7
from shared.contracts.training import LogEntry, Task, TrainRequest

BEGAN = dt.datetime(2026, 3, 14, 9, 26, 53, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=seconds)


def task(**fields: Any) -> Task:
    made = Task(
        task_id=uuid7(),
        name="iris",
        status=TaskStatus.RUNNING,
        target="species",
        progress=0.5,
        stage=Stage.FITTING,
        message="Training models",
        candidates=[],
        warnings=[],
        request=TrainRequest(file_id=uuid7(), target="species"),
        created_at=at(0),
        version=3,
        task_type=TaskType.CLASSIFICATION,
        metric="accuracy",
    )
    return msgspec.structs.replace(made, **fields)


def candidate(**fields: Any) -> dict[str, Any]:
    return {
        "model_name": "ridge",
        "label": "Ridge",
        "status": "queued",
        "attempt": 1,
        "cv_mean": None,
        "fit_seconds": None,
        "reason": None,
        "started_at": None,
        "finished_at": None,
    } | fields


def told(found: list[LogEntry]) -> list[tuple[float, str]]:
    return [((entry.at - BEGAN).total_seconds(), entry.message) for entry in found]


def test_a_run_that_waits_was_asked_for() -> None:
    assert told(entries(task(status=TaskStatus.QUEUED), [candidate()], [])) == [(0, "Asked for")]


def test_everything_is_told_in_the_order_of_time() -> None:
    rows = [
        candidate(status="done", cv_mean=0.96666, fit_seconds=1.2345, started_at=at(2), finished_at=at(6)),
        candidate(label="MLP", status="failed", reason="out of memory", started_at=at(3), finished_at=at(5)),
        candidate(label="XGBoost", status="skipped", reason="no time left", finished_at=at(7)),
        candidate(label="LightGBM", status="running", attempt=2, started_at=at(4)),
    ]
    ended = task(status=TaskStatus.COMPLETED, message="1 of 4 models", started_at=at(1), finished_at=at(8))
    assert told(entries(ended, rows, [])) == [
        (0, "Asked for"),
        (1, "A trainer began"),
        (2, "Ridge began"),
        (3, "MLP began"),
        (4, "LightGBM began, for the 2nd time"),
        (5, "MLP failed: out of memory"),
        (6, "Ridge is done: accuracy 0.9667 in 1.2 s"),
        (7, "XGBoost was left out: no time left"),
        (8, "1 of 4 models"),
    ]


@pytest.mark.parametrize(
    ("score", "seconds", "said"),
    [
        (0.5, 0.0062, "rmse 0.5 in 6 ms"),
        (48213.77, 75.04, "rmse 48,214 in 75.0 s"),
        (-3.14159, 0.0, "rmse -3.142 in 0 ms"),
        (2e-9, 1234.5, "rmse 2e-09 in 1,234.5 s"),
    ],
)
def test_figures_are_as_long_as_they_are_worth(score: float, seconds: float, said: str) -> None:
    row = candidate(status="done", cv_mean=score, fit_seconds=seconds, started_at=at(1), finished_at=at(2))
    assert entries(task(metric="rmse"), [row], [])[-1].message == f"Ridge is done: {said}"


def test_a_model_is_named_where_it_is_about_one() -> None:
    found = entries(task(), [candidate(status="running", started_at=at(1))], [])
    assert [entry.model_name for entry in found] == [msgspec.UNSET, "ridge"]


def test_cancelling_and_going_on_are_told() -> None:
    deeds = [
        {"at": at(5), "action": str(AuditAction.RUN_RESUMED)},
        {"at": at(2), "action": str(AuditAction.RUN_CANCELLED)},
    ]
    found = told(entries(task(started_at=at(6)), [], deeds))
    assert [seconds for seconds, _ in found] == [0, 2, 5, 6]
    assert found[1][1].startswith("Cancelling")
    assert found[2][1].startswith("Going on")
