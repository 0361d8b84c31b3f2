"""For operators: health and metrics. Public, and without anything that is a user's."""

from __future__ import annotations

from litestar import MediaType, Response, Router, get
from litestar.di import NamedDependency
from msgspec import Struct
from prometheus_client import generate_latest

from services.api.answers import CACHE_CONTROL, RETRY_AFTER, answer
from services.api.auth import PUBLIC
from services.api.context import Context
from services.api.problems import responses

TEXT_FORMAT = "text/plain; version=0.0.4"
"""Of Prometheus. Litestar adds the charset; named twice, Prometheus 3 takes nothing of the answer."""


class Live(Struct):
    status: str


class Ready(Struct, kw_only=True):
    """Each part is "ok" or says what is wrong; `status` is ok, degraded or unavailable."""

    status: str
    postgres: str
    redis: str
    storage: str


@get("/health/live", summary="Whether the process runs", responses=responses(public=True))
async def get_liveness() -> Live:
    """Looks at nothing else."""
    return Live(status="ok")


@get(
    "/health/ready",
    summary="Whether requests can be answered",
    responses=responses(public=True)
    | {
        200: answer(Ready, "Requests are answered, perhaps not all of them", CACHE_CONTROL),
        503: answer(Ready, "Postgres is away", CACHE_CONTROL, RETRY_AFTER),
    },
)
async def get_readiness(api: NamedDependency[Context]) -> Response[Ready]:
    """503 only where Postgres is away: without Redis or storage most calls still work."""
    found = await api.resources.health()
    # the reason stays in the log: this route is everybody's
    parts = {name: "ok" if verdict == "ok" else "unavailable" for name, verdict in found.items()}
    up = parts["postgres"] == "ok"
    status = "unavailable" if not up else "ok" if set(parts.values()) == {"ok"} else "degraded"
    headers = {"Cache-Control": "no-store"} | ({} if up else {"Retry-After": "2"})
    return Response(Ready(status=status, **parts), status_code=200 if up else 503, headers=headers)


@get(
    "/metrics", media_type=MediaType.TEXT, summary="Metrics for Prometheus", responses=responses(public=True)
)
async def get_metrics(api: NamedDependency[Context]) -> Response[bytes]:
    """Requests by route and status and how long they took; jobs that wait and that are under way in the whole
    installation, which are left out while Postgres is away."""
    await api.backlog.look()
    return Response(generate_latest(), media_type=TEXT_FORMAT)


router = Router(
    path="/",
    route_handlers=[get_liveness, get_readiness, get_metrics],
    opt={PUBLIC: True},
    security=[{}],
    tags=["Operation"],
)
