"""Prometheus metrics that every worker has, and the small HTTP server that shows them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from prometheus_client import Counter, Gauge
from prometheus_client.aiohttp import make_aiohttp_handler

JOBS = Counter("trainyard_jobs", "Jobs by how their attempt ended", ["kind", "outcome"])
GAVE_UP = Counter("trainyard_jobs_given_up", "Jobs that ended with a reason instead of a result", ["kind"])
TAKEOVERS = Counter("trainyard_takeovers", "Jobs claimed after an attempt that did not end", ["kind"])
RUNNING = Gauge("trainyard_jobs_running", "Jobs this process runs now", ["kind"])
CANDIDATES = Counter("trainyard_candidates", "Candidates by outcome", ["model_name", "outcome"])
BUNDLE_BYTES = Counter("trainyard_bundle_bytes", "Bytes of ZIPs built")
DISK_FULL = Counter("trainyard_disk_full", "Times that there was no room left on a disk", ["where"])
DISK_FREE = Gauge("trainyard_disk_free_bytes", "Left on the disk of a trainer's decoded tables and fits")
SANDBOX = Gauge("trainyard_sandbox", "Layers that fits are kept in with: 1 holds, 0 is missing", ["layer"])
ARTIFACTS_REFUSED = Counter(
    "trainyard_artifacts_refused", "Models neither opened nor copied, for want of a signature", ["job"]
)
QUEUE_DEPTH = Gauge("trainyard_queue_depth", "Jobs that wait, in the whole installation", ["kind"])
QUEUE_AGE = Gauge("trainyard_queue_oldest_seconds", "Age of the oldest job that waits", ["kind"])


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
