"""What looking for work costs Postgres where much of it waits, and where there were many runs.

Processor time of the one session that asks, so that a machine which is busy otherwise tells the same. Every
claim is rolled back: the next one finds the same queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import psutil

from shared.contracts.states import JobKind
from shared.db import backlog, jobs
from tests.bench.scaling.footprint import Depth, Net

KINDS = (JobKind.PROFILE, JobKind.PLAN, JobKind.FIT, JobKind.FINISH)
DEPTHS = (10, 100, 1_000, 10_000, 100_000)
USERS = 1000
LEAST_S = 0.3
"""Of processor time that a figure is made of: the kernel counts in hundredths."""

WAITING = """
INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, needs, sent_at)
SELECT uuidv7(), 'fit', gen_random_uuid(), users.id, 'classification random_forest', now()
FROM generate_series(1, $1::int) i
JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM auth.users ORDER BY id LIMIT $2) users
    ON users.place = i % $2
"""
EMPTY = "TRUNCATE trainyard.jobs"


async def depths(owner: asyncpg.Connection, worker: asyncpg.Connection) -> list[Depth]:
    """A claim and a look at the backlog, with ever more jobs waiting. No worker may be running."""
    found = []
    for waiting in DEPTHS:
        await owner.execute(EMPTY)
        await owner.execute(WAITING, waiting, USERS)
        await owner.execute("VACUUM ANALYZE trainyard.jobs")

        async def claim() -> None:
            assert await jobs.claim(worker, KINDS, "bench", 9.0) is not None

        claim_ms = await _session_ms(worker, claim)
        backlog_ms = await _session_ms(worker, lambda: backlog.of_all(worker))
        found.append(Depth(waiting, claim_ms, backlog_ms))
    await owner.execute(EMPTY)
    return found


async def net(owner: asyncpg.Connection, worker: asyncpg.Connection) -> Net:
    """The look for rows that wait for work nobody was asked for, over all runs that there are."""
    await owner.execute(EMPTY)
    runs = await owner.fetchval("SELECT count(*) FROM trainyard.tasks")
    return Net(int(runs), await _session_ms(worker, lambda: jobs.restore_missing(worker)))


async def _session_ms(c: asyncpg.Connection, ask: Callable[[], Awaitable[Any]]) -> float:
    """Processor milliseconds of the session for each call, rolled back."""
    process = psutil.Process(await c.fetchval("SELECT pg_backend_pid()"))

    def used() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    async def once() -> None:
        transaction = c.transaction()
        await transaction.start()
        try:
            await ask()
        finally:
            await transaction.rollback()

    await once()  # plans and pages are known then
    calls, began = 0, used()
    while (took := used() - began) < LEAST_S:
        await once()
        calls += 1
    return took / calls * 1e3
