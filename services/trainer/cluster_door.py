"""The one way out of a fit's sandbox, where a cluster is set: connections to the Dask scheduler, ready made.

A fit cannot make a socket. What it has instead is one end of a pair of sockets: for every byte that it writes
there the trainer connects to the scheduler, and to nothing else, and hands the connection over as a
descriptor (`SCM_RIGHTS`, unix(7)). So whoever takes a fit over can speak to the scheduler and to nobody else,
whatever the kernel's version: Landlock knows ports, not addresses, and seccomp neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger(__name__)

CONNECT_S = 5.0
MOST_CONNECTIONS = 256
"""That one fit is given. A client holds a handful, and makes others where calls overlap."""

_ASK, _HERE, _REFUSED = b"?", b"+", b"-"


class Door:
    """The trainer's side, around one step: an async context manager. `theirs` is the descriptor that the
    step gets; `away`: why the scheduler could not be reached, if it could not."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.away: str | None = None
        self._given = 0
        self._at_work: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._asked)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._ours.fileno())
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        self._ours.close()
        self._theirs.close()

    @property
    def theirs(self) -> int:
        return self._theirs.fileno()

    def _asked(self) -> None:
        try:
            asked = self._ours.recv(64)
        except BlockingIOError:
            return
        except OSError:
            asked = b""
        if not asked:
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
        for _ in asked:
            task = asyncio.create_task(self._give())
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)

    async def _give(self) -> None:
        self._given += 1
        connection = await self._connected() if self._given <= MOST_CONNECTIONS else None
        with contextlib.suppress(OSError):  # the step may be gone
            if connection is None:
                self._ours.send(_REFUSED)
            else:
                with connection:
                    socket.send_fds(self._ours, [_HERE], [connection.fileno()])

    async def _connected(self) -> socket.socket | None:
        try:
            made = await asyncio.to_thread(socket.create_connection, self._to, CONNECT_S)
        except OSError as error:
            self.away = str(error)
            log.warning("cluster_away", scheduler="{}:{}".format(*self._to), reason=self.away)
            return None
        self.away = None
        return made


_mine: int | None = None
_asking = threading.Lock()


def use(descriptor: int) -> None:
    """In a step: this is its side of the door."""
    global _mine
    _mine = descriptor


def connection() -> socket.socket:
    """A connection to the scheduler, from within a step. Raises ConnectionRefusedError without one."""
    if _mine is None:
        raise ConnectionRefusedError("this step was given no way to a cluster")
    # two that ask at once must not take each other's answer
    with _asking, socket.socket(fileno=os.dup(_mine)) as door:
        os.write(_mine, _ASK)
        said, given, _, _ = socket.recv_fds(door, 1, 1)
    if said != _HERE or len(given) != 1:
        raise ConnectionRefusedError("the scheduler is not reached")
    return socket.socket(fileno=given[0])
