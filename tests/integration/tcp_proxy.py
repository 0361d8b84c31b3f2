"""A TCP proxy in front of a real server that can hang, refuse and cut: for servers that speak no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class TcpProxy:
    """`hang()`: what comes in goes nowhere, while connections stay open and new ones are taken.
    `cut()`: every connection breaks, and new ones break at once. `heal()` ends both."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    def in_front_of(self, url: str) -> str:
        """`url` with this proxy's address."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(
            parts._replace(netloc=f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}")
        )

    def hang(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        self._refusing = True
        for task in self._connections:
            task.cancel()

    def heal(self) -> None:
        """Connections that hung stay dead, as behind a router that forgot them."""
        self._refusing = False
        if not self._flowing.is_set():
            for task in self._connections:
                task.cancel()
            self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._refusing:
                await self._flowing.wait()
                await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        try:
            ways = [
                asyncio.create_task(self._copy(reader, up_writer)),
                asyncio.create_task(self._copy(up_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            up_writer.close()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while block := await source.read(64 * 1024):
            await self._flowing.wait()
            target.write(block)
            await target.drain()

    async def end(self) -> None:
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@contextlib.asynccontextmanager
async def tcp_proxy(url: str) -> AsyncIterator[TcpProxy]:
    """A proxy on a free port of 127.0.0.1 for the server that `url` names."""
    parts = urlsplit(url)
    proxy = TcpProxy(str(parts.hostname), int(parts.port or 0))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
