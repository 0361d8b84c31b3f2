"""`erase`: the end of an account. Everything of it goes: work, objects in all four buckets, rows.

Each step may be done again from its beginning, so a job that dies anywhere is simply done again by whoever
takes it over. The account takes nothing new meanwhile (0004_account.sql, refuse_erased).
"""

from __future__ import annotations

import asyncio

import structlog

from shared.db import account, backups, jobs
from shared.db.jobs import Job
from shared.errors import LeaseLost, TrainyardError
from shared.queue import USERS_CHANNEL, announce
from shared.resources import Resources
from shared.storage import Store, user_prefix

log = structlog.get_logger(__name__)

BACKUP_S = 5.0
"""How soon an erasure that waits for a backup looks again."""
LOOK_AGAIN_S = 1.0
"""How soon an erasure that waits for workers to stop looks again."""

OBJECTS_AT_A_TIME = 1000
DELETES_AT_A_TIME = 8


class EraseJobs:
    """The handler and its reason, over what the process has open."""

    def __init__(self, resources: Resources) -> None:
        self.db = resources.db
        self.store = resources.store
        self.redis = resources.redis

    async def erase(self, job: Job) -> None:
        async with self.db.transaction() as c:
            asked = await account.is_being_erased(c, job.user_id)
        if not asked:  # done already, and this job a stray
            async with self.db.transaction() as c:
                await jobs.done(c, job)
            return
        if not await self.stop(job):
            return
        await self.empty_store(job)
        await self.delete_rows(job)
        await self.end(job)

    async def stop(self, job: Job) -> bool:
        """Whether all of the account's work has stopped; where it has not, this job waits. Fits look twice a
        second whether they are to go on, and what a dead worker held is free when its lease runs out."""
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            held = await account.stop_work(c, job)
            if held:
                await jobs.wait(c, job, delay_s=LOOK_AGAIN_S, error="the account's work has not stopped yet")
            elif not await backups.may_delete(c):
                await jobs.wait(c, job, delay_s=BACKUP_S, error="a backup is being made")
                return False
        return not held

    async def empty_store(self, job: Job) -> None:
        """Uploads that were never finished first: one that ends now would leave an object."""
        store, prefix = self.store, user_prefix(job.user_id)
        for bucket in dict.fromkeys((store.datasets, store.artifacts, store.bundles, store.models)):
            await store.abort_stale_uploads(bucket, 0.0, prefix=prefix)
            count = await empty(store, bucket, prefix)
            log.info("account's objects deleted", bucket=bucket, count=count)

    async def delete_rows(self, job: Job) -> None:
        """A few hundred a transaction, as long as there are any."""
        while True:
            async with self.db.transaction() as c:
                if not await account.delete_rows(c, job.user_id):
                    return

    async def end(self, job: Job) -> None:
        """One transaction: the account is there and being deleted, or it is gone."""
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            await account.end_erasure(c, job)
        log.info("account deleted", user_id=str(job.user_id))
        await announce(self.redis, job.user_id, USERS_CHANNEL)

    async def given_up(self, job: Job, error: TrainyardError) -> None:
        """Deleting is never given up: it is tried again every few minutes until the store lets it."""
        log.error("erasure postponed", reason=error.detail)
        async with self.db.transaction() as c:
            await jobs.start_over(c, job, delay_s=300.0, error=error.detail)


async def empty(store: Store, bucket: str, prefix: str) -> int:
    """Delete everything under a prefix, a page at a time, looking again until nothing is there."""
    deleted = 0
    slots = asyncio.Semaphore(DELETES_AT_A_TIME)

    async def delete(key: str) -> None:
        async with slots:
            await store.delete(bucket, key)

    while True:
        keys: list[str] = []
        async for item in store.list(bucket, prefix):
            keys.append(item.key)
            if len(keys) == OBJECTS_AT_A_TIME:
                break
        if not keys:
            return deleted
        await asyncio.gather(*(delete(key) for key in keys))
        deleted += len(keys)
