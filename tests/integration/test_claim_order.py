"""The queue that simulations are made with serves as the database does."""

from __future__ import annotations

import random
import uuid

import asyncpg
import pytest

from shared.contracts.states import JobKind
from shared.db import jobs
from shared.db.pool import Database
from tests.bench.queueing.discipline import FairQueue, Job
from tests.databases import new_user

HEAVY = (JobKind.PROFILE, JobKind.PLAN, JobKind.FIT, JobKind.FINISH)
USERS = 4
STEPS = 120
CAP = 3
INSERTED = (
    "INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, created_at, queued_at)"
    " VALUES ($1, $2, $3, $4, to_timestamp($5), to_timestamp($6))"
)


class Both:
    """One queue in Postgres and one in memory, told the same and asked the same."""

    def __init__(self, c: asyncpg.Connection, users: list[uuid.UUID], chance: random.Random) -> None:
        self.c, self.users, self.chance = c, users, chance
        self.queue = FairQueue(user_cap=CAP)
        self.clock = 0.0
        self.claimed: list[tuple[jobs.Job, Job]] = []

    async def ask(self) -> None:
        """A job of anybody's and of any kind; places are those of moments ago, some of them the same."""
        self.clock += 1
        kind, user = self.chance.choice(HEAVY), self.chance.choice(self.users)
        place = self.clock - self.chance.randrange(10)
        subject = uuid.UUID(int=self.chance.getrandbits(128))
        await self.c.execute(INSERTED, uuid.uuid4(), kind, subject, user, self.clock, place)
        self.queue.add(Job(kind=kind, user=user, queued_at=place, created_at=self.clock, work=subject))

    async def claim(self, *, heavy: bool) -> None:
        self.clock += 1
        kinds = HEAVY if heavy else (JobKind.FINISH,)
        real = await jobs.claim(self.c, kinds, "test", 600, user_cap=CAP)
        simulated = self.queue.claim(self.clock, heavy=heavy)
        told = simulated and (simulated.kind, simulated.user, simulated.work)
        assert (real and (real.kind, real.user_id, real.subject_id)) == told
        if real is not None and simulated is not None:
            self.claimed.append((real, simulated))

    async def end(self) -> None:
        """Any of those that run."""
        if self.claimed:
            real, simulated = self.claimed.pop(self.chance.randrange(len(self.claimed)))
            await jobs.done(self.c, real)
            self.queue.release(simulated.user)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_serve_the_same_job_next(
    api_db: Database, worker_db: Database, env: dict[str, str], seed: int
) -> None:
    chance = random.Random(seed)
    users = [await new_user(api_db) for _ in range(USERS)]
    async with worker_db.connection() as c:
        both = Both(c, users, chance)
        for _ in range(STEPS):
            step = chance.random()
            if step < 0.45:
                await both.ask()
            elif step < 0.8:
                await both.claim(heavy=chance.random() < 0.8)
            else:
                await both.end()
        while len(both.queue) or both.claimed:
            await both.claim(heavy=True)
            await both.end()
        assert await c.fetchval("SELECT count(*) FROM trainyard.jobs") == 0
