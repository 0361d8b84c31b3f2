"""What the product's own statements take on a database: milliseconds, pages of it that are looked at, and
relations that are locked. Everything is rolled back.

Milliseconds are of prepared statements on a warm connection, as the services send them. Pages are counted by
Postgres itself (`EXPLAIN (ANALYZE, BUFFERS)`), locks in `pg_locks` before the transaction ends: both are the
same however busy the machine is.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
from msgspec import Struct

from shared.contracts.accounts import AuditAction
from shared.contracts.states import JobKind, uuid7
from shared.db import account, audit, candidates, jobs, pool, tasks
from shared.db.audit import Deed
from shared.db.pool import claims
from tests.bench.partitions.rows import OPEN, RUNNING, Volume, run_ids
from tests.bench.report import percentile

Ask = Callable[[Any], Awaitable[Any]]
"""One piece of the product's work on a connection."""


class Taken(Struct, frozen=True, kw_only=True):
    ms: float
    """Median."""
    pages: int
    locks: int
    """Of tables, partitions and indexes."""


class Counting:
    """Stands for a connection, and has every statement explained before it is run; what that changes is
    taken back."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.pages = 0

    async def _explain(self, sql: str, values: tuple[Any, ...]) -> None:
        inner = self.connection.transaction()
        await inner.start()
        plan = await self.connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values)
        await inner.rollback()
        top = plan[0]["Plan"]
        self.pages += top["Shared Hit Blocks"] + top["Shared Read Blocks"]

    async def fetch(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self.connection.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self.connection.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self.connection.fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self.connection.execute(sql, *values)


_LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"


WARM = 7
"""After five rounds a prepared statement has its lasting plan."""
ENOUGH_S = 8.0
LONG_S = 5.0
"""What takes longer is asked once, and not warmed up."""


@contextlib.asynccontextmanager
async def login(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the services', but for how long a transaction may last (`migrate.TRANSACTION_LIMIT`):
    what is cut off there is to be measured."""
    c = await asyncpg.connect(url, server_settings={"transaction_timeout": "0"})
    try:
        await pool._prepare(c)
        yield c
    finally:
        await c.close()


async def taken(c: asyncpg.Connection, ask: Ask, *, times: int, user: uuid.UUID | None = None) -> Taken:
    """`ask` again and again, as `user` where given, for `ENOUGH_S` at most."""
    took: list[float] = []
    until = time.perf_counter() + ENOUGH_S
    for round_ in range(times + WARM):
        if took and (time.perf_counter() > until or took[-1] > LONG_S * 1e3):
            break
        outer = c.transaction()
        await outer.start()
        if user is not None:
            await c.execute("SELECT set_config('request.jwt.claims', $1, true)", claims(user))
        began = time.perf_counter()
        await ask(c)
        seconds = time.perf_counter() - began
        if round_ >= WARM or time.perf_counter() > until or seconds > LONG_S:
            took.append(seconds * 1e3)
        locks = await c.fetchval(_LOCKS)
        await outer.rollback()
    counting = Counting(c)
    outer = c.transaction()
    await outer.start()
    if user is not None:
        await c.execute("SELECT set_config('request.jwt.claims', $1, true)", claims(user))
    await ask(counting)
    await outer.rollback()
    return Taken(ms=percentile(took, 0.5), pages=counting.pages, locks=locks)


class Sample(Struct, frozen=True, kw_only=True):
    """Rows that are asked for."""

    old: tuple[uuid.UUID, uuid.UUID]
    """A run of a year ago, and whose it is."""
    busy: tuple[uuid.UUID, uuid.UUID]
    """One that is under way."""
    candidate: tuple[uuid.UUID, uuid.UUID]
    """That runs, and whose it is."""
    many: uuid.UUID
    """Of whom there is most."""


async def sample(c: asyncpg.Connection, made: Volume) -> Sample:
    busy_one = made.runs - 1 - (made.runs - 1) % (OPEN // RUNNING)
    old, busy, most = await run_ids(c, made, [made.runs // 2, busy_one, 0])
    row = await c.fetchrow(
        "SELECT id, user_id FROM trainyard.candidates WHERE task_id = $1 AND position = 0", busy[0]
    )
    assert row is not None, "a run without candidates"
    return Sample(old=old, busy=busy, candidate=(row["id"], row["user_id"]), many=most[1])


def as_user(made: Sample) -> dict[str, tuple[uuid.UUID, Ask]]:
    """What a person's requests do."""
    old, many = made.old, made.many

    async def begin(c: Any) -> None:
        task_id = uuid7()
        await c.execute(
            "INSERT INTO trainyard.tasks (id, user_id, name, request) VALUES ($1, $2, 'x', $3)",
            task_id, many, {"file_id": str(task_id), "target": "species"},
        )  # fmt: skip
        await jobs.insert(c, JobKind.PLAN, task_id, many)

    async def tell(c: Any) -> None:
        await audit.insert(c, deed(many))

    return {
        "status poll, 200": (old[1], lambda c: tasks.get(c, old[1], old[0])),
        "status poll, 304": (old[1], lambda c: tasks.version(c, old[1], old[0])),
        "list of runs, first page": (many, lambda c: tasks.page(c, many, limit=50)),
        "list of runs, a page of a year ago": (many, lambda c: tasks.page(c, many, limit=50, before=old[0])),
        "POST of a run": (many, begin),
        "the trail's first page": (many, lambda c: audit.page(c, many, limit=50)),
        "a page of it of a year ago": (many, lambda c: audit.page(c, many, limit=50, before=old[0])),
        "a row of it": (many, tell),
    }


def as_worker(made: Sample) -> dict[str, Ask]:
    """What workers do. The last two run every 30 seconds and every second, in each of them."""
    candidate, user = made.candidate

    async def end(c: Any) -> None:
        await c.execute(
            "UPDATE trainyard.candidates SET status = 'failed', reason = 'x' WHERE id = $1 AND user_id = $2",
            candidate, user,
        )  # fmt: skip

    async def sweep(c: Any) -> None:
        await candidates.take_back(c)
        await candidates.skip_overdue(c, "late")

    return {
        "claim": lambda c: jobs.claim(c, list(JobKind), "bench", 9.0),
        "a candidate's progress": lambda c: candidates.progress(c, candidate, 1, 0.5),
        "a candidate's end": end,
        "a run's candidates": lambda c: candidates.of_task(c, made.old[0], made.old[1]),
        "runs of an account for its export": lambda c: account.runs(c, made.many, after=None, limit=100),
        "the trainer's sweep": sweep,
        "the net below the queue": jobs.restore_missing,
    }


def deed(user: uuid.UUID) -> Deed:
    return Deed(
        user_id=user, action=AuditAction.RUN_STARTED, subject_kind="run", subject_id=user, actor="user"
    )
