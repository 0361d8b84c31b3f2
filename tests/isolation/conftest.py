"""The API of tests/integration, an owner's connection, and two users."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.db.pool import Database
from tests.databases import new_user
from tests.integration.conftest import api

__all__ = ["api"]


@pytest.fixture
async def owner(env: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """As whoever migrates: row level security binds no superuser."""
    connection = await asyncpg.connect(env["DATABASE_URL"])
    yield connection
    await connection.close()


@pytest.fixture
async def victim(api_db: Database) -> uuid.UUID:
    return await new_user(api_db)


@pytest.fixture
async def attacker(api_db: Database) -> uuid.UUID:
    """Has a row and nothing else."""
    return await new_user(api_db)
