"""Load for one URL: a few connections that ask again as soon as they have their answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit


def request(url: str, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def per_second(
    url: str, requests: Sequence[bytes], *, status: int, connections: int, seconds: float
) -> float:
    """Answers a second. Raises RuntimeError for one of another status."""
    parts = urlsplit(url)
    expected = f"HTTP/1.1 {status} ".encode()
    turns = itertools.cycle(requests)
    until = time.perf_counter() + seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        count = 0
        while time.perf_counter() < until:
            writer.write(next(turns))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(expected):
                raise RuntimeError(f"unexpected answer: {head.splitlines()[0]!r}")
            if length := _length(head):
                await reader.readexactly(length)
            count += 1
        writer.close()
        return count

    began = time.perf_counter()
    counts = await asyncio.gather(*(ask() for _ in range(connections)))
    return sum(counts) / (time.perf_counter() - began)


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
