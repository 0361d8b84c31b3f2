"""A task as it is shown: the columns read for it, and what is derived from them.

Polls of status are the most frequent thing anybody asks, so the candidates come as records, which cost
half of what JSON does on either side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from shared import leaderboard, needs
from shared.contracts.catalogue import ENSEMBLES
from shared.contracts.problems import Notice, Problem
from shared.contracts.states import CandidateStatus, Stage, TaskStatus, TaskType
from shared.contracts.training import Best, Candidate, Task
from shared.db.candidates import leaderboard_row

COLUMNS = """
    t.id, t.name, t.target, t.status, t.stage, t.message, t.request, t.warnings, t.error, t.version,
    t.created_at, t.started_at, t.finished_at, t.task_type, t.metric, now() AS read_at,
    ARRAY(SELECT ROW(c.model_name, c.label, c.status, c.attempt, c.cv_mean, c.cv_std, c.fit_seconds, c.reason,
            c.progress, c.started_at, c.finished_at)
        FROM trainyard.candidates c WHERE c.task_id = t.id ORDER BY c.position) AS candidates
"""
"""Of `trainyard.tasks t`."""

_SHARE = {
    Stage.QUEUED: 0.0,
    Stage.PROFILING: 0.02,
    Stage.FITTING: 0.05,
    Stage.ENSEMBLING: 0.93,
    Stage.FINISHING: 0.96,
}
_WITHIN = {Stage.FITTING: 0.88, Stage.ENSEMBLING: 0.03}
"""What of the whole its candidates are, in the stages that have some."""
_OPEN = ("queued", "running")

_STAGES = {str(stage): stage for stage in Stage}
_STATUSES = {str(status): status for status in TaskStatus}
_CANDIDATE_STATUSES = {str(status): status for status in CandidateStatus}


class _Row(NamedTuple):
    """What `COLUMNS` reads of a candidate."""

    model_name: str
    label: str
    status: str
    attempt: int
    cv_mean: float | None
    cv_std: float | None
    fit_seconds: float | None
    reason: str | None
    progress: float
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


def task_from_row(row: Any) -> Task:
    """A row of `COLUMNS` as the contract's `Task`, with progress, time left and best derived."""
    rows = [_Row._make(record) for record in row["candidates"]]
    stage, status = _STAGES[row["stage"]], _STATUSES[row["status"]]
    task = Task(
        task_id=row["id"],
        name=row["name"],
        status=status,
        target=row["target"],
        progress=_progress(stage, rows),
        stage=stage,
        message=row["message"],
        candidates=[_candidate(c) for c in rows],
        warnings=msgspec.convert(row["warnings"], list[Notice]) if row["warnings"] else [],
        request=needs.stored(row["request"]),
        created_at=row["created_at"],
        version=row["version"],
    )
    if row["task_type"] is not None:
        task.task_type = TaskType(row["task_type"])
        task.metric = row["metric"]
        task.best = _best(rows, task.task_type, row["metric"]) or UNSET
    if row["error"] is not None:
        task.error = msgspec.convert(row["error"], Problem)
    if row["started_at"] is not None:
        task.started_at = row["started_at"]
    if row["finished_at"] is not None:
        task.finished_at = row["finished_at"]
    if status is TaskStatus.RUNNING and stage is Stage.FITTING:
        # what is made of them takes little beside them
        task.eta_seconds = _eta([c for c in rows if c.model_name not in ENSEMBLES], row["read_at"])
    return task


def _progress(stage: Stage, rows: Sequence[_Row]) -> float:
    if stage is Stage.DONE:
        return 1.0
    ended = [
        c.progress if c.status in _OPEN else 1.0
        for c in rows
        if (c.model_name in ENSEMBLES) == (stage is Stage.ENSEMBLING)
    ]
    share = _SHARE[stage]
    if stage in _WITHIN and ended:
        share += _WITHIN[stage] * sum(ended) / len(ended)
    return round(share, 4)


def _candidate(row: _Row) -> Candidate:
    return Candidate(
        model_name=row.model_name,
        label=row.label,
        status=_CANDIDATE_STATUSES[row.status],
        attempt=row.attempt,
        score=UNSET if row.cv_mean is None else row.cv_mean,
        fit_seconds=UNSET if row.fit_seconds is None else row.fit_seconds,
        reason=UNSET if row.reason is None else row.reason,
    )


def _eta(rows: Sequence[_Row], now: dt.datetime) -> float | msgspec.UnsetType:
    """Seconds left, from the time that the finished candidates took and those under way."""

    def elapsed(row: _Row) -> float:
        return ((row.finished_at or now) - row.started_at).total_seconds() if row.started_at else 0.0

    ended = [seconds for row in rows if row.status == "done" and (seconds := elapsed(row))]
    if not ended:
        return UNSET
    mean = sum(ended) / len(ended)
    running = [row for row in rows if row.status == "running"]
    left = sum(max(mean - elapsed(row), 0.1 * mean) for row in running)
    left += mean * sum(row.status == "queued" for row in rows)
    return round(left / max(len(running), 1), 1)


def _best(rows: Sequence[_Row], task_type: TaskType, metric: str) -> Best | None:
    """The first of the leaderboard as it stands."""
    done = [leaderboard_row(row._asdict()) for row in rows if row.status == "done"]
    if not done:
        return None
    top = leaderboard.best(leaderboard.rank(done, metric, task_type))
    if top is None or top.cv_mean is None:
        return None
    return Best(model_name=top.model_name, label=top.label, metric=metric, score=top.cv_mean)
