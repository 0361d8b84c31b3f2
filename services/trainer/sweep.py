"""What the trainer puts right beside its jobs: fits whose worker is gone wait again, those whose task's time
is over wait no longer, and tables of files that were deleted leave this machine's disk."""

from __future__ import annotations

import asyncio

from services.trainer import sandbox_disk
from services.trainer.workbench import Workbench
from shared import observing
from shared.db import candidates, orphans
from shared.metrics import DISK_FREE

FORGET_EVERY_S = 30.0


class Sweep:
    """Called every second by the worker."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._next_forgetting = 0.0

    async def __call__(self) -> None:
        bench = self.bench
        DISK_FREE.labels("trainer").set(sandbox_disk.free(bench.cache.folder))
        async with bench.db.transaction() as c:
            taken_back = await candidates.take_back(c)
        for task_id in set(taken_back):
            await bench.changed(task_id)
        async with bench.db.transaction() as c:
            late = await candidates.skip_overdue(c, "the time budget was used up before it began")
            ended = []
            for row in late:
                with observing.goes_back("time is up", row):
                    ended.append((row["task_id"], await bench.go_on(c, row["task_id"], row["user_id"])))
        for task_id, asked in ended:
            await bench.changed(task_id, *asked)
        await self._forget_now_and_then()

    async def _forget_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_forgetting:
            self._next_forgetting = now + FORGET_EVERY_S
            await self.forget_deleted()

    async def forget_deleted(self) -> None:
        """Tables of files that are in the database no more, deleted alone or with their account."""
        held = self.bench.cache.held()
        if held:
            async with self.bench.db.connection() as c:
                known = await orphans.known_files(c, list(held))
            self.bench.cache.drop(held - known)
