"""Fixtures every test may use."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

from deploy import embedded
from shared.db.migrate import migrate
from shared.db.pool import Database, open_database
from shared.settings import S3, Postgres, load
from shared.storage import open_store
from tests import s3_elsewhere
from tests.databases import execute, fresh_database, new_user, with_database

# Read when NumPy and scikit-learn are imported, which comes later. The tables of tests are small, and two
# processes share the cores: threads that wait for each other made fits of half a second last a minute.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

# Machines are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile(
    "trainyard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("trainyard")


LONGEST = ("e2e", "web", "test_local_stack.py", "chaos", "fuzz", "test_sandbox_fits.py")
"""Folders and files that go first: one that begins when all else is done leaves the other process idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs a file's tests, which share what is dear to start; the longest go first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(
        key=lambda item: min(places.get(part, len(places)) for part in item.path.relative_to(here).parts)
    )


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Postgres, Valkey and an S3 server, started once a session: their environment variables.

    `DATABASE_URL` is a superuser's; the other two logins exist once migrations have run.
    """
    with embedded.servers(tmp_path_factory.mktemp("servers")) as env:
        if not s3_elsewhere.is_instead():
            yield env
            return
        other = env | s3_elsewhere.elsewhere() | s3_elsewhere.own_buckets()
        yield other
        asyncio.run(s3_elsewhere.remove_buckets(other))


@pytest.fixture(scope="session")
def template(servers: Mapping[str, str]) -> str:
    """The name of a migrated database that nobody is connected to."""
    name = "template_trainyard"
    asyncio.run(execute(servers["DATABASE_URL"], f"CREATE DATABASE {name}"))
    asyncio.run(migrate(load(Postgres, with_database(servers, name))))
    return name


@pytest.fixture
def env(servers: Mapping[str, str], template: str) -> Iterator[dict[str, str]]:
    """`servers` with a fresh, migrated database."""
    with fresh_database(servers, template) as made:
        yield made


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
async def user_id(api_db: Database) -> uuid.UUID:
    """A user that has its row."""
    return await new_user(api_db)


@pytest.fixture(scope="session")
def buckets(servers: Mapping[str, str]) -> None:
    """The store's four buckets are there."""

    async def make() -> None:
        async with open_store(load(S3, servers)) as store:
            await store.ensure_buckets()

    asyncio.run(make())
