"""A receiver of traces, in a process of its own: `python -m tests.integration.otlp PORT FILE`.

It decodes what OTLP/HTTP brings it (https://opentelemetry.io/docs/specs/otlp/#otlphttp) and appends one line
of JSON a span to FILE. `POST /mood` with `hang` or `fail` makes it do so, anything else makes it well again.
"""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from deploy import ports

HANGS_S = 60
PATIENCE_S = 60


class Got(Struct, frozen=True, kw_only=True):
    """A span as it came. Ids are hexadecimal, times nanoseconds; `parent_id` is empty for a root."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])


class Receiver(NamedTuple):
    url: str
    file: Path

    def spans(self) -> list[Got]:
        """All that have come so far."""
        if not self.file.exists():
            return []
        # the last line may be half written
        return [
            msgspec.json.decode(line, type=Got)
            for line in self.file.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]

    def wait(self, enough: Callable[[list[Got]], bool]) -> list[Got]:
        """All spans, once `enough` of them have come."""
        until = time.monotonic() + PATIENCE_S
        while not enough(found := self.spans()):
            assert time.monotonic() < until, f"did not come: {sorted({span.name for span in found})}"
            time.sleep(0.05)
        return found

    def be(self, mood: str) -> None:
        httpx.post(f"{self.url}/mood", content=mood).raise_for_status()


@contextlib.contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """For as long as the block lasts."""
    (port,) = ports.free(1)
    file = folder / "spans.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.otlp", str(port), str(file)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield Receiver(f"http://127.0.0.1:{port}", file)
    finally:
        process.kill()
        process.wait()


def main(port: int, file: Path) -> None:
    writing, mood = threading.Lock(), [b""]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/mood":
                mood[0] = body
                self.answer(200, b"")
                return
            if mood[0] == b"hang":
                time.sleep(HANGS_S)
            if mood[0] == b"fail":
                self.answer(503, b"")
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path != "/v1/traces" or self.headers["Content-Type"] != "application/x-protobuf":
                self.answer(404, b"")
                return
            with writing, file.open("ab") as lines:
                for span in decoded(body, {"authorization": self.headers.get("Authorization", "")}):
                    lines.write(msgspec.json.encode(span) + b"\n")
            self.answer(200, ExportTraceServiceResponse().SerializeToString())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print("ready", flush=True)
    server.serve_forever()


def decoded(body: bytes, seen: dict[str, str]) -> Iterator[Got]:
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = values(sent.resource.attributes) | seen
        for scope in sent.scope_spans:
            for span in scope.spans:
                yield Got(
                    name=span.name,
                    kind=span.kind,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes=values(span.attributes),
                    resource=resource,
                )


def values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
