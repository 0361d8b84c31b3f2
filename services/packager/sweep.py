"""What the packager cleans beside its jobs: expired ZIPs and exports, the trash past its time, answers kept
for POSTs sent again, old runs and months of the audit trail, uploads cut short, and objects without a row."""

from __future__ import annotations

import asyncio

import structlog

from services.packager.orphans import remove_orphans
from shared.contracts.accounts import AuditAction
from shared.contracts.states import JobKind
from shared.db import account, audit, backups, bundles, idempotency, jobs, models, tasks
from shared.metrics import TRAIL_MONTHS, TRAIL_UNPLACED
from shared.resources import Resources
from shared.settings import Retention
from shared.storage import belongs_to, bundle_key, export_key

log = structlog.get_logger(__name__)

EVERY_S = 30.0
REST_EVERY_S = 3600.0
"""What walks whole buckets is done more rarely."""
MONTH_S = 31 * 24 * 3600
WHOLE_MONTHS_FROM_S = 3 * MONTH_S
"""The audit trail goes by whole months where it is kept for as long as this, and to the second otherwise."""


class Sweep:
    """Called every second by the worker; does something every `EVERY_S`."""

    def __init__(self, resources: Resources, retention: Retention) -> None:
        self.db = resources.db
        self.store = resources.store
        self.retention = retention
        self._next = self._next_rest = 0.0

    async def __call__(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + EVERY_S
        for clean in (self.expire_bundles, self.empty_trash, self.expire_exports, self.forget_answers):
            while await clean():  # a batch at a time, however many there are
                pass
        await self.expire_runs()
        await self.forget_deeds()
        if now >= self._next_rest:
            self._next_rest = now + REST_EVERY_S
            await self.turn_the_trail()
            for bucket in (self.store.datasets, self.store.artifacts, self.store.bundles, self.store.models):
                await self.store.abort_stale_uploads(bucket, self.retention.orphan_ttl_s)
            await remove_orphans(self.db, self.store, self.retention.orphan_ttl_s)

    async def expire_runs(self) -> int:
        """Runs that ended so long ago are deleted as their owners would, some hundred at a time: what they
        made leaves the store by jobs, between other work."""
        if not self.retention.run_ttl_s:
            return 0
        async with self.db.transaction() as c:
            gone = await tasks.expired(c, older_than_s=self.retention.run_ttl_s)
            for row in gone:
                await jobs.insert(c, JobKind.PURGE, row["id"], row["user_id"])
                detail = {"after_s": self.retention.run_ttl_s}
                await audit.insert_by_worker(
                    c, row["user_id"], AuditAction.RUN_DELETED, detail, run=row["id"]
                )
        if gone:
            log.info("runs expired", count=len(gone))
        return len(gone)

    async def expire_bundles(self) -> int:
        """ZIPs whose time is over leave the store; they are built again when asked for."""
        async with self.db.transaction() as c:
            gone = await bundles.expired(c) if await backups.may_delete(c) else []
        for row in gone:  # after the commit: one left over here is an orphan, and swept as one
            key = bundle_key(row["user_id"], row["task_id"], row["attempt"])
            await self.store.delete(self.store.bundles, key)
        if gone:
            log.info("bundles expired", count=len(gone))
        return len(gone)

    async def empty_trash(self) -> int:
        """Models soft-deleted longer than the trash keeps them: the row, then the file."""
        async with self.db.transaction() as c:
            may = await backups.may_delete(c)
            gone = await models.purge_trash(c, older_than_s=self.retention.trash_ttl_s) if may else []
        for row in gone:
            # a path is removed only where it is its owner's
            if row["file_path"] and belongs_to(row["user_id"], row["file_path"]):
                await self.store.delete(self.store.models, row["file_path"])
        if gone:
            log.info("trash emptied", count=len(gone))
        return len(gone)

    async def expire_exports(self) -> int:
        """Exports of accounts, as ZIPs of runs."""
        async with self.db.transaction() as c:
            gone = await account.expired_exports(c) if await backups.may_delete(c) else []
        for row in gone:
            await self.store.delete(self.store.bundles, export_key(row["user_id"], row["attempt"]))
        if gone:
            log.info("exports expired", count=len(gone))
        return len(gone)

    async def turn_the_trail(self) -> list[str]:
        """Cut the months to come of the audit trail, and take off those that are over: their names."""
        async with self.db.transaction() as c:
            made = await audit.add_months(c)
        async with self.db.transaction() as c:
            gone = await audit.drop_months(c, older_than_s=self.retention.audit_ttl_s)
        if made or gone:
            log.info("months of the trail", made=made, gone=gone)
        async with self.db.connection() as c:
            standing = await audit.standing(c)
        TRAIL_MONTHS.set(standing.ahead)
        TRAIL_UNPLACED.set(standing.unplaced)
        if standing.unplaced:
            log.warning("rows of the trail are in no month", rows=standing.unplaced)
        return gone

    async def forget_deeds(self) -> int:
        """What the audit trail has kept for its time and no month takes with it, a batch a transaction until
        none is left."""
        keep_s = self.retention.audit_ttl_s
        if keep_s >= WHOLE_MONTHS_FROM_S:
            keep_s += MONTH_S  # by then its month is gone, if it has one
        count = 0
        while True:
            async with self.db.transaction() as c:
                gone = await audit.delete_expired(c, older_than_s=keep_s)
            count += gone
            if not gone:
                return count

    async def forget_answers(self) -> int:
        """What was kept for POSTs sent again, past its time."""
        async with self.db.transaction() as c:
            return await idempotency.delete_expired(c)
