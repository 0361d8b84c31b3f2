"""Services that are started beside the migrations wait for theirs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping

import pytest

from shared.db.migrate import migrate, migrations
from shared.db.migrated import lacking, wait
from shared.settings import Postgres, load
from tests.databases import execute, with_database

BEFORE = 13
"""The last migration before there was a way to ask."""


@pytest.fixture
def empty(servers: Mapping[str, str], template: str) -> Iterator[dict[str, str]]:
    """A database without a schema; the logins are the server's, and there already."""
    name = "not_migrated"
    asyncio.run(execute(servers["DATABASE_URL"], f"CREATE DATABASE {name}"))
    yield with_database(servers, name)
    asyncio.run(execute(servers["DATABASE_URL"], f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.mark.parametrize("login", ["API_DATABASE_URL", "WORKER_DATABASE_URL"])
async def test_a_migrated_database_lacks_nothing(env: dict[str, str], login: str) -> None:
    assert await lacking(env[login]) == []


async def test_what_this_version_knows_and_the_database_does_not_is_named(env: dict[str, str]) -> None:
    _, last, _ = migrations()[-1]
    await execute(env["DATABASE_URL"], f"DELETE FROM trainyard.migrations WHERE name = '{last}'")
    assert await lacking(env["API_DATABASE_URL"]) == [last]


async def test_what_a_later_version_added_is_no_reason_to_wait(env: dict[str, str]) -> None:
    await execute(env["DATABASE_URL"], "INSERT INTO trainyard.migrations VALUES (9999, 'later.sql', '')")
    assert await lacking(env["API_DATABASE_URL"]) == []


async def test_it_waits_through_an_empty_database_and_one_of_before(empty: dict[str, str]) -> None:
    waiting = asyncio.create_task(wait(empty["WORKER_DATABASE_URL"], every_s=0.01))
    await asyncio.sleep(0)
    assert not waiting.done()
    await migrate(load(Postgres, empty), up_to=BEFORE)
    assert not waiting.done()
    await migrate(load(Postgres, empty))
    await asyncio.wait_for(waiting, 60)


async def test_as_a_program(env: dict[str, str]) -> None:
    given = {"PATH": os.environ["PATH"], "API_DATABASE_URL": env["API_DATABASE_URL"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.db.migrated", env=given, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0
    assert b'"migrated"' in said
    assert env["API_DATABASE_URL"].encode() not in said
