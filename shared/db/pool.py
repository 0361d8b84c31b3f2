"""The connection pool, and whose identity a transaction carries.

A transaction of the API is a user's: `set_config(…, true)` ends with it, so a connection that goes
back to the pool carries no one's identity. Workers have a login and policies of their own.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import asyncpg
import msgspec

from shared.errors import DatabaseUnavailable
from shared.settings import Postgres

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

ACQUIRE_S = 5.0
COMMAND_S = 30.0

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
)
"""What asyncpg raises where the server is away, restarting or full."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turn every way of a server being away into DatabaseUnavailable."""
    try:
        yield
    except AWAY as error:
        raise DatabaseUnavailable(reason=f"{type(error).__name__}: {error}") from error


def claims(user_id: uuid.UUID) -> str:
    """The JSON that `trainyard.uid()` reads, of the shape that Supabase's PostgREST sets."""
    return f'{{"sub":"{user_id}"}}'


class Database:
    """A pool of one login's connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection outside a transaction: for one-statement work. Raises DatabaseUnavailable."""
        with answering():
            async with self.pool.acquire(timeout=ACQUIRE_S) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self, user_id: uuid.UUID | None = None) -> AsyncIterator[Connection]:
        """One transaction, as `user_id` where given. Raises DatabaseUnavailable."""
        async with self.connection() as connection, connection.transaction():
            if user_id is not None:
                await connection.execute("SELECT set_config('request.jwt.claims', $1, true)", claims(user_id))
            yield connection

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless the server answers."""
        async with self.connection() as connection:
            await connection.fetchval("SELECT 1", timeout=2)


async def _prepare(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name,
            encoder=lambda value: msgspec.json.encode(value).decode(),
            decoder=msgspec.json.decode,
            schema="pg_catalog",
        )


async def _leave(_connection: asyncpg.Connection) -> None:
    """Nothing to reset, and a round trip saved: every setting we make ends with its transaction."""


@contextlib.asynccontextmanager
async def open_database(url: str, settings: Postgres, *, application: str) -> AsyncIterator[Database]:
    """A pool that opens its connections when they are needed: a server that is away stops no start."""
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=settings.db_pool_size,
        statement_cache_size=settings.db_statement_cache_size,
        command_timeout=COMMAND_S,
        timeout=ACQUIRE_S,
        init=_prepare,
        reset=_leave,
        server_settings={"application_name": application},
    )
    async with pool:
        yield Database(pool)


def without_nulls(row: Any, *names: str) -> dict[str, Any]:
    """A row as a dict in which the fields of `names` are left out where they are NULL."""
    return {k: v for k, v in dict(row).items() if v is not None or k not in names}
