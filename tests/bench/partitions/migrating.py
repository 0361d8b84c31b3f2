"""The way from whole tables to those that are there now, at full size, while people go on: how long each step
takes, and how long anybody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from shared.contracts.states import uuid7
from shared.db import audit, candidates, migrate, tasks
from shared.db.pool import Database, open_database
from shared.errors import TrainyardError
from shared.settings import Postgres, load
from tests.bench import report
from tests.bench.partitions import probes
from tests.bench.partitions.probes import Sample
from tests.bench.partitions.rows import Volume


async def migrated(env: dict[str, str], made: Volume) -> list[str]:
    """Lines of Markdown: the steps' seconds, the longest that anybody waited meanwhile, how many failed."""
    settings = load(Postgres, env)
    owner = await asyncpg.connect(env["DATABASE_URL"])
    sample = await probes.sample(owner, made)
    await owner.close()
    steps: list[tuple[str, float]] = []
    plain = migrate._step

    async def timed(connection: asyncpg.Connection, step: str, patience_s: float) -> None:
        began = time.perf_counter()
        await plain(connection, step, patience_s)
        steps.append((_what(step), time.perf_counter() - began))

    took: dict[str, list[float]] = {}
    failed: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            open_database(env["API_DATABASE_URL"], settings, application="bench")
        )
        workers = await stack.enter_async_context(
            open_database(env["WORKER_DATABASE_URL"], settings, application="bench")
        )
        going = [
            asyncio.create_task(_again(name, ask, took, failed))
            for name, ask in _asks(api, workers, sample).items()
        ]
        migrate._step = timed
        try:
            await migrate.migrate(settings)
        finally:
            migrate._step = plain
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)
    told = [(what, f"{seconds:.1f} s") for what, seconds in steps if seconds >= 0.05]
    waited = [
        (name, f"{len(t):,}", f"{report.percentile(t, 0.5):.1f} ms", f"{max(t):.0f} ms")
        for name, t in took.items()
    ]
    return [
        "From as it was to as it is, while people and workers went on (steps of less than 0.05 s left out):",
        "",
        *report.table(("step", "took"), told),
        "",
        *report.table(("asked meanwhile, 20 times a second", "answers", "p50", "the longest"), waited),
        "",
        f"{len(failed)} of them failed." + "".join(f" {reason}" for reason in sorted(set(failed))),
    ]


def _what(step: str) -> str:
    """The first line that is no comment, as far as it goes."""
    lines = [line for line in step.splitlines() if not line.startswith("--")]
    first = next((line for line in lines if "CONSTRAINT" in line or "ATTACH" in line), lines[0])
    return f"`{(lines[0] if lines[0] != 'DO $$' else first).strip()[:80]}`"


async def _again(
    name: str, ask: Callable[[], Awaitable[Any]], took: dict[str, list[float]], failed: list[str]
) -> None:
    while True:
        began = time.perf_counter()
        try:
            await ask()
        except (asyncpg.PostgresError, TrainyardError) as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
        took.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.05)


def _asks(api: Database, workers: Database, sample: Sample) -> dict[str, Callable[[], Awaitable[Any]]]:
    user = sample.many

    async def poll() -> None:
        async with api.connection() as c:
            assert await tasks.get(c, sample.old[1], sample.old[0])

    async def begin() -> None:
        async with api.transaction(user) as c:
            await c.execute(
                "INSERT INTO trainyard.tasks (id, user_id, name, request) VALUES ($1, $2, 'x', $3)",
                uuid7(), user, {"file_id": str(uuid.uuid4()), "target": "species"},
            )  # fmt: skip
            await audit.insert(c, probes.deed(user))

    async def tell() -> None:
        async with api.connection() as c:
            await audit.insert_alone(c, probes.deed(user))

    async def trail() -> None:
        async with api.transaction(user) as c:
            await audit.page(c, user, limit=50)

    async def progress() -> None:
        async with workers.transaction() as c:
            await candidates.progress(c, sample.candidate[0], 1, 0.5)

    return {
        "status poll": poll,
        "POST of a run, with its row of the trail": begin,
        "a row of the trail": tell,
        "a page of the trail": trail,
        "a candidate's progress": progress,
    }
