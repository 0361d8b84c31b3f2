"""Waits until the database has every migration that this version knows.

    python -m shared.db.migrated

For a service that is started beside the migrations and not after them, with that service's own login
(`API_DATABASE_URL` or `WORKER_DATABASE_URL`). A database that a later version has migrated will do: what a
migration adds, the version before does not notice.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
import structlog

from shared.db.migrate import migrations
from shared.db.pool import AWAY
from shared.errors import ConfigurationError
from shared.logging import configure
from shared.settings import Logging, Postgres, load, reveal, secrets_of

log = structlog.get_logger(__name__)

EVERY_S = 1.0
CONNECT_S = 10.0
_NOT_YET = (
    *AWAY,
    # the login, the database, the schema or the function that answers is not there yet, or not ours yet
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)


async def lacking(url: str) -> list[str]:
    """File names of the migrations that are still to run. Raises what `_NOT_YET` names where the database
    cannot tell."""
    connection = await asyncpg.connect(reveal(url), statement_cache_size=0, timeout=CONNECT_S)
    try:
        done = {row[0] for row in await connection.fetch("SELECT trainyard.migrated()", timeout=CONNECT_S)}
    finally:
        await connection.close(timeout=CONNECT_S)
    return [name for number, name, _ in migrations() if number not in done]


async def wait(url: str, *, every_s: float = EVERY_S) -> None:
    """Look again and again; each reason to go on waiting is said once."""
    said = ""
    while True:
        try:
            names = await lacking(url)
            if not names:
                return
            reason = f"not yet applied: {', '.join(names)}"
        except _NOT_YET as error:
            reason = f"{type(error).__name__}: {error}"
        if reason != said:
            log.info("waiting for the migrations", reason=reason)
            said = reason
        await asyncio.sleep(every_s)


async def main() -> None:
    configure(load(Logging, os.environ), service="migrated", secrets=secrets_of(os.environ))
    settings = load(Postgres, os.environ)
    url = settings.api_database_url or settings.worker_database_url
    if not url:
        raise ConfigurationError("API_DATABASE_URL or WORKER_DATABASE_URL is required")
    await wait(url)
    log.info("migrated")


if __name__ == "__main__":
    asyncio.run(main())
