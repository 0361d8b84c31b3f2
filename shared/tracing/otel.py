"""What `shared.tracing` does where something is traced. Imported only then: nothing else here may need
OpenTelemetry to be installed."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import unquote

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Status, StatusCode

from shared.settings import Tracing, reveal
from shared.tracing import Attributes, Kind, Span

FLUSH_S = 3.0
"""How long the end of a process waits for spans that are not sent yet."""
MOST_PHASES = 100
"""Of one span: what they are called comes from processes that are not trusted."""
LONGEST_VALUE = 1_000
AGAIN_S = 60.0
LOGGERS = (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal")
"""Who tells that spans could not be sent, and that there are too many to keep."""
TRACES = "/v1/traces"

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_PHASE = re.compile(r"[^:\d]{1,60}")


class _NowAndThen(logging.Filter):
    """One line in `AGAIN_S` of each logger: while a receiver is away there would be several a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next.get(record.name, 0.0):
            return False
        self._next[record.name] = record.created + AGAIN_S
        return True


_SELDOM = _NowAndThen()


class Tracer:
    """Makes spans, and has a thread of the SDK's send them."""

    def __init__(self, settings: Tracing, *, service: str, instance: str) -> None:
        exporter = OTLPSpanExporter(
            endpoint=settings.otel_exporter_otlp_endpoint.rstrip("/") + TRACES,
            headers=dict(_pairs(reveal(settings.otel_exporter_otlp_headers))),
            compression=Compression.Gzip,
        )
        names = {"service.name": f"trainyard-{service}", "service.namespace": "trainyard"}
        if instance:
            names["service.instance.id"] = instance
        self._provider = TracerProvider(
            sampler=_sampler(settings),
            resource=Resource.create(names | dict(_pairs(settings.otel_resource_attributes))),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attribute_length=LONGEST_VALUE),
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_SELDOM)  # the same one again is none more
        self._spans = self._provider.get_tracer("trainyard")

    def close(self) -> None:
        """Send what is left. In a thread, for the exporter waits as long as it likes for a receiver that
        hangs; one that takes longer than `FLUSH_S` is left behind."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(FLUSH_S)

    def span(self, name: str, kind: Kind, parent: str | None, attributes: Attributes) -> Block:
        return Block(self._spans, self._start(name, kind, parent, attributes, None))

    def past(self, name: str, kind: Kind, parent: str | None, attributes: Attributes, began_ns: int) -> None:
        self._start(name, kind, parent, attributes, began_ns).end()

    def traceparent(self) -> str | None:
        at = trace.get_current_span().get_span_context()
        if not at.is_valid:
            return None
        return f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"

    def _start(
        self, name: str, kind: Kind, parent: str | None, attributes: Attributes, began_ns: int | None
    ) -> trace.Span:
        return self._spans.start_span(
            name,
            context=context_of(parent),
            kind=trace.SpanKind[kind.upper()],
            attributes=_plain(attributes),
            start_time=began_ns if began_ns is not None else time.time_ns(),
        )


class Block(Span):
    """`with span(…)`: the span, and what is said of it."""

    __slots__ = ("_message", "_of", "_phase", "_phases", "_spans", "_token")

    def __init__(self, spans: trace.Tracer, of: trace.Span) -> None:
        self._spans, self._of = spans, of
        self._phase: trace.Span | None = None
        self._phases = 0
        self._message = ""

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._of))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self.failed(type(error).__name__)
            self._of.set_attribute("error.type", type(error).__name__)
        self._end_phase()
        context.detach(self._token)
        self._of.end()

    @property
    def trace_id(self) -> str | None:
        return f"{self._of.get_span_context().trace_id:032x}"

    def set(self, attributes: Attributes) -> None:
        self._of.set_attributes(_plain(attributes))

    def rename(self, name: str) -> None:
        self._of.update_name(name)

    def failed(self, reason: str) -> None:
        self._of.set_status(Status(StatusCode.ERROR, reason[:LONGEST_VALUE]))

    def phase(self, message: str) -> None:
        words = _PHASE.match(message)
        if message == self._message or words is None or self._phases >= MOST_PHASES:
            return
        self._message, self._phases = message, self._phases + 1
        self._end_phase()
        self._phase = self._spans.start_span(
            words[0].strip(),
            context=trace.set_span_in_context(self._of),
            attributes={"trainyard.message": message},
        )

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._phase.end()
            self._phase = None


def context_of(parent: str | None) -> context.Context | None:
    """None, which is the context around, where `parent` is none or is not what it should be."""
    found = TRACEPARENT.fullmatch(parent) if parent else None
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    at = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(at), context.Context())


def _plain(attributes: Attributes) -> dict[str, str | bool | int | float]:
    return {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in attributes.items()
        if value is not None
    }


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """`name=value,name=value`, percent-encoded, as OpenTelemetry's variables are written."""
    for part in text.split(","):
        name, given, value = part.partition("=")
        if given and name.strip():
            yield unquote(name.strip()), unquote(value.strip())


def _sampler(settings: Tracing) -> Sampler:
    """By OpenTelemetry's own names; those that begin with `parentbased_` do as whoever asked does."""
    named = settings.otel_traces_sampler
    by_name = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.otel_traces_sampler_arg),
    }
    root = by_name[named.removeprefix("parentbased_")]
    return ParentBased(root) if named.startswith("parentbased_") else root
