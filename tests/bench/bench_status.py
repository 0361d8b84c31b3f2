"""Status polls against a bare handler that does one SELECT by primary key (`tests/bench/bare.py`), with a
few thousand tasks in the table and with a million more.

Both databases, two bare handlers and two APIs stand side by side on one server, each a process of its own,
and are asked in turn, round after round; a ratio is the median over the rounds. The task that is asked for
has nine candidates. The load comes from this process, which says how much of a core it took for it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import uvloop
from msgspec import Struct

from deploy import embedded, ports
from shared.contracts.catalogue import MODELS
from shared.contracts.states import Stage, TaskType
from shared.db import candidates, tasks
from shared.db.migrate import migrate
from shared.db.pool import open_database
from shared.settings import S3, Postgres, load
from shared.storage import open_store
from tests.bench import beside, report
from tests.bench.http_load import per_second, request
from tests.bench.report import Figure, compared
from tests.databases import execute, with_database
from tests.integration.api_client import SECRET, token

TITLE = "Status polls"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 15)
ROWS = int(os.environ.get("BENCH_ROWS") or 1_000_000)
"""Further tasks in the larger table, of other users."""
USERS = 1000
SECONDS = 0.5
CONNECTIONS = 16
OTHERS = 8000
"""Tasks that are asked for in turn where each is to be read: nothing that was read before helps, since what
was read is older than `long_poll.FRESH_S` when its turn comes again."""
NEVER = "1000000000"
"""A rate limit that is counted, and not reached."""

POLLS = ("200", "200 each its own", "304", "304 each its own")
WORDS = {
    "200": "status poll, 200, many who poll one task",
    "200 each its own": "status poll, 200, each of another task",
    "304": "status poll, 304, many who poll one task",
    "304 each its own": "status poll, 304, each of another task",
}
GOALS = {"200": ">= 0.8", "200 each its own": ">= 0.8", "304": "> 1", "304 each its own": "> 1"}

Seen = dict[tuple[int, str], list[float]]
"""Answers a second in each round, by the rows of the table and what was asked."""


class Side(Struct):
    """One thing that is asked, again and again."""

    url: str
    requests: list[bytes]
    status: int


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder, embedded.servers(Path(folder)) as env:
        async with open_store(load(S3, env)) as store:
            await store.ensure_buckets()
        yield dict(env)


async def _database(
    env: dict[str, str], rows: int, user: uuid.UUID
) -> tuple[dict[str, str], list[uuid.UUID]]:
    """The variables of a database of its own: a running task with nine candidates, the thousands more that
    are asked for, and `rows` of others."""
    name = f"with_{rows}"
    await execute(env["DATABASE_URL"], f"CREATE DATABASE {name}")
    env = with_database(env, name)
    await migrate(load(Postgres, env))
    owner = await asyncpg.connect(env["DATABASE_URL"])
    try:
        await owner.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
        made = [uuid.uuid4() for _ in range(OTHERS + 1)]
        await owner.executemany(
            "INSERT INTO trainyard.tasks (id, user_id, name, request)"
            " VALUES ($1, $2, 'iris.csv: species', $3)",
            [(task_id, user, _REQUEST % task_id) for task_id in made],
        )
        await _others(owner, rows)
    finally:
        await owner.close()
    async with open_database(env["WORKER_DATABASE_URL"], load(Postgres, env), application="bench") as db:
        models = list(MODELS[TaskType.CLASSIFICATION].values())[:9]
        async with db.transaction() as c:
            for task_id in made:
                await tasks.begin(c, task_id, Stage.FITTING, "Training models")
            await candidates.insert_all(c, made[0], user, models)
    await execute(env["DATABASE_URL"], "VACUUM ANALYZE", "CHECKPOINT")
    return env, made


async def _others(owner: asyncpg.Connection, rows: int) -> None:
    users = [uuid.uuid4() for _ in range(USERS)]
    await owner.executemany("INSERT INTO auth.users (id) VALUES ($1)", [(user,) for user in users])
    await owner.execute(
        "INSERT INTO trainyard.tasks (id, user_id, name, request)"
        " SELECT gen_random_uuid(), ($1::uuid[])[1 + i % $2], 'another', $3"
        " FROM generate_series(1, $4::bigint) i",
        users,
        USERS,
        _REQUEST % users[0],
        rows,
        timeout=1800,
    )


_REQUEST = '{"file_id": "%s", "target": "species"}'


@contextlib.asynccontextmanager
async def _asked(
    env: dict[str, str], made: list[uuid.UUID], user: uuid.UUID
) -> AsyncIterator[dict[str, Side]]:
    """A bare handler and an API on one database, by what each is asked."""
    task_id, others = made[0], made[1:]
    bare_port, api_port = ports.free(2)
    bare, api = f"http://127.0.0.1:{bare_port}", f"http://127.0.0.1:{api_port}"
    who = {"Authorization": f"Bearer {token(user, exp=int(time.time()) + 24 * 3600)}"}
    more = {"AUTH_JWT_SECRET": SECRET, "PORT": str(api_port), "LOG_LEVEL": "warning"}
    more["RATE_LIMIT_READS_PER_MIN"] = NEVER
    with (
        beside.running(["tests.bench.bare", env["DATABASE_URL"], str(bare_port)], bare),
        beside.running(["services.api"], f"{api}/health/live", **env, **more),
    ):
        status = f"{api}/ml/status"
        async with httpx.AsyncClient(headers=who) as http:
            tag = (await http.get(f"{status}/{task_id}")).headers["etag"]
            other_tag = (await http.get(f"{status}/{others[0]}")).headers["etag"]
        same, different = who | {"If-None-Match": tag}, who | {"If-None-Match": other_tag}
        yield {
            "bare": Side(bare, [request(f"{bare}/{task_id}", {})], 200),
            "bare each its own": Side(bare, [request(f"{bare}/{t}", {}) for t in others], 200),
            "200": Side(api, [request(f"{status}/{task_id}", who)], 200),
            "200 each its own": Side(api, [request(f"{status}/{t}", who) for t in others], 200),
            "304": Side(api, [request(f"{status}/{task_id}", same)], 304),
            "304 each its own": Side(api, [request(f"{status}/{t}", different) for t in others], 304),
        }


async def _measure(sides: dict[tuple[int, str], Side]) -> tuple[Seen, float]:
    """Answers a second by side and round, and the share of a core that asking for them took."""
    seen: Seen = {name: [] for name in sides}
    began, used = time.perf_counter(), time.process_time()
    for round_ in range(ROUNDS + 1):
        for name, side in sides.items():
            rate = await per_second(
                side.url, side.requests, status=side.status, connections=CONNECTIONS, seconds=SECONDS
            )
            if round_:  # the first one warms up
                seen[name].append(rate)
    return seen, (time.process_time() - used) / (time.perf_counter() - began)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s"


def _figures(seen: Seen) -> list[Figure]:
    few, many = sorted({rows for rows, _ in seen})
    made = []
    for rows in (few, many):
        for poll in POLLS:
            bare = "bare each its own" if poll.endswith("its own") else "bare"
            made.append(
                compared(
                    WORDS[poll],
                    seen[rows, poll],
                    seen[rows, bare],
                    say=_rate,
                    against="a bare handler with one SELECT",
                    goal=GOALS[poll],
                    note=f"{rows + OTHERS + 1:,} tasks in the table",
                )
            )
    for poll in (*POLLS, "bare each its own"):
        made.append(
            compared(
                WORDS.get(poll, "the bare handler"),
                seen[many, poll],
                seen[few, poll],
                say=_rate,
                against=f"the same with {few + OTHERS + 1:,}",
                goal="0.9 to 1.1" if poll in POLLS else "",
                note=f"{many + OTHERS + 1:,} tasks in the table",
            )
        )
    return made


async def _run() -> list[str]:
    user = uuid.uuid4()
    async with _servers() as env, contextlib.AsyncExitStack() as stack:
        sides: dict[tuple[int, str], Side] = {}
        for rows in (0, ROWS):
            database, made = await _database(env, rows, user)
            asked = await stack.enter_async_context(_asked(database, made, user))
            sides |= {(rows, name): side for name, side in asked.items()}
        seen, share = await _measure(sides)
    load_said = f"The load, {CONNECTIONS} connections, took {share:.0%} of a core of its own."
    return [load_said, "", *report.ratios(_figures(seen))]


def measure() -> list[str]:
    return uvloop.run(_run())


if __name__ == "__main__":
    print("\n".join(measure()))
