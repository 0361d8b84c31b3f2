"""What a test keeps in its own process: the proxy before the store, and an eye on database and store.

All of it lives in an event loop of its own thread, so that tests are plain functions that may block.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import asyncpg

from shared.settings import S3, load
from shared.storage import Listed, Store, open_store
from tests.integration.faulty_proxy import FaultyProxy, Rule, faulty_proxy

T = TypeVar("T")

AUDIT = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.claims (
    kind text, subject_id uuid, attempt int, tries int, owner text,
    at timestamptz DEFAULT clock_timestamp());
CREATE TABLE chaos.ends (
    candidate_id uuid, task_id uuid, model_name text, attempt int, status text,
    at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION chaos.claimed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.claims VALUES (NEW.kind, NEW.subject_id, NEW.attempt, NEW.tries, NEW.owner);
    RETURN NULL;
END $$;
CREATE FUNCTION chaos.ended() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.ends VALUES (NEW.id, NEW.task_id, NEW.model_name, NEW.attempt, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER claimed AFTER UPDATE ON trainyard.jobs
    FOR EACH ROW WHEN (NEW.attempt > OLD.attempt) EXECUTE FUNCTION chaos.claimed();
CREATE TRIGGER ended AFTER UPDATE ON trainyard.candidates FOR EACH ROW
    WHEN (NEW.status IN ('done', 'failed', 'skipped')) EXECUTE FUNCTION chaos.ended();
"""
"""A record of every claim and every end, kept by the database itself beside the product's tables."""


class Backstage:
    """`store` goes around the proxy: what it sees is what is there."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open = AsyncExitStack()
        self._db: asyncpg.Connection | None = None
        self.proxy: FaultyProxy
        self.store: Store

    def __enter__(self) -> Backstage:
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        self.proxy = await self._open.enter_async_context(
            faulty_proxy(self._env["S3_ENDPOINT_URL"], lambda _: None)
        )
        self.store = await self._open.enter_async_context(open_store(load(S3, self._env)))

    async def _stop(self) -> None:
        if self._db is not None:
            self._db.terminate()
        await self._open.aclose()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        """The result of a coroutine that runs in the loop of this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def watch_database(self) -> None:
        """Once the migrations have run."""
        self.run(self._connection_execute(AUDIT))

    async def _connection_execute(self, sql: str) -> None:
        await (await self._connection()).execute(sql)

    async def _connection(self) -> asyncpg.Connection:
        if self._db is None or self._db.is_closed():
            self._db = await asyncpg.connect(self._env["DATABASE_URL"])
        return self._db

    def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statement, seen as the database's owner; read-only by custom."""

        async def fetch() -> list[asyncpg.Record]:
            try:
                return await (await self._connection()).fetch(sql, *arguments)
            except (
                asyncpg.PostgresConnectionError,
                asyncpg.InterfaceError,
                asyncpg.AdminShutdownError,
                OSError,
            ):
                self._db = None  # the server was restarted meanwhile
                return await (await self._connection()).fetch(sql, *arguments)

        return self.run(fetch())

    def value(self, sql: str, *arguments: object) -> Any:
        found = self.rows(sql, *arguments)
        return found[0][0] if found else None

    def break_store(self, rule: Rule) -> None:
        """What the proxy does from now on. Connections are one request each: it holds at once."""
        self.proxy.rule = rule

    def mend_store(self) -> None:
        self.proxy.rule = lambda _: None

    def content(self, bucket: str, key: str) -> bytes:
        """An object's bytes; raises what the store raises."""

        async def read() -> bytes:
            return b"".join([chunk async for chunk in self.store.stream(bucket, key)])

        return self.run(read())

    def sha256(self, bucket: str, key: str) -> str:
        return hashlib.sha256(self.content(bucket, key)).hexdigest()

    def listing(self, bucket: str, prefix: str = "") -> list[Listed]:
        async def listing() -> list[Listed]:
            return [item async for item in self.store.list(bucket, prefix)]

        return self.run(listing())
