"""Applies the numbered SQL files of `migrations/`, forward only, and makes the services' logins.

    python -m shared.db.migrate

Runs as the owner (`DATABASE_URL`) under an advisory lock, each migration in a transaction of its
own together with the record that it ran. Running it again does nothing; it waits for a server that
is still starting. Services may run meanwhile: a migration waits for them no longer than they would
notice, and tries again. A file whose first line begins with `-- online` is run step by step (`-- step`), each
by itself, so that indexes of large tables are made CONCURRENTLY; one that was interrupted is begun anew from
its first step, so every step finds out what is done already.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import stamina
import structlog

from shared.errors import ConfigurationError
from shared.logging import configure
from shared.settings import Logging, Postgres, load, require, reveal, secrets_of

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x7261696E  # any number that nobody else in this database uses
IDLE_LIMIT = "5s"
"""A worker that freezes in the middle of a transaction, which takes milliseconds, holds its locks no
longer than that: below a lease, since one that waits for another frozen one's lock begins anew."""
TRANSACTION_LIMIT = "30s"
"""The same for one that freezes between the messages of a statement, which counts as active, not as idle.
Servers before Postgres 17 know no such limit: there its locks last until it wakes or its link breaks."""
_KNOWS_TRANSACTION_LIMIT = 170000
LOCK_LIMIT = "2s"
"""How long a migration waits for a table that somebody uses. Whoever wants that table after it waits behind
it, and the API gives up after five seconds (`shared.resources.DATABASE_S`)."""
PATIENCE_S = 600.0
"""How long it is tried again and again: reports and backups use a table for minutes."""

_SEAL = """
    DO $$
    DECLARE
        grantee text;
    BEGIN
        FOR grantee IN SELECT 'PUBLIC' UNION ALL
            SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
        LOOP
            EXECUTE 'REVOKE ALL ON SCHEMA trainyard FROM ' || grantee;
            EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA trainyard FROM ' || grantee;
            EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA trainyard FROM ' || grantee;
            EXECUTE 'REVOKE ALL ON ALL ROUTINES IN SCHEMA trainyard FROM ' || grantee;
            IF to_regclass('public.trained_models') IS NOT NULL THEN
                EXECUTE 'REVOKE ALL ON public.trained_models FROM ' || grantee;
            END IF;
            -- the one that 0001 makes; Supabase's is Supabase's, another application's that application's
            IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('auth.users')
                AND relowner = current_user::regrole AND ARRAY['created_at', 'email', 'id'] = ARRAY(
                    SELECT attname::text FROM pg_attribute
                    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname))
            THEN
                EXECUTE 'REVOKE ALL ON auth.users FROM ' || grantee;
            END IF;
        END LOOP;
    END $$
"""
"""Nobody but our own roles has anything of ours. Everybody may call a new function until that is taken back,
and a database can be told to grant new tables to Supabase's `anon` and `authenticated`, which any browser
can be; so this runs in the transaction of each migration, and again whenever migrations are asked for."""


def migrations() -> list[tuple[int, str, str]]:
    """(number, file name, SQL), in order. Raises ConfigurationError where a number is there twice."""
    found = [(int(p.name[:4]), p.name, p.read_text()) for p in sorted(MIGRATIONS.glob("[0-9]*.sql"))]
    if len({number for number, _, _ in found}) != len(found):
        raise ConfigurationError("two migrations share a number")
    return found


_LOGIN = """
    SELECT pg_has_role(r.oid, $2::text::regrole::oid, 'MEMBER') AS member, array_remove(ARRAY[
        CASE WHEN r.rolsuper OR r.rolbypassrls OR r.rolname = current_user
            THEN 'is an owner or superuser or bypasses row level security' END,
        CASE WHEN r.rolcreaterole OR r.rolreplication THEN 'may make roles or read the journal' END,
        CASE WHEN EXISTS (SELECT FROM pg_shdepend d
                WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o')
            THEN 'owns something' END,
        CASE WHEN EXISTS (SELECT FROM pg_auth_members m
                WHERE m.member = r.oid AND m.roleid <> $2::text::regrole)
            THEN 'is a member of another role' END
    ], NULL) AS faults
    FROM pg_roles r WHERE r.rolname = $1
"""


async def migrate(
    settings: Postgres, *, up_to: int | None = None, patience_s: float = PATIENCE_S
) -> list[str]:
    """Bring the database up to date, or to the migration `up_to`; the file names of what was applied now.

    Raises ConfigurationError where an applied migration was changed afterwards, LockNotAvailableError where a
    table that one changes is in use for `patience_s`.
    """
    require(settings, "database_url")
    connection = await asyncpg.connect(reveal(settings.database_url), statement_cache_size=0)
    try:
        await _have_alone(connection, patience_s)
        await connection.execute("CREATE SCHEMA IF NOT EXISTS trainyard")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS trainyard.migrations ("
            " number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT number, sha256 FROM trainyard.migrations")
        done = {row["number"]: row["sha256"] for row in rows}
        applied = []
        for number, name, sql in migrations():
            digest = hashlib.sha256(sql.encode()).hexdigest()
            if number in done:
                if done[number] != digest:
                    raise ConfigurationError(f"migration {name} was changed after it had been applied")
                continue
            if up_to is not None and number > up_to:
                break
            for step in steps(sql):
                async for attempt in _patiently(_IN_USE, patience_s):
                    with attempt:
                        await _step(connection, step, patience_s)
            async for attempt in _patiently(_IN_USE, patience_s):
                with attempt:
                    await _apply(connection, number, name, sql, digest)
            applied.append(name)
        await connection.execute(_SEAL)
        await ensure_login(connection, settings.api_database_url, "trainyard_user")
        await ensure_login(connection, settings.worker_database_url, "trainyard_worker")
        if await connection.fetchval("SELECT to_regrole('trainyard_scaler')"):  # not before 0015
            await ensure_login(connection, settings.scaler_database_url, "trainyard_scaler")
        if not await knows_transaction_limit(connection):
            instead = "a worker frozen within a statement holds its locks until it wakes or its link breaks"
            log.info("database.lacks", transaction_timeout=instead)
        return applied
    finally:
        await connection.close()


