"""Load for one server: connections that ask again as soon as they have their answer.

Written to cost less than what it measures: no client library, one callback an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"

Enough = Callable[[int], bool]
"""Whether so many answers are enough."""


def request(url: str, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def per_second(
    url: str, requests: Sequence[bytes], *, status: int, connections: int, seconds: float
) -> float:
    """Answers a second. Raises RuntimeError for one of another status."""
    turns = itertools.cycle(requests)
    until = time.perf_counter() + seconds
    began = time.perf_counter()
    took = await asyncio.gather(
        *(_asked(url, turns, status, lambda done: time.perf_counter() >= until) for _ in range(connections))
    )
    return sum(map(len, took)) / (time.perf_counter() - began)


async def seconds_each(url: str, requests: Sequence[bytes], *, status: int = 200) -> list[float]:
    """The seconds that each of these took, asked one after another on one connection."""
    return await _asked(url, iter(requests), status, lambda done: done == len(requests))


async def _asked(url: str, turns: Iterator[bytes], status: int, enough: Enough) -> list[float]:
    parts = urlsplit(url)
    over: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
    expected = f"HTTP/1.1 {status} ".encode()
    await asyncio.get_running_loop().create_connection(
        lambda: _Asker(turns, expected, enough, over), parts.hostname or "", parts.port or 80
    )
    return await over


class _Asker(asyncio.Protocol):
    """One connection; the answers have a Content-Length or no body."""

    def __init__(
        self, turns: Iterator[bytes], expected: bytes, enough: Enough, over: asyncio.Future[list[float]]
    ) -> None:
        self._turns, self._expected, self._enough, self._over = turns, expected, enough, over
        self._took: list[float] = []
        self._got = b""
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._needed:
            end = self._got.find(HEAD_END)
            if end < 0:
                return
            if not self._got.startswith(self._expected):
                self._fail(RuntimeError(f"unexpected answer: {self._got[:end].splitlines()[0]!r}"))
                return
            self._needed = end + len(HEAD_END) + content_length(self._got[:end])
        if len(self._got) >= self._needed:
            self._took.append(time.perf_counter() - self._asked_at)
            if self._enough(len(self._took)):
                self._over.set_result(self._took)
                self._transport.close()
            else:
                self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the server closed the connection"))

    def _ask(self) -> None:
        self._got, self._needed = b"", 0
        self._asked_at = time.perf_counter()
        self._transport.write(next(self._turns))

    def _fail(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)
            self._transport.close()


def content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
