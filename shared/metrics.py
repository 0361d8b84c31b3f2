"""Prometheus metrics, and the small HTTP server that shows a worker's. docs/observability.md lists them.

Labels have few values each, all of them ours: kinds, models and steps that the code names, templates of
routes. Nothing that a user typed or that an id makes unique is ever a label.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.aiohttp import make_aiohttp_handler

from shared.contracts.states import JobKind

disable_created_metrics()
"""When each series began, which nobody asks for, would be one more for each of them."""

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WORK_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
WAIT_S = (*LATENCY_S, 120, 300, 600, 1800, 3600)
MEMORY_BYTES = tuple(round(2 ** (half / 2)) for half in range(52, 71))
"""64 MiB to 32 GiB: a step's libraries alone are some 300 MB, so powers of two would tell them all alike."""

OUTCOMES = ("done", "given_up", "retried", "waiting", "lease_lost", "handed_over")
"""How an attempt at a job may end (`shared.observing.Attempt`)."""

# --- what this process does -----------------------------------------------------------------------

JOBS = Counter("trainyard_jobs", "Jobs by how their attempt ended", ["kind", "outcome"])
JOB_SECONDS = Histogram(
    "trainyard_job_seconds", "Seconds from a job's claim to its end", ["kind"], buckets=WORK_S
)
WAIT_SECONDS = Histogram(
    "trainyard_job_wait_seconds",
    "Seconds from when a job could have been done to its first claim",
    ["kind"],
    buckets=WAIT_S,
)
GAVE_UP = Counter("trainyard_jobs_given_up", "Jobs that ended with a reason instead of a result", ["kind"])
TAKEOVERS = Counter("trainyard_takeovers", "Jobs claimed after an attempt that did not end", ["kind"])
RUNNING = Gauge("trainyard_jobs_running", "Jobs this process runs now", ["kind"])
SLOTS = Gauge("trainyard_slots", "Jobs this process can run at once: heavy ones, and any", ["weight"])
SWEPT = Gauge("trainyard_last_sweep_timestamp_seconds", "When this process last swept to the end")
LEFT_TO_SWEEP = Counter("trainyard_messages_left_to_sweep", "Messages that Redis did not take")

CANDIDATES = Counter("trainyard_candidates", "Candidates by outcome", ["model_name", "outcome"])
FIT_SECONDS = Histogram(
    "trainyard_fit_seconds",
    "Seconds of each step of a candidate: validation, search and fit; choosing or combining an ensemble",
    ["model_name", "outcome"],
    buckets=WORK_S,
)
STEPS = Counter("trainyard_steps", "Steps in processes of their own, by how they ended", ["step", "outcome"])
STEP_BYTES = Histogram(
    "trainyard_step_peak_bytes",
    "The most memory that a step's first process held, libraries included",
    ["step"],
    buckets=MEMORY_BYTES,
)
BUNDLE_BYTES = Counter("trainyard_bundle_bytes", "Bytes of ZIPs built")
DISK_FULL = Counter("trainyard_disk_full", "Times that there was no room left on a disk", ["where"])
DISK_FREE = Gauge(
    "trainyard_disk_free_bytes", "Left on the disk of a trainer's decoded tables and fits", ["where"]
)
SANDBOX = Gauge("trainyard_sandbox", "Layers that fits are kept in with: 1 holds, 0 is missing", ["layer"])
ARTIFACTS_REFUSED = Counter(
    "trainyard_artifacts_refused", "Models neither opened nor copied, for want of a signature", ["kind"]
)

STORE_SECONDS = Histogram(
    "trainyard_store_seconds",
    "Seconds from a request to the object store to its answer's head, retries included",
    ["operation", "outcome"],
    buckets=LATENCY_S,
)
DB_CONNECTIONS = Gauge("trainyard_db_connections", "Connections of this process to Postgres", ["state"])
TRAIL_MONTHS = Gauge(
    "trainyard_audit_months_ahead", "Months to come that the audit trail has a partition for"
)
TRAIL_UNPLACED = Gauge("trainyard_audit_unplaced_rows", "Rows of the audit trail that are in no month")

# --- the whole installation, as this process last saw it --------------------------------------------

QUEUE_DEPTH = Gauge("trainyard_queue_depth", "Jobs that wait, in the whole installation", ["kind"])
QUEUE_DELAYED = Gauge("trainyard_queue_delayed", "Jobs to be done later, in the whole installation", ["kind"])
QUEUE_RUNNING = Gauge("trainyard_queue_running", "Jobs under way, in the whole installation", ["kind"])
QUEUE_AGE = Gauge(
    "trainyard_queue_oldest_seconds", "How long the oldest job that waits could have been done", ["kind"]
)


def begin_at_zero(kinds: Iterable[JobKind]) -> None:
    """Show what this process counts of these kinds before it has happened: of a counter that is born at 1
    Prometheus sees no increase, so that the first take-over or refused model would alert nobody."""
    DISK_FULL.labels("postgres")
    for kind in kinds:
        RUNNING.labels(kind)
        for counter in (GAVE_UP, TAKEOVERS, ARTIFACTS_REFUSED):
            counter.labels(kind)
        for outcome in OUTCOMES:
            JOBS.labels(kind, outcome)


def show_backlog(rows: Iterable[Any] | None) -> None:
    """What `shared.db.backlog` found; None where it could not look: then there are no figures, rather than
    old ones that look like new."""
    if rows is None:
        for gauge in (QUEUE_DEPTH, QUEUE_DELAYED, QUEUE_RUNNING, QUEUE_AGE):
            gauge.clear()
        return
    found = {row["kind"]: row for row in rows}
    for kind in JobKind:
        row = found.get(kind) or {"waiting": 0, "delayed": 0, "running": 0, "oldest_s": 0}
        QUEUE_DEPTH.labels(kind).set(row["waiting"])
        QUEUE_DELAYED.labels(kind).set(row["delayed"])
        QUEUE_RUNNING.labels(kind).set(row["running"])
        QUEUE_AGE.labels(kind).set(row["oldest_s"])


def show_connections(pool: Any) -> None:
    """Have the pool's connections counted whenever somebody asks for the metrics. Where as many are open as
    there may be and none is idle, work waits for one."""
    DB_CONNECTIONS.labels("limit").set_function(pool.get_max_size)
    DB_CONNECTIONS.labels("open").set_function(pool.get_size)
    DB_CONNECTIONS.labels("idle").set_function(pool.get_idle_size)


@contextlib.asynccontextmanager
async def serve(host: str, port: int, *, ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """`/metrics`, `/health/live` and `/health/ready` (503 until `ready`) on `port`; nothing where it is 0."""
    if not port:
        yield
        return

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def is_ready(_request: web.Request) -> web.Response:
        good = await ready()
        return web.json_response({"status": "ok" if good else "unavailable"}, status=200 if good else 503)

    async def hide_server(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)

    app = web.Application()
    app.on_response_prepare.append(hide_server)
    app.router.add_get("/metrics", make_aiohttp_handler())
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", is_ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    try:
        yield
    finally:
        await runner.cleanup()
