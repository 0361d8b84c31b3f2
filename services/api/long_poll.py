"""Waiting for a task to change, without holding a database connection.

All who wait for one task share one look at its version every quarter of a second; between looks
nobody holds anything. A push from the database would only have to call `_Watch.look`.
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
Seen = tuple[int, bool] | None
"""(version, ended), or None where the task is gone."""


class _Watch:
    def __init__(self) -> None:
        self.waiters: set[asyncio.Future[None]] = set()
        self.seen: Seen = None
        self.looking: asyncio.Task[None] | None = None


class Watches:
    """One watch a task that somebody waits for, by (user, task)."""

    def __init__(self, db: Database, every_s: float = EVERY_S) -> None:
        self._db = db
        self._every_s = every_s
        self._watches: dict[Key, _Watch] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def closed(self) -> bool:
        """Whether the process is stopping, so that nobody should wait for anything."""
        return self._closed

    def __len__(self) -> int:
        return len(self._watches)

    async def changed(self, user_id: uuid.UUID, task_id: uuid.UUID, version: int, timeout_s: float) -> None:
        """Return once the task's version is another than `version`, it has ended or is gone, the
        process is stopping, or `timeout_s` has passed. Raises DatabaseUnavailable."""
        key = (user_id, task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._closed:
                    watch = self._watches.get(key) or self._start(key)
                    woken = asyncio.get_running_loop().create_future()
                    watch.waiters.add(woken)
                    try:
                        await woken
                    finally:
                        watch.waiters.discard(woken)
                    if watch.seen is None or watch.seen[1] or watch.seen[0] != version:
                        return

    def close_soon(self) -> None:
        """`close`, from a signal handler or another thread."""
        self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """Wake everybody: the process is about to stop."""
        self._closed = True
        for watch in self._watches.values():
            self._wake(watch)
            if watch.looking is not None:
                watch.looking.cancel()

    def _start(self, key: Key) -> _Watch:
        watch = self._watches[key] = _Watch()
        watch.looking = asyncio.create_task(self._look(key, watch))
        return watch

    async def _look(self, key: Key, watch: _Watch) -> None:
        try:
            while True:
                async with self._db.connection() as c:
                    row = await tasks.version(c, *key)
                seen = (row["version"], TaskStatus(row["status"]) in TERMINAL) if row else None
                watch.seen = seen
                self._wake(watch)
                await asyncio.sleep(self._every_s)
                if not watch.waiters:
                    return
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for waiter in watch.waiters:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            del self._watches[key]

    @staticmethod
    def _wake(watch: _Watch) -> None:
        for waiter in watch.waiters:
            if not waiter.done():
                waiter.set_result(None)
