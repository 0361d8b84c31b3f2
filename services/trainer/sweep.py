"""What the trainer puts right beside its jobs: fits whose worker is gone wait again, and those whose
task's time is over wait no longer."""

from __future__ import annotations

from services.trainer.workbench import Workbench
from shared.contracts import JobKind
from shared.db import candidates


class Sweep:
    """Called every second by the worker."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    async def __call__(self) -> None:
        bench = self.bench
        async with bench.db.transaction() as c:
            taken_back = await candidates.take_back(c)
        for task_id in set(taken_back):
            await bench.changed(task_id)
        async with bench.db.transaction() as c:
            late = await candidates.skip_overdue(c, "the time budget was used up before it began")
            ended = [
                (row["task_id"], await bench.finish_if_last(c, row["task_id"], row["user_id"]))
                for row in late
            ]
        for task_id, finish_job in ended:
            await bench.changed(task_id, (JobKind.FINISH, finish_job))
