"""A migrated database of its own for every test, copied from one template a session."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from shared.db.migrate import migrate
from shared.db.pool import Database, open_database
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, load
from shared.storage import open_store
from tests.integration import api_client

_counter = itertools.count()


def on_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_database(env: Mapping[str, str], name: str) -> dict[str, str]:
    """`env` with all three database URLs pointing at the database `name`."""
    urls = ("DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL")
    return dict(env) | {key: on_database(env[key], name) for key in urls}


async def _admin(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template(servers: Mapping[str, str]) -> str:
    """The name of a migrated database that nobody is connected to."""
    name = "template_trainyard"
    asyncio.run(_admin(servers["DATABASE_URL"], f"CREATE DATABASE {name}"))
    asyncio.run(migrate(load(Postgres, with_database(servers, name))))
    return name


@pytest.fixture
def env(servers: Mapping[str, str], template: str) -> Iterator[dict[str, str]]:
    """`servers` with a fresh, migrated database."""
    name = f"test_{next(_counter)}"
    asyncio.run(_admin(servers["DATABASE_URL"], f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield with_database(servers, name)
    asyncio.run(_admin(servers["DATABASE_URL"], f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def api_db(env: dict[str, str]) -> AsyncIterator[Database]:
    """As the API logs in: row level security binds it."""
    async with open_database(env["API_DATABASE_URL"], load(Postgres, env), application="test-api") as db:
        yield db


@pytest.fixture
async def worker_db(env: dict[str, str]) -> AsyncIterator[Database]:
    """As the workers log in."""
    async with open_database(
        env["WORKER_DATABASE_URL"], load(Postgres, env), application="test-worker"
    ) as db:
        yield db


@pytest.fixture
async def worker_resources(env: dict[str, str], buckets: None) -> AsyncIterator[Resources]:
    """All that a worker has open."""
    async with open_resources(
        env["WORKER_DATABASE_URL"],
        postgres=load(Postgres, env),
        redis=load(Redis, env),
        s3=load(S3, env),
        application="test-worker",
    ) as opened:
        yield opened


@pytest.fixture
async def user_id(api_db: Database) -> uuid.UUID:
    """A user that has its row."""
    return await new_user(api_db)


async def new_user(api_db: Database) -> uuid.UUID:
    user = uuid.uuid4()
    async with api_db.transaction(user) as c:
        await c.execute("SELECT trainyard.ensure_user($1)", f"{user}@example.org")
    return user


@pytest.fixture(scope="session")
def buckets(servers: Mapping[str, str]) -> None:
    """The store's four buckets are there."""

    async def make() -> None:
        async with open_store(load(S3, servers)) as store:
            await store.ensure_buckets()

    asyncio.run(make())


@pytest.fixture
async def api(env: dict[str, str], buckets: None) -> AsyncIterator[api_client.Api]:
    """The API in this process, over real servers."""
    async with api_client.running(env) as running:
        yield running
