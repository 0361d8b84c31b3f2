"""What happened to a run, put together from its row, its candidates' and the audit's. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.contracts.accounts import AuditAction
from shared.contracts.states import TERMINAL, CandidateStatus
from shared.contracts.training import LogEntry, Task

MOST_DEEDS = 200
"""Of somebody who cancels and resumes all day, the newest."""

_DEEDS = {
    AuditAction.RUN_CANCELLED: "Cancelling was asked for",
    AuditAction.RUN_RESUMED: "Going on was asked for: what is done stays",
}


def entries(
    task: Task, candidates: Sequence[Mapping[str, Any]], deeds: Sequence[Mapping[str, Any]]
) -> list[LogEntry]:
    """Oldest first. `candidates`: rows of `candidates.history`; `deeds`: of `audit.of_run`.

    Of a model that was tried more than once, and of a run that was resumed, the database has the times of the
    last time; that there were more is said.
    """
    found = [LogEntry(at=task.created_at, message="Asked for")]
    if task.started_at:
        found.append(LogEntry(at=task.started_at, message="A trainer began"))
    found += [LogEntry(at=deed["at"], message=_DEEDS[deed["action"]]) for deed in deeds]
    for row in candidates:
        found += _of_candidate(row, task.metric or "")
    if task.finished_at and task.status in TERMINAL:
        found.append(LogEntry(at=task.finished_at, message=task.message))
    # at the same moment things happened in the order in which they are put together
    return sorted(found, key=lambda entry: entry.at)


def _of_candidate(row: Mapping[str, Any], metric: str) -> Iterator[LogEntry]:
    label, slug, attempt = row["label"], row["model_name"], row["attempt"]

    def entry(at: dt.datetime, message: str) -> LogEntry:
        return LogEntry(at=at, message=f"{label} {message}", model_name=slug)

    if row["started_at"]:
        again = f", for the {_ordinal(attempt)} time" if attempt > 1 else ""
        yield entry(row["started_at"], f"began{again}")
    if not row["finished_at"]:
        return
    if row["status"] == CandidateStatus.DONE:
        score = f": {metric} {_figure(row['cv_mean'])}" if row["cv_mean"] is not None else ""
        took = f" in {_duration(row['fit_seconds'])}" if row["fit_seconds"] is not None else ""
        yield entry(row["finished_at"], f"is done{score}{took}")
    elif row["status"] in (CandidateStatus.FAILED, CandidateStatus.SKIPPED):
        how = "failed" if row["status"] == CandidateStatus.FAILED else "was left out"
        yield entry(row["finished_at"], f"{how}: {row['reason']}" if row["reason"] else how)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
