"""Waiting for a task to change, without holding a database connection.

All who wait for one task share one look at its version: at once when the task is announced
(`shared.queue.announce`), and every second in case an announcement was lost. Between looks nobody holds
anything. The row is the truth; an announcement only cuts a look's rest short.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

from msgspec import Struct

from shared.contracts.states import TERMINAL, TaskStatus
from shared.db import tasks
from shared.db.pool import Database

EVERY_S = 1.0
FRESH_S = 0.25
"""How long a version that was read answers further polls of the same task, unless it is announced."""
REMEMBERED = 10_000

Key = tuple[uuid.UUID, uuid.UUID]
"""(user, task)"""


class Seen(Struct, frozen=True):
    """A task's version, and whether it has ended."""

    version: int
    ended: bool


class _Watch:
    """`seen`: what the last look found, or None where the task is gone (or nobody has looked yet)."""

    def __init__(self) -> None:
        self.waiters: set[asyncio.Future[None]] = set()
        self.seen: Seen | None = None
        self.poked = asyncio.Event()
        self.looking: asyncio.Task[None] | None = None


class Watches:
    """One watch a task that somebody waits for. Made inside the loop it is used in."""

    def __init__(self, db: Database, every_s: float = EVERY_S) -> None:
        self._db = db
        self._every_s = every_s
        self._watches: dict[Key, _Watch] = {}
        self._of_task: dict[uuid.UUID, set[Key]] = {}
        self._fresh: dict[uuid.UUID, tuple[uuid.UUID, Seen, float]] = {}
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

    # --- what is known --------------------------------------------------------------------------

    def fresh(self, user_id: uuid.UUID, task_id: uuid.UUID) -> Seen | None:
        """What was read of a task in the last quarter of a second, and not announced since."""
        known = self._fresh.get(task_id)
        if known is None or known[0] != user_id or known[2] < self._loop.time():
            return None
        return known[1]

    async def look(self, user_id: uuid.UUID, task_id: uuid.UUID) -> Seen | None:
        """Read it now; None where there is no such task. Raises DatabaseUnavailable."""
        began = self._loop.time()
        async with self._db.connection() as c:
            row: Any = await tasks.version(c, user_id, task_id)
        if row is None:
            self._fresh.pop(task_id, None)
            return None
        seen = Seen(row["version"], TaskStatus(row["status"]) in TERMINAL)
        self.remember(user_id, task_id, seen, began)
        return seen

    def remember(self, user_id: uuid.UUID, task_id: uuid.UUID, seen: Seen, read_at: float) -> None:
        """`read_at`: the loop's time before it was read."""
        if len(self._fresh) >= REMEMBERED:
            self._fresh.clear()
        self._fresh[task_id] = (user_id, seen, read_at + FRESH_S)

    def heard(self, task_id: uuid.UUID) -> None:
        """It may have changed: look at once where somebody waits, and forget what was read."""
        self._fresh.pop(task_id, None)
        for key in self._of_task.get(task_id, ()):
            self._watches[key].poked.set()

    def announced(self, message: bytes) -> None:
        """`heard`, of what is published; what is no task's id is nobody's."""
        with contextlib.suppress(ValueError):
            self.heard(uuid.UUID(message.decode("ascii")))

    # --- waiting --------------------------------------------------------------------------------

    async def changed(self, user_id: uuid.UUID, task_id: uuid.UUID, version: int, timeout_s: float) -> bool:
        """True once the task's version is beyond `version`, it has ended or is gone; False when the
        process is stopping or `timeout_s` has passed. Raises DatabaseUnavailable."""
        key = (user_id, task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.stopping:
                    watch = self._watches.get(key) or self._start(key)
                    # another's look may have come after the caller's own
                    if watch.seen is None or watch.seen.version <= version:
                        woken = self._loop.create_future()
                        watch.waiters.add(woken)
                        try:
                            await woken
                        finally:
                            watch.waiters.discard(woken)
                    if watch.seen is None or watch.seen.ended or watch.seen.version > version:
                        return not self.stopping
        return False

    async def rest(self, seconds: float) -> None:
        """Sleep, but not past the moment when the process is told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def stop_soon(self) -> None:
        """Wake everybody, from a signal handler or another thread."""
        self._loop.call_soon_threadsafe(self._stop)

    async def stop(self) -> None:
        """Wake everybody, and return when nobody looks any more: a query is never cut short, which
        would cost its connection."""
        self._stop()
        looking = [watch.looking for watch in self._watches.values() if watch.looking is not None]
        await asyncio.gather(*looking, return_exceptions=True)

    def _stop(self) -> None:
        self._stopping.set()
        for watch in self._watches.values():
            watch.poked.set()

    def _start(self, key: Key) -> _Watch:
        watch = self._watches[key] = _Watch()
        self._of_task.setdefault(key[1], set()).add(key)
        watch.looking = asyncio.create_task(self._look(key, watch))
        return watch

    async def _look(self, key: Key, watch: _Watch) -> None:
        try:
            while True:
                watch.poked.clear()  # before the look: what is announced meanwhile is looked at again
                watch.seen = await self.look(*key)
                _wake(watch)
                if not self.stopping:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._every_s):
                            await watch.poked.wait()
                if self.stopping or not watch.waiters:
                    return
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for waiter in watch.waiters:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            del self._watches[key]
            others = self._of_task[key[1]]
            others.discard(key)
            if not others:
                del self._of_task[key[1]]
            _wake(watch)


def _wake(watch: _Watch) -> None:
    for waiter in watch.waiters:
        if not waiter.done():
            waiter.set_result(None)
