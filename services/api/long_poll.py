"""Waiting for a task to change, without holding a database connection.

All who wait for one task share one look at its version every quarter of a second; between looks
nobody holds anything. A push from the database would only have to cut a look's rest short.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid

from shared.contracts import TERMINAL, TaskStatus
from shared.db import tasks
from shared.db.pool import Database

EVERY_S = 0.25

Key = tuple[uuid.UUID, uuid.UUID]
"""(user, task)"""


class _Watch:
    """`seen`: (version, ended) at the last look, or None where the task is gone."""

    def __init__(self) -> None:
        self.waiters: set[asyncio.Future[None]] = set()
        self.seen: tuple[int, bool] | None = None
        self.looking: asyncio.Task[None] | None = None


class Watches:
    """One watch a task that somebody waits for. Made inside the loop it is used in."""

    def __init__(self, db: Database, every_s: float = EVERY_S) -> None:
        self._db = db
        self._every_s = every_s
        self._watches: dict[Key, _Watch] = {}
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """Tasks that are being watched."""
        return len(self._watches)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(len(watch.waiters) for watch in self._watches.values())

    @property
    def stopping(self) -> bool:
        """Whether the process is about to stop, so that nobody should wait for anything."""
        return self._stopping.is_set()

    async def changed(self, user_id: uuid.UUID, task_id: uuid.UUID, version: int, timeout_s: float) -> None:
        """Return once the task's version is another than `version`, it has ended or is gone, the
        process is stopping, or `timeout_s` has passed. Raises DatabaseUnavailable."""
        key = (user_id, task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.stopping:
                    watch = self._watches.get(key) or self._start(key)
                    woken = self._loop.create_future()
                    watch.waiters.add(woken)
                    try:
                        await woken
                    finally:
                        watch.waiters.discard(woken)
                    if watch.seen is None or watch.seen[1] or watch.seen[0] != version:
                        return

    async def rest(self, seconds: float) -> None:
        """Sleep, but not past the moment when the process is told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def stop_soon(self) -> None:
        """Wake everybody, from a signal handler or another thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def stop(self) -> None:
        """Wake everybody, and return when nobody looks any more: a query is never cut short, which
        would cost its connection."""
        self._stopping.set()
        looking = [watch.looking for watch in self._watches.values() if watch.looking is not None]
        await asyncio.gather(*looking, return_exceptions=True)

    def _start(self, key: Key) -> _Watch:
        watch = self._watches[key] = _Watch()
        watch.looking = asyncio.create_task(self._look(key, watch))
        return watch

    async def _look(self, key: Key, watch: _Watch) -> None:
        try:
            while True:
                async with self._db.connection() as c:
                    row = await tasks.version(c, *key)
                watch.seen = (row["version"], TaskStatus(row["status"]) in TERMINAL) if row else None
                _wake(watch)
                await self.rest(self._every_s)
                if self.stopping or not watch.waiters:
                    return
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for waiter in watch.waiters:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            _wake(watch)
            del self._watches[key]


def _wake(watch: _Watch) -> None:
    for waiter in watch.waiters:
        if not waiter.done():
            waiter.set_result(None)
