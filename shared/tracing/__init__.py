"""Traces: OpenTelemetry's spans, sent over OTLP/HTTP to where OTEL_EXPORTER_OTLP_ENDPOINT says.

Without that variable nothing of OpenTelemetry is imported and `span` costs a comparison. With it, a run is
one trace: a job's row carries the span that asked for it as W3C Trace Context writes it
(https://www.w3.org/TR/trace-context/#traceparent-header), and whoever claims the job goes on from there.
Spans carry ids, numbers and names that are ours; tracebacks, which may show a secret, are the log's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from shared.errors import ConfigurationError
from shared.settings import Tracing

if TYPE_CHECKING:
    from shared.tracing.otel import Tracer

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, object]
"""By OpenTelemetry's names where it has one (semantic conventions), else `trainyard.…`; None is left out."""


class Span:
    """What is said of a span while it lasts; this one is of none, where nothing is traced."""

    __slots__ = ()

    @property
    def trace_id(self) -> str | None:
        """As it stands in logs, 32 hexadecimal digits."""
        return None

    def set(self, attributes: Attributes) -> None:
        """More of its attributes."""

    def rename(self, name: str) -> None:
        """Where its name is known only later."""

    def failed(self, reason: str) -> None:
        """It did not do what it was to do."""

    def phase(self, message: str) -> None:
        """From now on until the next phase, or the span's end, this is being done: a span below it, named by
        the words of the message up to the first number or colon."""


NO_SPAN = Span()


class _Nothing:
    """`with span(…)` where nothing is traced; one for all of them, as it is passed on every request."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return NO_SPAN

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()
_tracer: Tracer | None = None
"""While `Exporting` lasts. One a process, as its log is."""


def tracing() -> bool:
    """Whether spans are made here."""
    return _tracer is not None


def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    within: bool = False,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """A span for the time of a `with` block, below `parent` (a traceparent; default: the span around).

    `within`: only where there is a span around. An exception ends it as failed, by its class's name; a
    cancellation does not.
    """
    if _tracer is None or (within and _tracer.traceparent() is None):
        return _NOTHING
    return _tracer.span(name, kind, parent, attributes or {})


def past(
    name: str,
    *,
    began_ns: int,
    kind: Kind = "internal",
    parent: str | None = None,
    attributes: Attributes | None = None,
) -> None:
    """A span for what is just over, and began then (`time.time_ns()`)."""
    if _tracer is not None:
        _tracer.past(name, kind, parent, attributes or {}, began_ns)


def traceparent() -> str | None:
    """The span around, as another process is told of it; None where there is none."""
    return None if _tracer is None else _tracer.traceparent()


class Exporting:
    """Send spans for as long as a `with` block lasts; what is left at its end is given three seconds.
    Nothing, where no endpoint is set.

    `service`: which of ours (`api`, `trainer` …); `instance`: which process of it. A receiver that is away
    costs spans and a line in the log now and then, never work. Raises ConfigurationError where the settings
    make no sense, or OpenTelemetry is not installed.
    """

    def __init__(self, settings: Tracing, *, service: str, instance: str = "") -> None:
        self._tracer = _made(settings, service, instance) if settings.otel_exporter_otlp_endpoint else None

    def __enter__(self) -> Self:
        global _tracer
        _tracer = self._tracer
        return self

    def __exit__(self, *_: object) -> None:
        global _tracer
        _tracer = None
        if self._tracer is not None:
            self._tracer.close()


def _made(settings: Tracing, service: str, instance: str) -> Tracer:
    endpoint = settings.otel_exporter_otlp_endpoint
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        # without its value: an address may have a password in it
        raise ConfigurationError("OTEL_EXPORTER_OTLP_ENDPOINT is not an address of http or https")
    try:
        from shared.tracing.otel import Tracer
    except ImportError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed ({error}): install "
            "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or take the variable away"
        ) from None
    return Tracer(settings, service=service, instance=instance)
