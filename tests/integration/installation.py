"""Whole installations, each with a database and buckets of its own, and what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg

from services.packager.jobs import PackagerJobs
from shared.backup import tables
from shared.contracts.states import JobKind
from shared.db import bundles
from shared.db.migrate import migrate
from shared.db.pool import Database, open_database
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, Retention, load
from shared.storage import Store, dataset_key, open_store
from tests.databases import execute, new_user, with_database
from tests.integration.signatures import KEYS
from tests.integration.test_packager import asked, finished_run, saved

_counter = itertools.count()

TABLE = b"a,b,species\n1,2,x\n3,4,y\n"


@contextlib.contextmanager
def installation(servers: Mapping[str, str], template: str = "template1") -> Iterator[dict[str, str]]:
    """Variables of one that is empty: a database like `template`, and buckets that are not there yet."""
    name = f"installation_{next(_counter)}_{uuid.uuid4().hex[:8]}"
    asyncio.run(execute(servers["DATABASE_URL"], f"CREATE DATABASE {name} TEMPLATE {template}"))
    own = {
        f"S3_BUCKET_{kind}": f"{kind.lower()}-{uuid.uuid4()}"
        for kind in ("DATASETS", "ARTIFACTS", "BUNDLES", "MODELS")
    }
    try:
        yield with_database(servers, name) | own
    finally:
        asyncio.run(execute(servers["DATABASE_URL"], f"DROP DATABASE {name} WITH (FORCE)"))


class Place:
    """An installation, seen by its owner."""

    def __init__(self, env: dict[str, str], store: Store) -> None:
        self.env, self.store = env, store

    async def execute(self, *statements: str) -> None:
        await execute(self.env["DATABASE_URL"], *statements)

    async def value(self, sql: str, *arguments: object) -> Any:
        """The first value of a statement."""
        connection = await asyncpg.connect(self.env["DATABASE_URL"])
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()

    async def rows(self) -> dict[str, list[str]]:
        """Table → its rows as text, in an order of their own."""
        connection = await asyncpg.connect(self.env["DATABASE_URL"])
        try:
            found = {}
            for table in await tables.tables(connection):
                columns = ", ".join(f'"{column}"' for column in table.columns)
                rows = await connection.fetch(
                    f"SELECT ROW({columns})::text AS row FROM {table.sql} ORDER BY 1"
                )
                found[table.full_name] = [row["row"] for row in rows]
            return found
        finally:
            await connection.close()

    async def objects(self) -> dict[tuple[str, str], tuple[bytes, str, str | None]]:
        """(what the bucket is for, key) → bytes, content type, offered file name."""
        found = {}
        for role in ("datasets", "artifacts", "bundles", "models"):
            bucket = getattr(self.store, role)
            async for item in self.store.list(bucket, ""):
                head = await self.store.head(bucket, item.key)
                assert head is not None
                content = b"".join([chunk async for chunk in self.store.stream(bucket, item.key)])
                found[role, item.key] = (content, head.content_type, head.filename)
        return found


@contextlib.asynccontextmanager
async def opened(env: dict[str, str]) -> AsyncIterator[Place]:
    """One with its buckets."""
    async with open_store(load(S3, env)) as store:
        await store.ensure_buckets()
        yield Place(env, store)


class Inhabited(Place):
    """One with a user, a file, a run of two models, one of them saved, and a ZIP; and its parts, open."""

    def __init__(self, env: dict[str, str], resources: Resources, api_db: Database) -> None:
        super().__init__(env, resources.store)
        self.resources, self.api_db = resources, api_db
        self.packager = PackagerJobs(resources, load(S3, env), Retention(), KEYS)
        self.user = self.task = self.file = self.model = uuid.UUID(int=0)

    async def settle(self) -> None:
        self.user = await new_user(self.api_db)
        self.task = await finished_run(self.resources, self.api_db, self.user)
        self.file = await self.value("SELECT id FROM trainyard.files")
        await self.store.put_bytes(
            self.store.datasets,
            dataset_key(self.user, self.file),
            TABLE,
            content_type="text/csv",
            filename="Größe “1”.csv",
        )
        await self.execute(
            f"UPDATE trainyard.files SET size_bytes = {len(TABLE)},"
            f" sha256 = '{hashlib.sha256(TABLE).hexdigest()}'"
        )
        self.model = await saved(self.api_db, self.task, self.user, "Mine")
        await self.packager.save(await self.asked(JobKind.SAVE, self.model))
        async with self.api_db.transaction(self.user) as c:
            await bundles.ask(c, self.task, self.user, 3600)
        await self.packager.bundle(await self.asked(JobKind.BUNDLE, self.task))

    async def asked(self, kind: JobKind, subject: uuid.UUID) -> Any:
        return await asked(self.api_db, self.resources.db, kind, subject, self.user)


@contextlib.asynccontextmanager
async def inhabited(env: dict[str, str]) -> AsyncIterator[Inhabited]:
    await migrate(load(Postgres, env))
    async with (
        open_resources(
            env["WORKER_DATABASE_URL"],
            postgres=load(Postgres, env),
            redis=load(Redis, env),
            s3=load(S3, env),
            application="test-worker",
        ) as resources,
        open_database(env["API_DATABASE_URL"], load(Postgres, env), application="test-api") as api_db,
    ):
        await resources.store.ensure_buckets()
        made = Inhabited(env, resources, api_db)
        await made.settle()
        yield made
