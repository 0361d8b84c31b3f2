"""What is said of a job while a worker has it: in every line of the log, in the metrics, in its trace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from msgspec import Struct

from shared import tracing
from shared.db.jobs import Job
from shared.metrics import JOB_SECONDS, JOBS, RUNNING, TAKEOVERS, WAIT_SECONDS
from shared.queue import QUEUES


class Attempt(Struct):
    """`outcome`: how it ended, of done, given_up, retried, waiting (for what is away), lease_lost,
    handed_over."""

    outcome: str = "handed_over"


def claimed(job: Job, began_ns: int) -> None:
    """It was claimed just now, by a claim that began then (`time.time_ns()`)."""
    if job.tries > 1:
        TAKEOVERS.labels(job.kind).inc()
    else:
        WAIT_SECONDS.labels(job.kind).observe(job.waited_s)
    if tracing.tracing():
        tracing.past(
            f"claim {job.kind}",
            began_ns=began_ns,
            kind="consumer",
            parent=job.traceparent,
            attributes=_attributes(job)
            | {"messaging.operation.type": "receive", "trainyard.waited_s": job.waited_s},
        )


@contextlib.contextmanager
def attempt(job: Job) -> Iterator[Attempt]:
    """Around all that is done for it; whoever does it says how it ended."""
    with (
        structlog.contextvars.bound_contextvars(job=str(job.kind), attempt=job.attempt, **job.ids),
        _span(job) as span,
    ):
        told, began = Attempt(), time.monotonic()
        RUNNING.labels(job.kind).inc()
        try:
            yield told
        finally:
            RUNNING.labels(job.kind).dec()
            JOBS.labels(job.kind, told.outcome).inc()
            JOB_SECONDS.labels(job.kind).observe(time.monotonic() - began)
            span.set({"trainyard.outcome": told.outcome})
            if told.outcome in ("given_up", "retried", "lease_lost"):
                span.failed(told.outcome)


@contextlib.contextmanager
def goes_back(name: str, row: Mapping[str, Any]) -> Iterator[None]:
    """Around what a sweep does to a run (`task_id, user_id, request_id, traceparent`) somebody asked for:
    what it asks for goes back to the same request, and its trace goes on."""
    ids = {key: str(row[key]) for key in ("task_id", "user_id", "request_id") if row[key] is not None}
    attributes = {f"trainyard.{key}": value for key, value in ids.items()}
    with (
        structlog.contextvars.bound_contextvars(**ids),
        tracing.span(name, parent=row["traceparent"], attributes=attributes),
    ):
        yield


@contextlib.contextmanager
def _span(job: Job) -> Iterator[tracing.Span]:
    """Below whoever asked for the job; its trace's id stands in the log."""
    if not tracing.tracing():
        yield tracing.NO_SPAN
        return
    given = _attributes(job) | {"messaging.operation.type": "process"}
    with tracing.span(str(job.kind), kind="consumer", parent=job.traceparent, attributes=given) as span:
        with structlog.contextvars.bound_contextvars(trace_id=span.trace_id):
            yield span


def _attributes(job: Job) -> dict[str, object]:
    """Names of OpenTelemetry's conventions for messaging where there are such."""
    return {f"trainyard.{name}": value for name, value in job.ids.items()} | {
        "messaging.system": "trainyard",
        "messaging.destination.name": QUEUES[job.kind],
        "messaging.message.id": str(job.id),
        "trainyard.job": str(job.kind),
        "trainyard.attempt": job.attempt,
        "trainyard.tries": job.tries,
    }
