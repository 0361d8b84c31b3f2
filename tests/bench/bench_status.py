"""Status polls against a bare handler that does one SELECT by primary key (`tests/bench/bare.py`).

Both run as processes of their own on the same server and are asked in turn, round after round; the
ratio is the median over the rounds. The task that is asked for has nine candidates.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg
import httpx
import uvloop

from deploy import embedded, ports
from shared.contracts import MODELS, Stage, TaskType
from shared.db import candidates, tasks
from shared.db.migrate import migrate
from shared.db.pool import open_database
from shared.settings import S3, Postgres, load
from shared.storage import open_store
from tests.bench.http_load import per_second, request
from tests.bench.report import Figure
from tests.integration.api_client import SECRET, token

TITLE = "Status polls"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 21)
ROWS = int(os.environ.get("BENCH_ROWS") or 0)
"""Further tasks in the table, of other users."""
SECONDS = 0.5
CONNECTIONS = 16
OTHERS = 1000
"""Tasks that are asked for in turn where each is to be read: nothing that was read before helps."""


@contextlib.contextmanager
def _process(arguments: Sequence[str], url: str, **environ: str) -> Iterator[None]:
    running = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait()


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder, embedded.servers(Path(folder)) as env:
        await migrate(load(Postgres, env))
        async with open_store(load(S3, env)) as store:
            await store.ensure_buckets()
        yield dict(env)


async def _rows(env: dict[str, str], user: uuid.UUID) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """A running task with nine candidates, and many like it; the versions of all are told by the API."""
    owner = await asyncpg.connect(env["DATABASE_URL"])
    try:
        await owner.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
        made = [uuid.uuid4() for _ in range(OTHERS + 1)]
        await owner.executemany(
            "INSERT INTO trainyard.tasks (id, user_id, name, request)"
            " VALUES ($1, $2, 'iris.csv: species', $3)",
            [(task_id, user, _REQUEST % task_id) for task_id in made],
        )
        await owner.execute(
            "INSERT INTO trainyard.tasks (id, user_id, name, request)"
            " SELECT gen_random_uuid(), $1, 'another', $3 FROM generate_series(1, $2::bigint)",
            user,
            ROWS,
            _REQUEST % user,
        )
    finally:
        await owner.close()
    async with open_database(env["WORKER_DATABASE_URL"], load(Postgres, env), application="bench") as db:
        models = list(MODELS[TaskType.CLASSIFICATION].values())
        async with db.transaction() as c:
            for task_id in made:
                await tasks.begin(c, task_id, Stage.FITTING, "Training models")
            await candidates.insert_all(c, made[0], user, models)
    owner = await asyncpg.connect(env["DATABASE_URL"])
    await owner.execute("VACUUM ANALYZE")
    await owner.execute("CHECKPOINT")
    await owner.close()
    return made[0], made[1:]


_REQUEST = '{"file_id": "%s", "target": "species"}'


async def _measure(env: dict[str, str]) -> list[Figure]:
    user = uuid.uuid4()
    task_id, others = await _rows(env, user)
    bare_port, api_port = ports.free(2)
    bare, api = f"http://127.0.0.1:{bare_port}", f"http://127.0.0.1:{api_port}"
    who = {"Authorization": f"Bearer {token(user, exp=int(time.time()) + 3600)}"}
    more = {"AUTH_JWT_SECRET": SECRET, "PORT": str(api_port), "LOG_LEVEL": "warning"}
    more["RATE_LIMIT_READS_PER_MIN"] = "1000000000"  # counted, and not reached
    with (
        _process(["tests.bench.bare", env["DATABASE_URL"], str(bare_port)], bare),
        _process(["services.api"], f"{api}/health/live", **env, **more),
    ):
        async with httpx.AsyncClient(headers=who) as http:
            tag = (await http.get(f"{api}/ml/status/{task_id}")).headers["etag"]
            other_tag = (await http.get(f"{api}/ml/status/{others[0]}")).headers["etag"]
        same, different = who | {"If-None-Match": tag}, who | {"If-None-Match": other_tag}
        status = f"{api}/ml/status"
        sides: dict[str, tuple[str, list[bytes], int]] = {
            "bare": (bare, [request(f"{bare}/{task_id}", {})], 200),
            "200": (api, [request(f"{status}/{task_id}", who)], 200),
            "304": (api, [request(f"{status}/{task_id}", same)], 304),
            "304 each its own": (api, [request(f"{status}/{t}", different) for t in others], 304),
        }
        seen: dict[str, list[float]] = {name: [] for name in sides}
        for round_ in range(ROUNDS + 1):
            for name, (url, requests, code) in sides.items():
                rate = await per_second(url, requests, status=code, connections=CONNECTIONS, seconds=SECONDS)
                if round_:  # the first one warms up
                    seen[name].append(rate)
    where = f"{ROWS + OTHERS + 1:,} tasks in the table"
    return [
        _figure("status poll, 200", seen["200"], seen["bare"], ">= 0.8", where),
        _figure("status poll, 304, many who poll one task", seen["304"], seen["bare"], "> 1", where),
        _figure(
            "status poll, 304, each of another task", seen["304 each its own"], seen["bare"], "> 1", where
        ),
    ]


def _figure(what: str, ours: Sequence[float], bare: Sequence[float], goal: str, where: str) -> Figure:
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return Figure(
        what=what,
        ours=f"{statistics.median(ours):,.0f}/s",
        anchor=f"{statistics.median(bare):,.0f}/s, a bare handler with one SELECT",
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        goal=goal,
        note=where,
    )


async def _run() -> list[Figure]:
    async with _servers() as env:
        return await _measure(env)


def measure() -> list[Figure]:
    return uvloop.run(_run())


if __name__ == "__main__":
    for figure in measure():
        print(figure)
