"""An HTTP proxy in front of a real server that breaks what it is told to break, and passes on the rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BLOCK = 64 * 1024


@dataclass(frozen=True)
class Request:
    """`number` counts the requests of this method and target, from 1."""

    method: str
    target: str
    number: int

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber=" in self.target


@dataclass(frozen=True)
class Answer:
    """Answer with this status instead of asking the server."""

    status: int


@dataclass(frozen=True)
class CutUpload:
    """Cut both connections after so many bytes of the request's body."""

    after: int


@dataclass(frozen=True)
class CutAnswer:
    """Cut the client's connection after so many bytes of the answer's body."""

    after: int


class CorruptUpload:
    """Flip a bit of the request's body."""


class CorruptAnswer:
    """Flip a bit of the answer's body."""


class LoseAnswer:
    """Let the server do it, and cut the connection before its answer."""


@dataclass(frozen=True)
class Disown:
    """Let the server do it, and answer with this status: applied, but reported as failed."""

    status: int


@dataclass(frozen=True)
class Slow:
    """Pass on at most so many bytes a second, either way."""

    bytes_per_s: int


@dataclass(frozen=True)
class Late:
    """Hold the request back for so many seconds, or (`answered`) let the server do it and hold back
    its answer."""

    seconds: float
    answered: bool = False


class Refuse:
    """Cut the connection at once."""


class Stall:
    """Never answer."""


Fault = (
    Answer
    | CutUpload
    | CutAnswer
    | CorruptUpload
    | CorruptAnswer
    | Disown
    | Late
    | LoseAnswer
    | Refuse
    | Slow
    | Stall
)
Rule = Callable[[Request], Fault | None]


@dataclass
class FaultyProxy:
    """`rule` decides on every request; `seen` holds all of them; `url` stands for the server's."""

    url: str
    rule: Rule
    seen: list[Request] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)

    def note(self, method: str, target: str) -> Request:
        self._counts[method, target] += 1
        request = Request(method, target, self._counts[method, target])
        self.seen.append(request)
        return request


@contextlib.asynccontextmanager
async def faulty_proxy(upstream: str, rule: Rule) -> AsyncIterator[FaultyProxy]:
    """A proxy on a free port of 127.0.0.1 for the server at the URL `upstream`."""
    where = urlsplit(upstream)
    open_connections: set[asyncio.Task[None]] = set()
    proxy = FaultyProxy("", rule)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _exchange(proxy, reader, writer, str(where.hostname), int(where.port or 80))
        finally:
            open_connections.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _exchange(
    proxy: FaultyProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """One request and its answer; the connection is closed after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    fault = proxy.rule(proxy.note(method, target))
    if isinstance(fault, Refuse):
        return
    if isinstance(fault, Stall):
        await asyncio.Event().wait()
    if isinstance(fault, Late) and not fault.answered:
        await asyncio.sleep(fault.seconds)
    if isinstance(fault, Answer):
        if "expect" not in headers:
            await reader.readexactly(length)
        await _answer(writer, fault.status)
        return
    up_reader, up_writer = await asyncio.open_connection(host, port)
    try:
        kept = [line for line in lines[:-2] if not line.lower().startswith("connection:")]
        up_writer.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1"))
        upload = asyncio.create_task(_forward(fault, reader, up_writer, length))
        answer = asyncio.create_task(_relay(fault, up_reader, writer))
        await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_EXCEPTION)
        for task in (upload, answer):
            task.cancel()
        await asyncio.gather(upload, answer, return_exceptions=True)
    finally:
        up_writer.close()


async def _answer(writer: asyncio.StreamWriter, status: int) -> None:
    writer.write(f"HTTP/1.1 {status} Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()


async def _forward(
    fault: Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int
) -> None:
    sent = 0
    while sent < length:
        if isinstance(fault, CutUpload) and sent >= fault.after:
            raise ConnectionResetError
        block = await reader.read(min(BLOCK, length - sent))
        if not block:
            raise ConnectionResetError
        if isinstance(fault, CorruptUpload) and sent == 0:
            block = bytes([block[0] ^ 1]) + block[1:]
        writer.write(block)
        await writer.drain()
        sent += len(block)
        if isinstance(fault, Slow):
            await asyncio.sleep(len(block) / fault.bytes_per_s)


async def _relay(fault: Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        writer.write(head)
        head = await reader.readuntil(b"\r\n\r\n")
    if isinstance(fault, LoseAnswer):
        await reader.read()
        raise ConnectionResetError
    if isinstance(fault, Disown):
        await reader.read()
        await _answer(writer, fault.status)
        raise ConnectionResetError
    if isinstance(fault, Late) and fault.answered:
        await asyncio.sleep(fault.seconds)
    writer.write(head)
    sent = 0
    while block := await reader.read(BLOCK):
        if isinstance(fault, CorruptAnswer) and sent == 0:
            block = bytes([block[0] ^ 1]) + block[1:]
        if isinstance(fault, CutAnswer):
            block = block[: fault.after - sent]
        writer.write(block)
        await writer.drain()
        sent += len(block)
        if isinstance(fault, Slow):
            await asyncio.sleep(len(block) / fault.bytes_per_s)
        if isinstance(fault, CutAnswer) and sent >= fault.after:
            raise ConnectionResetError
