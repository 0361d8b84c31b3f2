"""The connection pool, and whose identity a transaction carries.

A transaction of the API is a user's: `set_config(…, true)` ends with it, so a connection that goes
back to the pool carries no one's identity. Workers have a login and policies of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, TypeAlias

import asyncpg
import msgspec
import structlog

from shared.errors import AccountBeingDeleted, DatabaseUnavailable
from shared.metrics import DISK_FULL
from shared.settings import Postgres, reveal

log = structlog.get_logger(__name__)

Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

NEWEST = "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid"
OLDEST = "'00000000-0000-0000-0000-000000000000'::uuid"
"""What a page without a cursor begins at. `$1 IS NULL OR id < $1` would say the same, but a statement that is
prepared once for both cases reads everything newer than the page, and leaves it out."""

ACQUIRE_S = 4.0
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
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    # a migration has changed a table since the statement was prepared; asyncpg prepares it anew
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)
"""What asyncpg raises where the server is away, restarting or full, or could not have both: what is
tried again a little later succeeds."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turn every way of a server being away into DatabaseUnavailable."""
    try:
        yield
    except AWAY as error:
        raise _unavailable(error) from error


_ACCOUNT_GOES = "TY409"
"""0004_account.sql, refuse_erased()"""


def _gone(error: BaseException | None) -> AccountBeingDeleted | None:
    """What was refused because the account is being deleted, or was while somebody still knew its user."""
    if not isinstance(error, asyncpg.PostgresError):
        return None
    if error.sqlstate == _ACCOUNT_GOES:
        return AccountBeingDeleted(retry_after_s=10)
    if isinstance(error, asyncpg.ForeignKeyViolationError) and _names_user(error):
        return AccountBeingDeleted("This account was deleted a moment ago; try again", retry_after_s=1)
    return None


def _names_user(error: asyncpg.ForeignKeyViolationError) -> bool:
    return str(error.constraint_name).endswith("_user_id_fkey")


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncpg.DiskFullError):
        # it answers what is read, so nothing else would tell
        DISK_FULL.labels("postgres").inc()
        log.error("the database has no room left", reason=reason)
        return DatabaseUnavailable("The database has no room left; try again later", reason=reason)
    return DatabaseUnavailable(reason=reason)


def claims(user_id: uuid.UUID) -> str:
    """The JSON that `trainyard.uid()` reads, of the shape that Supabase's PostgREST sets."""
    return f'{{"sub":"{user_id}"}}'


_AS_USER = """
    SELECT set_config('request.jwt.claims', $1, true),
           set_config('idle_in_transaction_session_timeout', '15s', true)
"""
"""A process that stops in the middle of a request holds the request's locks no longer than that."""


class _Use:
    """A connection of the pool for the time of an `async with`, and what goes wrong with it translated.

    A class and not a generator, and no task for a timeout: every poll of a status passes through here.
    """

    __slots__ = ("_connection", "_cut", "_deadline_s", "_overdue", "_pool")

    def __init__(
        self, pool: asyncpg.Pool, deadline_s: float | None, cut: Callable[[Connection], None]
    ) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._cut = cut
        self._overdue: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Connection:
        with answering():
            async with asyncio.timeout(ACQUIRE_S):
                self._connection: Connection = await self._pool.acquire()
        if self._deadline_s is not None:
            loop = asyncio.get_running_loop()
            self._overdue = loop.call_later(self._deadline_s, self._cut, self._connection)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        try:
            await self._pool.release(self._connection, timeout=ACQUIRE_S)
        except AWAY as failure:
            if error is None:
                raise _unavailable(failure) from failure
        if isinstance(error, AWAY):
            raise _unavailable(error) from error
        if (gone := _gone(error)) is not None:
            raise gone from error


class Database:
    """A pool of one login's connections.

    `deadline_s`: how long a connection may be used at a time. A server that hangs is then taken for away
    without asking it to cancel, which it would not answer either.
    """

    def __init__(self, pool: asyncpg.Pool, deadline_s: float | None = None) -> None:
        self.pool = pool
        self._deadline_s = deadline_s

    def connection(self) -> _Use:
        """One connection outside a transaction: for one-statement work. Raises DatabaseUnavailable."""
        return _Use(self.pool, self._deadline_s, self._cut)

    def _cut(self, connection: Connection) -> None:
        """Whoever waits for it gets an error; the idle ones are opened anew, for they hang likewise."""
        connection.terminate()
        self._expiring = asyncio.create_task(self.pool.expire_connections())

    @contextlib.asynccontextmanager
    async def transaction(self, user_id: uuid.UUID | None = None) -> AsyncIterator[Connection]:
        """One transaction, as `user_id` where given. Raises DatabaseUnavailable."""
        async with self.connection() as connection, connection.transaction():
            if user_id is not None:
                await connection.execute(_AS_USER, claims(user_id))
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
async def open_database(
    url: str, settings: Postgres, *, application: str, deadline_s: float | None = None
) -> AsyncIterator[Database]:
    """A pool that opens its connections when they are needed: a server that is away stops no start."""
    pool = asyncpg.create_pool(
        reveal(url),
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
        yield Database(pool, deadline_s)


def without_nulls(row: Any, *names: str) -> dict[str, Any]:
    """A row as a dict in which the fields of `names` are left out where they are NULL."""
    return {k: v for k, v in dict(row).items() if v is not None or k not in names}
