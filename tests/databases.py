"""Databases for tests, and the users in them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shared.db.pool import Database

_counter = itertools.count()


def on_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_database(env: Mapping[str, str], name: str) -> dict[str, str]:
    """`env` with all three database URLs pointing at the database `name`."""
    urls = ("DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL")
    return dict(env) | {key: on_database(env[key], name) for key in urls}


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def fresh_database(env: Mapping[str, str], template: str) -> Iterator[dict[str, str]]:
    """`env` with a database made from `template`, for as long as the block lasts."""
    name = f"test_{next(_counter)}"
    asyncio.run(execute(env["DATABASE_URL"], f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield with_database(env, name)
    asyncio.run(execute(env["DATABASE_URL"], f"DROP DATABASE {name} WITH (FORCE)"))


async def new_user(api_db: Database) -> uuid.UUID:
    user = uuid.uuid4()
    async with api_db.transaction(user) as c:
        await c.execute("SELECT trainyard.ensure_user($1)", f"{user}@example.org")
    return user
