"""How much there is to do, as the API's metrics show it: also where no worker runs that could show it."""

from __future__ import annotations

import asyncio

import structlog

from shared.db import backlog
from shared.db.pool import Database
from shared.metrics import show_backlog

log = structlog.get_logger(__name__)

FRESH_S = 2.0
"""How long one look is good for: the metrics are public, and asking for them is not to cost a statement."""
PATIENCE_S = 1.0


class Backlog:
    """Made inside the loop it is used in."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._next = 0.0

    async def look(self) -> None:
        """Bring the gauges up to date. Never raises: without a database there are no figures, and all
        other metrics are there as ever."""
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return
        self._next = now + FRESH_S  # before the look: who asks meanwhile gets what is known
        try:
            async with asyncio.timeout(PATIENCE_S), self._db.connection() as c:
                show_backlog(await backlog.of_all(c))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, its other metrics tell of it
            show_backlog(None)
            log.warning("backlog unknown", reason=type(error).__name__)
