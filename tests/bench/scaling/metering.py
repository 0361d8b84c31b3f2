"""What the servers were asked for during a block, counted by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx
import msgspec
from arq.connections import ArqRedis
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.bench_cost import CALLS, NOT_ASKED
from tests.bench.product import HOST, Product
from tests.bench.scaling.footprint import Use

STORE_CALLS = "trainyard_store_seconds"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"


class Metered:
    """Filled in at the block's end."""

    use = Use()


class Meter:
    """`owner`: a connection with pg_stat_statements; `redis`: any."""

    def __init__(self, stack: Product, owner: asyncpg.Connection, redis: ArqRedis) -> None:
        self._stack, self._owner, self._redis = stack, owner, redis

    @contextlib.asynccontextmanager
    async def metered(self) -> AsyncIterator[Metered]:
        """Processes may not come or go meanwhile."""
        await self._owner.execute("SELECT pg_stat_statements_reset()")
        await self._redis.config_resetstat()
        before, found = await self._now(), Metered()
        yield found
        found.use = await self._now() - before

    async def idle(self, seconds: float) -> Use:
        """What is asked for in a second in which nobody asks for anything."""
        async with self.metered() as found:
            await asyncio.sleep(seconds)
        return msgspec.structs.replace(found.use / found.use.seconds, seconds=0.0)

    async def connections(self, application: str) -> int:
        return int(await self._owner.fetchval(CONNECTIONS, application))

    async def _now(self) -> Use:
        row = await self._owner.fetchrow(CALLS)
        stats = await self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        workers = [name for name in self._stack.running if name.startswith(("trainer", "packager"))]
        return Use(
            seconds=time.monotonic(),
            statements=row["statements"],
            commits=row["commits"],
            postgres_s=self._stack.seconds("postgres"),
            wal_bytes=float(await self._owner.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")),
            redis_commands=sum(calls for name, calls in commands.items() if name not in NOT_ASKED),
            redis_s=self._stack.seconds("valkey"),
            api_s=self._stack.seconds("api"),
            workers_s=self._stack.seconds(*workers) if workers else 0.0,
            store_requests=await self._store_requests(),
        )

    async def _store_requests(self) -> float:
        """By the services' own metrics."""
        services = [name for name in self._stack.running if name not in ("postgres", "valkey", "s3")]
        total = 0.0
        async with httpx.AsyncClient() as http:
            for name in services:
                answer = await http.get(f"http://{HOST}:{self._stack.port_of[name]}/metrics")
                total += sum(
                    sample.value
                    for family in text_string_to_metric_families(answer.text)
                    if family.name == STORE_CALLS
                    for sample in family.samples
                    if sample.name.endswith("_count")
                )
        return total
