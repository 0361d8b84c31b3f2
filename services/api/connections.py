"""What one connection may cost: a head or a body that never ends or never moves, and too many at once.

uvicorn's protocol over httptools bounds none of it: it collects headers for as long as they come, waits for
the rest of a request without end, and goes on reading a body whose answer was given long ago. A proxy in
front may bound it too; nothing here relies on one.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, ClassVar, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.contracts.problems import Problem
from shared.settings import Http

CHECK_EVERY_S = 1.0
LINGER_S = 2.0
"""How long the rest of a body is read and dropped after its answer: closed at once, a client that still
sends would be told of a broken connection instead of the answer."""
OTHER_FILES = 256
"""Open files that are no client's: the database, Redis, the store, the process's own."""

_SLUGS = {
    400: ("malformed-request", "The request could not be read", "This is no HTTP request"),
    408: ("request-timeout", "The request came too slowly", "The rest of the request did not come in time"),
    431: ("head-too-large", "The headers are too large", "The first line and the headers are over the limit"),
    503: ("overloaded", "Too many connections", "Every connection is in use; try again shortly"),
}


class Guarded(HttpToolsProtocol):
    """A connection that is looked at once a second (`check`). `limits` is set by `guarded`."""

    limits: ClassVar[Http]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.heard = self.loop.time()
        """When anything last came, or was last not waited for."""
        self.head_since: float | None = self.heard
        """Since when a request's head is not complete; None while none has begun, or it is."""
        self.head_bytes = 0
        self.body_since: float | None = None
        self.body_bytes = 0
        self._answered_at: float | None = None
        self._unread = (0, self.heard)
        self._refused = False
        if len(self.connections) > self.limits.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self.heard = self.loop.time()
        began = self.head_since is not None
        super().data_received(data)
        if began and self.head_since is not None:
            self.head_bytes += len(data)
            if self.head_bytes > self.limits.max_head_bytes:
                self.refuse(431)

    # --- what the parser finds --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.head_since is None:
            self.head_since, self.head_bytes = self.heard, 0

    def on_headers_complete(self) -> None:
        self.head_since = None
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.max_head_bytes:
            self.refuse(431)
            raise ValueError("the head is too large")  # ends the parsing of what came with it
        super().on_headers_complete()
        self.body_since, self.body_bytes, self._answered_at = self.heard, 0, None

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.body_since = None
        super().on_message_complete()

    # --- ending it --------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End the connection where a limit of time is over."""
        if self.transport.is_closing():
            return
        if self.head_since is not None and now - self.head_since > self.limits.head_timeout_s:
            self.refuse(408)
        elif self.body_since is not None:
            self._check_body(now)
        if self.flow.write_paused:
            self._check_reader(now)

    def _check_body(self, now: float) -> None:
        assert self.body_since is not None
        if self.cycle.response_complete:
            self._answered_at = self._answered_at or now
            if now - self._answered_at > LINGER_S:
                self.transport.abort()
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is us who are slow
            self.body_since += now - self.heard
            self.heard = now
        else:
            behind = now - self.body_since - self.body_bytes / max(1, self.limits.min_body_rate)
            if max(behind, now - self.heard) > self.limits.body_timeout_s:
                self.refuse(408)

    def _check_reader(self, now: float) -> None:
        """Of an answer that nobody reads."""
        waiting = self.transport.get_write_buffer_size()
        if waiting != self._unread[0]:
            self._unread = (waiting, now)
        elif now - self._unread[1] > self.limits.body_timeout_s:
            self.transport.abort()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self.transport.is_closing() and self._under_way() is None

    def _under_way(self) -> RequestResponseCycle | None:
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def _make_room(self) -> None:
        all_of_them = cast("set[Guarded]", self.connections)
        idle = [other for other in all_of_them if other is not self and other.idle]
        if idle:
            min(idle, key=lambda other: other.heard).transport.abort()
        else:
            self.refuse(503)

    def refuse(self, status: int) -> None:
        """Close, with an answer where one may still be given and somebody asked."""
        self._refused = True
        cycle = self._under_way()
        if cycle is not None and cycle.response_started:
            self.transport.abort()
            return
        never_asked = status == 408 and cycle is None and not self.head_bytes
        if not never_asked:
            self.transport.write(_answer(status))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            self.refuse(400)


def _answer(status: int) -> bytes:
    slug, title, detail = _SLUGS[status]
    body = msgspec.json.encode(Problem(type=slug, title=title, status=status, detail=detail))
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(["Retry-After: 2"] if status == 503 else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def guarded(limits: Http) -> type[Guarded]:
    """The protocol for uvicorn's `http`, with these limits; fewer connections where files are scarce."""
    most = min(limits.max_connections, _open_files(limits.max_connections + OTHER_FILES) - OTHER_FILES)
    return type(
        "GuardedConnection", (Guarded,), {"limits": msgspec.structs.replace(limits, max_connections=most)}
    )


async def watch(connections: Iterable[Any]) -> None:
    """Check every connection once a second, without end."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        for connection in list(connections):
            connection.check(loop.time())


def _open_files(wanted: int) -> int:
    """How many files the process may have open, after asking for as many as are wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some numbers below its hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
