"""How much there is to do, of all users: numbers, and nothing else of anybody's (0011_traces.sql)."""

from __future__ import annotations

from typing import Any

from shared.db.pool import Connection


async def of_all(c: Connection) -> list[Any]:
    """`kind, waiting, delayed, running, oldest_s` for each kind of job there is. What is delayed is to be
    done later; `oldest_s`: for how long the oldest that waits could have been done."""
    return await c.fetch("SELECT * FROM trainyard.backlog()")
