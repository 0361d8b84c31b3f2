"""The databases and the API of tests/integration, over a template of this package's own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest

from shared.db.migrate import migrate
from shared.db.pool import Database
from shared.settings import Postgres, load
from tests.integration.conftest import (  # noqa: F401 - a fixture is found by its name here
    api,
    api_db,
    buckets,
    env,
    new_user,
    user_id,
    with_database,
    worker_db,
)


@pytest.fixture(scope="session")
def template(servers: Mapping[str, str]) -> str:
    """The name of a migrated database that nobody is connected to: what `env` copies."""
    name = "template_isolation"

    async def create() -> None:
        connection = await asyncpg.connect(servers["DATABASE_URL"])
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    asyncio.run(migrate(load(Postgres, with_database(servers, name))))
    return name


@pytest.fixture
async def owner(env: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:  # noqa: F811
    """As whoever migrates: row level security binds no superuser."""
    connection = await asyncpg.connect(env["DATABASE_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def victim(api_db: Database) -> uuid.UUID:  # noqa: F811
    return await new_user(api_db)


@pytest.fixture
async def attacker(api_db: Database) -> uuid.UUID:  # noqa: F811
    """Has a row and nothing else."""
    return await new_user(api_db)
