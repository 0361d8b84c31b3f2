"""What the trainer puts right beside its jobs: candidates whose worker is gone wait again."""

from __future__ import annotations

from shared.db import candidates
from shared.queue import announce
from shared.resources import Resources


class Sweep:
    """Called every second by the worker."""

    def __init__(self, resources: Resources) -> None:
        self.db = resources.db
        self.redis = resources.redis

    async def __call__(self) -> None:
        async with self.db.transaction() as c:
            taken_back = await candidates.take_back(c)
        for task_id in set(taken_back):
            await announce(self.redis, task_id)