_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


class _Migrating(Exception):
    """Another process does it now."""


def _patiently(on: type[Exception] | tuple[type[Exception], ...], patience_s: float) -> AsyncIterator[Any]:
    return stamina.retry_context(on=on, attempts=None, timeout=patience_s, wait_initial=0.2, wait_max=5.0)


async def _have_alone(connection: asyncpg.Connection, patience_s: float) -> None:
    """Take the lock that one migration at a time has. It is asked for and not waited for within a statement:
    an index that is made CONCURRENTLY would wait for that statement to end, and it for the index.

    Raises LockNotAvailableError where another has it for `patience_s`."""
    try:
        async for attempt in _patiently(_Migrating, patience_s):
            with attempt:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                    raise _Migrating
    except _Migrating:
        raise asyncpg.LockNotAvailableError("another process is migrating this database") from None


def is_online(sql: str) -> bool:
    """Whether a migration is run step by step while services go on."""
    return sql.startswith("-- online")


def steps(sql: str) -> list[str]:
    """The steps of a migration that has some, in order."""
    if not is_online(sql):
        return []
    return [step.strip() for step in re.split(r"^-- step$", sql, flags=re.MULTILINE)[1:]]


_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)\s+ON (\w+)\.", re.MULTILINE)


async def _step(connection: asyncpg.Connection, step: str, patience_s: float) -> None:
    index = _INDEX.search(step)
    if index is None:
        async with connection.transaction():
            await connection.execute("SELECT set_config('lock_timeout', $1, true)", LOCK_LIMIT)
            await connection.execute(step)
        return
    # nobody waits behind it; it waits for transactions that are older
    name, schema = index.groups()
    await connection.execute("SELECT set_config('lock_timeout', $1, false)", f"{max(int(patience_s), 1)}s")
    try:
        if await connection.fetchval(_HALF_MADE, f"{schema}.{name}"):
            await connection.execute(f"DROP INDEX CONCURRENTLY {schema}.{name}")
        await connection.execute(step)
    finally:
        if not connection.is_closed():
            await connection.execute("RESET lock_timeout")


_HALF_MADE = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)"
"""What making it CONCURRENTLY leaves where it is interrupted."""


async def _apply(connection: asyncpg.Connection, number: int, name: str, sql: str, digest: str) -> None:
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", LOCK_LIMIT)
        if not is_online(sql):
            await connection.execute(sql)
        await connection.execute(_SEAL)
        await connection.execute(
            "INSERT INTO trainyard.migrations (number, name, sha256) VALUES ($1, $2, $3)",
            number,
            name,
            digest,
        )


async def ensure_login(connection: asyncpg.Connection, url: str, member_of: str) -> None:
    """Make the login that `url` names, with its password, a member of one of our roles.

    Raises ConfigurationError where that login could step around row level security: it may be above it,
    make roles, own anything anywhere, or be a member of another role.
    """
    if not url:
        return
    parts = urlsplit(url)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not name:
        raise ConfigurationError(f"the database URL for {member_of} names no user")
    row = await connection.fetchrow(_LOGIN, name, member_of)
    if row and row["faults"]:
        raise ConfigurationError(
            f"the login {name!r} {' and '.join(row['faults'])}, which steps around row level security: "
            "give the API and the workers logins of their own"
        )
    # attributes that are safe already are left alone: an owner who is no superuser may not even name them
    verb = "ALTER ROLE %I LOGIN INHERIT" if row else "CREATE ROLE %I LOGIN INHERIT"
    await _execute(connection, f"{verb} PASSWORD %L", name, password or None)
    if not (row and row["member"]):
        await _execute(connection, "GRANT %I TO %I", member_of, name)
    await _execute(connection, "ALTER ROLE %I SET idle_in_transaction_session_timeout = %L", name, IDLE_LIMIT)
    if await knows_transaction_limit(connection):
        await _execute(connection, "ALTER ROLE %I SET transaction_timeout = %L", name, TRANSACTION_LIMIT)


async def knows_transaction_limit(connection: asyncpg.Connection) -> bool:
    """Whether the server ends a transaction after `TRANSACTION_LIMIT`."""
    return int(await connection.fetchval("SHOW server_version_num")) >= _KNOWS_TRANSACTION_LIMIT


async def _execute(connection: asyncpg.Connection, template: str, *names: str | None) -> None:
    """A statement that takes no parameters, quoted by the server itself (`format()`'s %I and %L)."""
    places = ", ".join(f"${i}::text" for i in range(2, len(names) + 2))
    await connection.execute(await connection.fetchval(f"SELECT format($1, {places})", template, *names))


async def main() -> None:
    configure(load(Logging, os.environ), service="migrate", secrets=secrets_of(os.environ))
    settings = load(Postgres, os.environ)
    starting = (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError)
    async for attempt in stamina.retry_context(on=starting, timeout=60, attempts=None, wait_max=2):
        with attempt:
            applied = await migrate(settings)
    log.info("migrated", applied=applied)


if __name__ == "__main__":
    asyncio.run(main())
