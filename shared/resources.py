"""What a process works with, opened once and handed in: the database, the queue, the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import msgspec
import stamina
from arq.connections import ArqRedis

from shared.db.pool import Database, open_database
from shared.errors import TrainyardError
from shared.metrics import show_connections
from shared.queue import open_queue
from shared.settings import S3, Postgres, Redis
from shared.storage import Store, open_store

CHECK_S = 2.0
DATABASE_S = 5.0
"""What one use of the database may take where somebody waits for the answer; a connection to use is
waited for as well (`shared.db.pool.ACQUIRE_S`)."""


class Resources(msgspec.Struct, frozen=True):
    """All three, open."""

    db: Database
    redis: ArqRedis
    store: Store

    async def health(self) -> dict[str, str]:
        """`{postgres, redis, storage}` → "ok" or what is wrong, each asked at once and for 2 s at most."""
        names = ("postgres", "redis", "storage")
        checks = (self.db.check(), self.redis.ping(), self.store.check())
        return dict(zip(names, await asyncio.gather(*map(_verdict, checks)), strict=True))


async def _verdict(check: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            await check
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not healthy
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return "ok"


@contextlib.asynccontextmanager
async def open_resources(
    url: str, *, postgres: Postgres, redis: Redis, s3: S3, application: str, patient: bool = False
) -> AsyncIterator[Resources]:
    """Open all three for the login of `url`. Nothing is contacted yet: a part that is away stops no
    process from starting. `patient` (workers): no one waits for an answer, so what hangs may take its
    time."""
    deadline_s = None if patient else DATABASE_S
    async with (
        open_database(url, postgres, application=application, deadline_s=deadline_s) as db,
        open_queue(redis, patient=patient) as queue,
        open_store(s3) as store,
    ):
        show_connections(db.pool)
        learning = asyncio.create_task(_learn(store))
        try:
            yield Resources(db, queue, store)
        finally:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)


async def _learn(store: Store) -> None:
    """Find out what the store can do as soon as it answers, before anyone waits for it."""
    async for attempt in stamina.retry_context(on=TrainyardError, attempts=None, timeout=None, wait_max=30.0):
        with attempt:
            await store.probe()
