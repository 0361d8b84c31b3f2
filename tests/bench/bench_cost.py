"""What a run costs Postgres and Redis: statements and commands, counted by the servers themselves
(pg_stat_statements, INFO commandstats), less what the idle fleet asks for meanwhile.

Fits are empty here, so that a run lasts as long as its orchestration; what one that lasts asks for besides is
counted apart. Anchor: a bare arq job, on the same Valkey.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import asyncpg
from arq.connections import ArqRedis, RedisSettings, create_pool
from msgspec import Struct

from tests.bench import product, report
from tests.bench.arq import bare_worker, picked_up
from tests.bench.product import Product
from tests.bench.runs import BUDGET_S, ended
from tests.bench.work import fits, steps
from tests.chaos.arq_default import QUEUE
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "What a run costs the database and Redis"
RUNS = int(os.environ.get("BENCH_ROUNDS") or 10)
SIZES = (1, 8)
"""Models of a run: what one more costs is their difference."""
IDLE_S = 20.0
LISTED = 12

COUNTED = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.max": "10000",
    "pg_stat_statements.track": "top",
}
CALLS = """
SELECT coalesce(sum(calls), 0)::float8 AS statements,
    coalesce(sum(calls) FILTER (WHERE query ILIKE 'commit%'), 0)::float8 AS commits,
    coalesce(sum(total_exec_time), 0)::float8 AS busy_ms
FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname LIKE 'trainyard%'
"""
MOST_CALLED = """
SELECT regexp_replace(left(btrim(regexp_replace(query, '\\s+', ' ', 'g')), 90), '\\|', ' ', 'g') AS query,
    sum(calls)::float8 AS calls
FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname LIKE 'trainyard%'
GROUP BY 1 ORDER BY 2 DESC LIMIT $1
"""
NOT_ASKED = frozenset({"info", "config|resetstat"})
"""What this benchmark itself sends."""


class Cost(Struct):
    """Counted over `seconds`; `busy_ms`: of Postgres, executing."""

    seconds: float = 0.0
    statements: float = 0.0
    commits: float = 0.0
    busy_ms: float = 0.0
    commands: float = 0.0

    def less(self, rate: Cost) -> Cost:
        """Without what comes anyway, `rate` a second."""
        return Cost(
            self.seconds,
            self.statements - rate.statements * self.seconds,
            self.commits - rate.commits * self.seconds,
            self.busy_ms - rate.busy_ms * self.seconds,
            self.commands - rate.commands * self.seconds,
        )

    def over(self, count: float) -> Cost:
        return Cost(
            self.seconds / count,
            self.statements / count,
            self.commits / count,
            self.busy_ms / count,
            self.commands / count,
        )

    def minus(self, other: Cost) -> Cost:
        return Cost(
            self.seconds - other.seconds,
            self.statements - other.statements,
            self.commits - other.commits,
            self.busy_ms - other.busy_ms,
            self.commands - other.commands,
        )


class Meter:
    """Counts what both servers are asked."""

    def __init__(self, owner: asyncpg.Connection, redis: ArqRedis) -> None:
        self._owner, self._redis = owner, redis

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[Cost]:
        """What was asked during the block, filled in at its end."""
        await self._owner.execute("SELECT pg_stat_statements_reset()")
        await self._redis.config_resetstat()
        began, cost = time.monotonic(), Cost()
        yield cost
        cost.seconds = time.monotonic() - began
        row = await self._owner.fetchrow(CALLS)
        cost.statements, cost.commits, cost.busy_ms = row["statements"], row["commits"], row["busy_ms"]
        stats = await self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        cost.commands = sum(calls for name, calls in commands.items() if name not in NOT_ASKED)

    async def most_called(self) -> list[tuple[str, float]]:
        return [(row["query"], row["calls"]) for row in await self._owner.fetch(MOST_CALLED, LISTED)]


def measure() -> list[str]:
    with product.running("api", "packager-1", postgres=COUNTED) as stack:
        stack.start("trainer-1", module=["tests.bench.work.trainer", "quick"])
        return asyncio.run(_measure(stack))


async def _measure(stack: Product) -> list[str]:
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    await owner.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    redis = await create_pool(RedisSettings.from_dsn(stack.env["REDIS_URL"]), default_queue_name=QUEUE)
    person = Person(stack.url, "cost@example.org")
    meter = Meter(owner, redis)
    try:
        content = fits.table(200).to_csv(index=False).encode()
        file_id = person.upload(Table("table.csv", content))["file_id"]
        assert person.profile(file_id).status_code == 200
        await _runs(meter, person, file_id, 1)  # connections and statements are made, and remembered
        async with meter.counted() as idle:
            await asyncio.sleep(IDLE_S)
        rate = idle.over(idle.seconds)
        costs = {}
        for size in SIZES:
            costs[size] = (await _runs(meter, person, file_id, size)).less(rate).over(RUNS)
        often = await meter.most_called()
        stack.stop("trainer-1")
        stack.start("trainer-1", module=["tests.bench.work.trainer", "waiting"])
        lasting = (await _runs(meter, person, file_id, SIZES[-1], 1)).less(rate)
        waited = SIZES[-1] * steps.WAITING_S
        second = lasting.minus(costs[SIZES[-1]]).over(waited)
        with bare_worker(stack.env["REDIS_URL"]):
            bare = await _arq(meter, redis, rate)
    finally:
        person.close()
        await redis.aclose()
        await owner.close()
    return _lines(rate, costs, second, bare, often)


async def _runs(meter: Meter, person: Person, file_id: str, size: int, runs: int = RUNS) -> Cost:
    async with meter.counted() as cost:
        for _ in range(runs):
            # in a thread: the run is told by long polls, and this loop has nothing else to do
            await asyncio.to_thread(_run, person, file_id, size)
    return cost


def _run(person: Person, file_id: str, size: int) -> None:
    models = list(fits.EQUAL[:size])
    ended(person, person.train(file_id, fits.TARGET, models=models, time_budget_s=BUDGET_S)["task_id"])


async def _arq(meter: Meter, redis: ArqRedis, rate: Cost) -> Cost:
    """Commands that one bare job costs, its worker's polls taken off."""
    await picked_up(redis)
    async with meter.counted() as idle:
        await asyncio.sleep(IDLE_S / 2)
    polls = idle.over(idle.seconds)
    async with meter.counted() as cost:
        for _ in range(RUNS):
            await picked_up(redis)
    told = 2.0  # the list that the job leaves its time in, and this benchmark reading it
    found = cost.less(polls).over(RUNS)
    found.commands -= told
    return found


def _lines(
    rate: Cost, costs: dict[int, Cost], second: Cost, bare: Cost, often: list[tuple[str, float]]
) -> list[str]:
    few, many = SIZES
    more = costs[many].minus(costs[few]).over(many - few)
    rows = [
        (f"a run of {few} model", costs[few]),
        (f"a run of {many} models", costs[many]),
        ("each model more", more),
        ("a second of a fit that lasts", second),
        ("an idle API, trainer and packager, a second", rate),
    ]
    shown = [
        (what, f"{c.statements:.1f}", f"{c.commits:.1f}", f"{c.busy_ms:.1f}", f"{c.commands:.1f}")
        for what, c in rows
    ]
    shown.append(("a bare arq job", "", "", "", f"{bare.commands:.1f}"))
    head = ("what", "statements", "of which COMMIT", "Postgres busy, ms", "Redis commands")
    return [
        f"Means of {RUNS} runs, from the POST to the end, the watching client's long polls included.",
        "",
        *report.table(head, shown),
        "",
        f"Statements asked most in a run of {many} models, the idle fleet's among them:",
        "",
        *report.table(
            ("statement", "a run"), [(f"`{query}`", f"{calls / RUNS:.1f}") for query, calls in often]
        ),
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
