"""Where a queued run stands: counted now, or told from a moment ago where counting is dear.

Counting goes over everything that waits: under a millisecond for thousands, some twenty for a hundred
thousand runs. What is that dear is counted again for a tenth of the time at most, whoever asks.
"""

from __future__ import annotations

import asyncio
import uuid

from shared.db import quotas
from shared.db.pool import Connection

CHEAP_S = 0.005
SHARE = 0.1
REMEMBERED = 10_000


class Places:
    """One a process. Made inside the loop it is used in."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._known: dict[uuid.UUID, int] = {}
        self._not_before = 0.0

    async def of(
        self, c: Connection, user_id: uuid.UUID, task_id: uuid.UUID, *, if_cheap: bool = False
    ) -> int | None:
        """None where the run waits no more; with `if_cheap` also where telling would cost too much now."""
        began = self._clock()
        if began < self._not_before and (if_cheap or task_id in self._known):
            return self._known.get(task_id)
        place = await quotas.queue_position(c, user_id, task_id)
        if (took := self._clock() - began) > CHEAP_S:
            self._not_before = began + took / SHARE
        if place is None:
            self._known.pop(task_id, None)
            return None
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[task_id] = place
        return place
