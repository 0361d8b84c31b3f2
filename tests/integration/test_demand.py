"""What an autoscaler is told: how much work there is for one sort of worker, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import yaml

from deploy.env import PROJECT
from shared.contracts.states import JobKind, uuid7
from shared.db import jobs
from shared.db.migrate import migrate
from shared.db.pool import Connection, Database
from shared.queue import PACKAGER_QUEUE, QUEUES, TRAINER_QUEUE
from shared.settings import Postgres, load
from tests.databases import execute, new_user

TRAINER = sorted(str(kind) for kind, queue in QUEUES.items() if queue == TRAINER_QUEUE)
PACKAGER = sorted(str(kind) for kind, queue in QUEUES.items() if queue == PACKAGER_QUEUE)
LOGIN = "scaler_of_tests"
SCALING = PROJECT / "deploy" / "k8s" / "components" / "keda" / "scaling.yaml"


@pytest.fixture
async def scaler(env: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """As the login that migrating makes for an autoscaler."""
    parts = urlsplit(env["DATABASE_URL"])
    login = f"{LOGIN}:{uuid.uuid4().hex}@{parts.netloc.rpartition('@')[2]}"
    url = urlunsplit(parts._replace(netloc=login))
    await migrate(load(Postgres, env | {"SCALER_DATABASE_URL": url}))
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()
    await execute(env["DATABASE_URL"], f"DROP ROLE {LOGIN}")


async def demand(c: Connection, kinds: list[str], user_cap: int = 64) -> tuple[int, float]:
    row = await c.fetchrow("SELECT * FROM trainyard.demand($1, $2)", kinds, user_cap)
    return row["work"], row["oldest_s"]


async def test_an_idle_installation_asks_for_nothing(scaler: asyncpg.Connection) -> None:
    assert await demand(scaler, TRAINER) == (0, 0.0)


async def test_what_runs_and_what_could_run_is_counted_by_kind(
    scaler: asyncpg.Connection, api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    other = await new_user(api_db)
    async with worker_db.transaction() as c:
        for owner in (user_id, user_id, other):
            await jobs.insert(c, JobKind.FIT, uuid7(), owner)
        await jobs.insert(c, JobKind.BUNDLE, uuid7(), other)
        late = await jobs.insert(c, JobKind.FIT, uuid7(), other)
        await c.execute("UPDATE trainyard.jobs SET run_after = now() + interval '1 hour' WHERE id = $1", late)
    async with worker_db.transaction() as c:
        assert await jobs.claim(c, [JobKind.FIT], "w", 60.0) is not None
        await c.execute(
            "UPDATE trainyard.jobs SET created_at = created_at - interval '90 seconds',"
            " run_after = run_after - interval '90 seconds' WHERE kind = 'bundle'"
        )
    work, oldest_s = await demand(scaler, TRAINER)
    assert work == 3, "one runs, two wait, one is for later"
    assert 0 < oldest_s < 90
    work, oldest_s = await demand(scaler, PACKAGER)
    assert work == 1
    assert 90 <= oldest_s < 180


async def test_what_a_user_may_not_run_yet_asks_for_nobody(
    scaler: asyncpg.Connection, api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    other = await new_user(api_db)
    async with worker_db.transaction() as c:
        for _ in range(5):
            await jobs.insert(c, JobKind.FIT, uuid7(), user_id)
    for _ in range(2):
        async with worker_db.transaction() as c:
            assert await jobs.claim(c, [JobKind.FIT], "w", 60.0, user_cap=2) is not None
    async with worker_db.transaction() as c:
        assert await jobs.claim(c, [JobKind.FIT], "w", 60.0, user_cap=2) is None
    assert await demand(scaler, TRAINER, user_cap=2) == (2, 0.0), "as many as claim hands out"
    assert (await demand(scaler, TRAINER, user_cap=4))[0] == 4
    async with worker_db.transaction() as c:
        await jobs.insert(c, JobKind.PROFILE, uuid7(), other)
    work, oldest_s = await demand(scaler, TRAINER, user_cap=2)
    assert (work, oldest_s > 0) == (3, True)


async def test_work_whose_worker_is_gone_waits_again(
    scaler: asyncpg.Connection, worker_db: Database, user_id: uuid.UUID
) -> None:
    async with worker_db.transaction() as c:
        await jobs.insert(c, JobKind.FIT, uuid7(), user_id)
    async with worker_db.transaction() as c:
        assert await jobs.claim(c, [JobKind.FIT], "w", 60.0) is not None
    assert await demand(scaler, TRAINER) == (1, 0.0)
    async with worker_db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET lease_until = now() - interval '1 second'")
    work, oldest_s = await demand(scaler, TRAINER)
    assert (work, oldest_s > 0) == (1, True)


FORBIDDEN = (
    "SELECT * FROM trainyard.jobs",
    "SELECT * FROM trainyard.tasks",
    "SELECT * FROM public.trained_models",
    "SELECT * FROM trainyard.migrations",
    "SELECT * FROM trainyard.backlog()",
    "SELECT trainyard.migrated()",
    "SET ROLE trainyard_worker",
    "CREATE TABLE public.mine ()",
    "CREATE TABLE trainyard.mine ()",
)


async def test_an_autoscaler_learns_and_changes_nothing_else(scaler: asyncpg.Connection) -> None:
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scaler.execute(statement)


async def test_what_keda_asks_is_one_number(scaler: asyncpg.Connection) -> None:
    """As its postgresql scaler reads it: the first column of the first row, a number that is never null."""
    asked = [
        trigger["metadata"]["query"]
        for one in yaml.safe_load_all(SCALING.read_text())
        for trigger in one["spec"].get("triggers", [])
    ]
    assert len(asked) == 4
    for query in asked:
        [row] = await scaler.fetch(query)
        assert [float(value) for value in row] == [0.0]


async def test_no_service_needs_to_ask(api_db: Database, worker_db: Database) -> None:
    for db in (api_db, worker_db):
        async with db.connection() as c:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await demand(c, TRAINER)
