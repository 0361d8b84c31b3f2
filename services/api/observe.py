"""Around every request, found route or not: its id, its span, its metrics, the headers of answers."""

from __future__ import annotations

import functools
import logging
import re
import time
import uuid
from collections.abc import Callable

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram
from structlog.contextvars import bind_contextvars, clear_contextvars

from services.api.headers import secured
from services.api.problems import PROBLEM_JSON, as_problem
from services.api.throttle import rate_headers, rate_of
from services.api.traced import answered, request_span
from shared.errors import TrainyardError

log = structlog.get_logger("services.api.access")
_access = logging.getLogger("services.api.access")

REQUESTS = Counter("trainyard_http_requests", "Requests by route and status", ["method", "route", "status"])
SECONDS = Histogram(
    "trainyard_http_request_seconds",
    "Seconds from a request's first byte to the end of its answer, long polls included",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def observe(app: ASGIApp) -> ASGIApp:
    """Wrap the whole application, so that a 404 for no route is seen like everything else."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = _request_id(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        began = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = secured(message.get("headers", ()), https=scope["scheme"] == "https")
                headers.append((b"x-request-id", request_id.encode()))
                if (rate := rate_of(scope)) is not None:
                    headers += rate_headers(rate)
                message["headers"] = headers
            await send(message)

        clear_contextvars()  # each request has a task of its own: nothing is to be put back
        bind_contextvars(request_id=request_id)
        with request_span(scope, method, request_id) as span:
            if span.trace_id is not None:
                bind_contextvars(trace_id=span.trace_id)
            try:
                await app(scope, receive, send_with_headers)
            except Exception:
                if status:  # it has begun to answer: the connection is cut, which says that it is not whole
                    raise
                log.exception("request failed while its failure was answered")
                await _give_up(scope["path"], send_with_headers)
            finally:
                # the template, never the path: ids would make a time series each
                route = str(scope.get("path_template") or "none")
                took = time.perf_counter() - began
                _count(method, route, status, took)
                answered(span, scope, method, route, status)
                # putting a line together costs, even one that is not written
                if _access.isEnabledFor(logging.DEBUG):
                    log.debug(
                        "answered", method=method, path=scope["path"], status=status, seconds=round(took, 4)
                    )

    return observed


async def _give_up(path: str, send: Send) -> None:
    """Whatever broke, even the answering of errors: a problem like every other."""
    body = msgspec.json.encode(as_problem(TrainyardError(), path))
    headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@functools.cache
def _series(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    """Looking a series up by its labels costs more than counting; there are only so many of them."""
    return REQUESTS.labels(method, route, status).inc, SECONDS.labels(method, route).observe


def _count(method: str, route: str, status: int, seconds: float) -> None:
    inc, observe_seconds = _series(method, route, status)
    inc()
    observe_seconds(seconds)


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is a plain one: it goes into logs and back out."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(given := value.decode("latin-1")):
            return given
    return str(uuid.uuid4())
