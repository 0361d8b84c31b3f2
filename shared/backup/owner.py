"""A connection that sees every row: backups are of everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.errors import ConfigurationError
from shared.settings import Postgres, require, reveal


@asynccontextmanager
async def owner(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """The owner's login. Raises ConfigurationError where policies would hide rows from it: a backup without
    them would look like a whole one."""
    require(postgres, "database_url")
    connection = await asyncpg.connect(
        reveal(postgres.database_url),
        statement_cache_size=0,
        server_settings={"application_name": "trainyard-backup"},
    )
    try:
        if not await connection.fetchval(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ):
            raise ConfigurationError(
                "DATABASE_URL's login does not see every row: it has to be a superuser or to have BYPASSRLS"
            )
        await connection.execute("SET row_security = off")  # an error instead of rows that are missing
        yield connection
    finally:
        await connection.close()
