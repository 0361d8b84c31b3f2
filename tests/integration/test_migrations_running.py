"""Migrations while services run: they go on, and wait for one another no longer than anybody notices."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import asyncpg
import pytest

from shared.backup import tables
from shared.db import migrate
from shared.db.pool import Connection, claims, open_database
from shared.settings import Postgres, load
from tests.integration.api_client import Api, upload
from tests.isolation.belongings import Belongings, give
from tests.isolation.calls import Query, arguments, queries

LATER = (9999, "9999_later.sql", "ALTER TABLE trainyard.tasks ADD COLUMN later text NOT NULL DEFAULT 'x'")


async def add_columns(env: Mapping[str, str]) -> int:
    """To every table of ours, as a migration of a later version may; how many tables there are."""
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        found = await tables.tables(connection)
        for table in found:
            await connection.execute(f"ALTER TABLE {table.sql} ADD COLUMN of_later text")
        return len(found)
    finally:
        await connection.close()


async def test_no_statement_of_this_version_notices_a_column_that_a_later_one_adds(
    env: dict[str, str],
) -> None:
    """Every query of shared/db, prepared before and run after: a result that changed would be refused in the
    middle of its transaction."""
    user = uuid.uuid4()
    root = await asyncpg.connect(env["DATABASE_URL"])
    try:
        await root.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
        its = await give(root, user)
    finally:
        await root.close()
    async with (
        open_database(env["DATABASE_URL"], load(Postgres, env), application="test") as db,
        db.connection() as c,
    ):
        everything = queries()
        assert len(everything) > 50
        assert [found for query in everything if (found := await outdated(c, query, its))] == []
        assert await add_columns(env) > 10
        assert [found for query in everything if (found := await outdated(c, query, its))] == []


async def outdated(c: Connection, query: Query, its: Belongings) -> str | None:
    """What a query says of the schema, called in a transaction of which nothing stays; None: nothing."""
    given = next(iter(arguments(query, its, its.user)))
    outer = c.transaction()
    await outer.start()
    try:
        await c.execute("SELECT set_config('request.jwt.claims', $1, true)", claims(its.user))
        await query.run(c, **given)
    except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError) as error:
        return f"{query.name}: {error}"
    except asyncpg.PostgresError:
        pass  # not of these arguments, before and after alike
    finally:
        await outer.rollback()
    return None


async def test_requests_go_on_while_columns_are_added(api: Api, env: dict[str, str]) -> None:
    person = api.user()
    file = await upload(person)
    request = {"file_id": file["file_id"], "target": "species"}

    async def everything() -> set[int]:
        task = await person.post("/ml/train", json=request)
        path = f"/ml/status/{task.json()['task_id']}"
        answers = [task, await person.get(path), await person.get("/ml/tasks"), await person.get("/models")]
        answers += [await person.get("/files"), await person.get(f"/files/{file['file_id']}")]
        return {answer.status_code for answer in answers}

    assert await everything() == {HTTPStatus.OK, HTTPStatus.ACCEPTED}
    adding = asyncio.create_task(add_columns(env))
    while not adding.done():
        assert await everything() == {HTTPStatus.OK, HTTPStatus.ACCEPTED}
    await adding
    assert await everything() == {HTTPStatus.OK, HTTPStatus.ACCEPTED}


async def test_a_table_in_use_holds_up_the_migration_and_nobody_else(
    api: Api, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "migrations", lambda real=migrate.migrations: [*real(), LATER])
    monkeypatch.setattr(migrate, "LOCK_LIMIT", "50ms")
    person = api.user()
    assert (await person.get("/ml/tasks")).status_code == HTTPStatus.OK
    reader = await asyncpg.connect(env["DATABASE_URL"])
    try:
        async with reader.transaction():  # as a report or a backup does, for minutes
            await reader.fetch("SELECT FROM trainyard.tasks")
            migrating = asyncio.create_task(migrate.migrate(load(Postgres, env)))
            for _ in range(30):
                assert (await person.get("/ml/tasks")).status_code == HTTPStatus.OK
            assert not migrating.done()
        assert await migrating == [LATER[1]]
    finally:
        await reader.close()


async def test_a_migration_that_never_gets_its_table_changes_nothing(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "migrations", lambda real=migrate.migrations: [*real(), LATER])
    monkeypatch.setattr(migrate, "LOCK_LIMIT", "20ms")
    reader = await asyncpg.connect(env["DATABASE_URL"])
    try:
        async with reader.transaction():
            await reader.fetch("SELECT FROM trainyard.tasks")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await migrate.migrate(load(Postgres, env), patience_s=0.3)
        assert await reader.fetchval("SELECT count(*) FROM trainyard.migrations WHERE number = 9999") == 0
        assert await migrate.migrate(load(Postgres, env)) == [LATER[1]]
    finally:
        await reader.close()
