"""A training request, the run that it becomes, and what was decided for it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from shared.contracts.problems import Notice, Problem
from shared.contracts.states import CandidateStatus, Stage, TaskStatus, TaskType


class TrainRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /ml/train`; only `file_id` and `target` are required."""

    file_id: Annotated[uuid.UUID, Meta(description="The table")]
    target: Annotated[str, Meta(min_length=1, max_length=1000, description="The column to be predicted")]
    task_type: Annotated[
        Literal["auto", "classification", "regression", "time_series"],
        Meta(description="`auto` decides by the target and the time column"),
    ] = "auto"
    models: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=50)] | None,
        Meta(description="Slugs or labels of `GET /ml/models`; null for all of the task type's defaults"),
    ] = None
    metric: Annotated[
        str | None,
        Meta(description="What decides the rank; null for accuracy, r2 or mase"),
    ] = None
    time_budget_s: Annotated[
        float, Meta(ge=1, le=86_400, description="Seconds from `running` to the end, over all trainers")
    ] = 300
    test_size: Annotated[float, Meta(gt=0, lt=1, description="Share of rows that no scored fit sees")] = 0.2
    cv_folds: Annotated[int, Meta(ge=2, le=20, description="Folds, or backtests of a time series")] = 5
    refit: Annotated[bool, Meta(description="Hand over models that were fitted again, on all rows")] = True
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="The same seed splits and fits alike")] = 0
    exclude_columns: Annotated[list[str], Meta(max_length=10_000, description="Not to be looked at")] = []
    group_column: Annotated[
        str | None, Meta(description="Rows of one group stay on one side of every split")
    ] = None
    time_column: Annotated[str | None, Meta(description="A time series' times")] = None
    series_column: Annotated[str | None, Meta(description="Which of several time series a row is of")] = None
    horizon: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        Meta(description="Steps to forecast; null for two seasons or a tenth of the series"),
    ] = None
    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="What the run is called; null for the file's name and the target"),
    ] = None
    on_leakage: Annotated[
        Literal["warn", "drop", "fail"], Meta(description="What to do with columns that give the target away")
    ] = "warn"


class Candidate(Struct, kw_only=True):
    model_name: str
    label: str
    status: CandidateStatus
    attempt: int
    score: float | UnsetType | None = UNSET
    fit_seconds: float | UnsetType | None = UNSET
    reason: str | UnsetType | None = UNSET


class Best(Struct, kw_only=True):
    model_name: str
    label: str
    metric: str
    score: float


class Task(Struct, kw_only=True):
    task_id: uuid.UUID
    name: str
    status: TaskStatus
    target: str
    progress: float
    stage: Stage
    message: str
    candidates: list[Candidate]
    warnings: list[Notice]
    request: TrainRequest
    created_at: dt.datetime
    version: int
    task_type: TaskType | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    queue_position: int | UnsetType = UNSET
    eta_seconds: float | UnsetType = UNSET
    best: Best | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    started_at: dt.datetime | UnsetType = UNSET
    finished_at: dt.datetime | UnsetType = UNSET


class LogEntry(Struct, kw_only=True):
    """What happened to a run; `model_name`: which of its models it happened to."""

    at: dt.datetime
    message: str
    model_name: str | UnsetType = UNSET


class RunLog(Struct, kw_only=True):
    """Oldest first; all of it, for it is as long as the run has models."""

    items: list[LogEntry]


class Plan(Struct, kw_only=True):
    """What `plan` decided for a task; kept on the task's row and handed to every fit.

    `roles` says how each feature column is prepared (numeric | categorical | text | datetime |
    boolean); a column that is in neither `roles` nor a special place (target, time, series, group)
    is left out, and a warning says why. `labels` are the classes in scikit-learn's sorted order.
    `models` holds (slug, label, algorithm) in the order in which they are to be fitted.
    """

    task_type: TaskType
    target: str
    metric: str
    roles: dict[str, str]
    models: list[str]
    rows: int
    test_size: float
    cv_folds: int
    seed: int
    refit: bool
    split_digest: str
    deadline_s: float
    labels: list[str] | None = None
    group_column: str | None = None
    time_column: str | None = None
    series_column: str | None = None
    horizon: int | None = None
    frequency: str | None = None
    season_length: int | None = None
    warnings: list[Notice] = []
    details: dict[str, Any] = {}
