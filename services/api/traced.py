"""A request as a span, by OpenTelemetry's conventions for HTTP servers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from litestar.types import Scope

from shared import tracing
from shared.tracing import NO_SPAN, Span

UNTRACED = ("/health/", "/metrics", "/schema", "/assets/")
"""Asked for all the time, and about nothing that takes time."""
IDS = ("task_id", "file_id", "model_id", "key_id")

_NOTHING = nullcontext(NO_SPAN)


def request_span(scope: Scope, method: str, request_id: str) -> AbstractContextManager[Span]:
    """Below the caller's own span, where it sends one (`traceparent`). Whether that decides what is kept,
    OTEL_TRACES_SAMPLER says."""
    if not tracing.tracing() or scope["path"].startswith(UNTRACED):
        return _NOTHING
    given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return tracing.span(
        method,
        kind="server",
        parent=given.decode("latin-1"),
        attributes={
            "http.request.method": method,
            "url.scheme": scope["scheme"],
            "url.path": scope["path"],
            "trainyard.request_id": request_id,
        },
    )


def answered(span: Span, scope: Scope, method: str, route: str, status: int) -> None:
    """What is known of a request only after it: its route, whose it was, what came of it."""
    if span is NO_SPAN:
        return
    if route != "none":
        span.rename(f"{method} {route}")
        span.set({"http.route": route})
    user = scope.get("user")
    span.set(
        {f"trainyard.{name}": value for name, value in scope.get("path_params", {}).items() if name in IDS}
        | {"http.response.status_code": status or None, "user.id": getattr(user, "user_id", None)}
    )
    if status >= 500 or not status:
        span.failed(str(status or "cut off"))
