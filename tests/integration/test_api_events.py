"""A run as server-sent events, and what is pushed to those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.api.routes import status
from shared.contracts.states import Stage, TaskStatus
from shared.db import tasks
from shared.db.pool import Database
from shared.queue import announce
from tests.integration import api_client, api_runs
from tests.integration.api_client import Api
from tests.integration.api_server import serving


class Person:
    """A user of an API that is served."""

    def __init__(self, api: Api, url: str) -> None:
        self.api = api
        self.id = uuid.uuid4()
        self.http = httpx.AsyncClient(
            base_url=url, timeout=20, headers={"Authorization": f"Bearer {api_client.token(self.id)}"}
        )


@pytest.fixture
async def me(env: dict[str, str], buckets: None) -> AsyncIterator[Person]:
    async with serving(env) as (api, url):
        person = Person(api, url)
        async with person.http:
            yield person


class Stream:
    """An open event stream, read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def block(self) -> dict[str, str]:
        """The next event or comment as {field: value}; a comment's field is empty. {} at the end."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        return fields

    async def event(self) -> dict[str, Any]:
        """The next `task` event's Task."""
        while fields := await self.block():
            if "event" in fields:
                assert fields["event"] == "task"
                task = dict(json.loads(fields["data"]))
                assert fields["id"] == str(task["version"])
                return task
        return {}


@contextlib.asynccontextmanager
async def stream(me: Person, task_id: str, **headers: str) -> AsyncIterator[Stream]:
    async with me.http.stream("GET", f"/ml/events/{task_id}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


async def begin(me: Person, db: Database, task_id: str, said: str = "Looking") -> None:
    async with db.transaction() as c:
        assert await tasks.begin(c, uuid.UUID(task_id), Stage.PROFILING, said)


async def test_every_change_is_an_event_and_the_end_ends_it(me: Person, worker_db: Database) -> None:
    task_id = (await api_runs.queued(me.api, me.http))["task_id"]
    redis = me.api.context.redis
    async with asyncio.timeout(15), stream(me, task_id) as events:
        assert "retry" in await events.block()
        first = await events.event()
        assert (first["status"], first["queue_position"]) == ("queued", 1)
        began = time.monotonic()
        await begin(me, worker_db, task_id)
        await announce(redis, task_id)
        second = await events.event()
        assert second["stage"] == "profiling"
        assert second["version"] > first["version"]
        assert time.monotonic() - began < 0.5  # announced: not waited for the next look
        await begin(me, worker_db, task_id, "Looking closer")  # its announcement is lost
        began = time.monotonic()
        third = await events.event()
        assert third["message"] == "Looking closer"
        assert time.monotonic() - began < 2
        await api_runs.execute(
            worker_db, "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1", uuid.UUID(task_id)
        )
        await announce(redis, task_id)
        assert (await events.event())["status"] == "failed"
        assert await events.block() == {}  # and the stream is over
    async with asyncio.timeout(5):
        while len(me.api.context.watches):
            await asyncio.sleep(0.01)


async def test_a_client_that_comes_back_gets_what_it_missed(me: Person, worker_db: Database) -> None:
    task_id = (await api_runs.queued(me.api, me.http))["task_id"]
    seen = (await me.http.get(f"/ml/status/{task_id}")).json()["version"]
    async with asyncio.timeout(15):
        async with stream(me, task_id, **{"Last-Event-ID": str(seen)}) as events:
            following = asyncio.create_task(events.event())
            while not me.api.context.watches.waiting:  # known already: nothing is sent until it changes
                await asyncio.sleep(0.01)
            assert not following.done()
            await begin(me, worker_db, task_id)
            await announce(me.api.context.redis, task_id)
            assert (await following)["version"] > seen
        for known in ("1", "nonsense", ""):
            async with stream(me, task_id, **{"Last-Event-ID": known}) as events:
                assert (await events.event())["stage"] == "profiling"
        await api_runs.execute(
            worker_db, "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1", uuid.UUID(task_id)
        )
        version = (await me.http.get(f"/ml/status/{task_id}")).json()["version"]
        # an EventSource stops connecting again at a 204
        over = await me.http.get(f"/ml/events/{task_id}", headers={"Last-Event-ID": str(version)})
        assert (over.status_code, over.content) == (204, b"")
        async with stream(me, task_id) as events:
            assert (await events.event())["status"] == TaskStatus.FAILED
            assert await events.block() == {}


async def test_between_events_nothing_is_held_and_who_leaves_is_forgotten(
    me: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "HEARTBEAT_S", 0.3)
    task_id = (await api_runs.queued(me.api, me.http))["task_id"]
    context = me.api.context
    async with asyncio.timeout(15), contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(stream(me, task_id)) for _ in range(10)]
        for events in streams:
            await events.event()
        for events in streams:
            assert await events.block() == {"": "heartbeat"}
        assert len(context.watches) == 1
        busy = []
        while context.watches.waiting < 10:
            await asyncio.sleep(0.005)
        for _ in range(20):
            await asyncio.sleep(0.005)
            busy.append(context.db.pool.get_size() - context.db.pool.get_idle_size())
        assert 0 in busy
        await stack.aclose()
        while context.watches.waiting or len(context.watches):
            await asyncio.sleep(0.01)


async def test_deleted_somebody_elses_and_expired(me: Person, worker_db: Database) -> None:
    task_id = (await api_runs.queued(me.api, me.http))["task_id"]
    other = {"Authorization": f"Bearer {api_client.token(uuid.uuid4())}"}
    for url in (f"/ml/events/{task_id}", "/ml/events/nonsense"):
        answer = await me.http.get(url, headers=other)
        assert (answer.status_code, answer.json()["detail"]) == (404, "Task not found")
    async with asyncio.timeout(15):
        soon = api_client.token(me.id, exp=int(dt.datetime.now(dt.UTC).timestamp()) + 2)
        async with stream(me, task_id, Authorization=f"Bearer {soon}") as events:
            await events.event()
            while await events.block():
                pass  # ends by itself: the token has expired
        async with stream(me, task_id) as events:
            await events.event()
            assert (await me.http.delete(f"/ml/tasks/{task_id}")).status_code == 204
            assert await events.event() == {}


async def test_an_announcement_makes_a_304_fresh(me: Person, worker_db: Database) -> None:
    task_id = (await api_runs.queued(me.api, me.http))["task_id"]
    url = f"/ml/status/{task_id}"
    etag = {"If-None-Match": (await me.http.get(url)).headers["etag"]}
    assert (await me.http.get(url, headers=etag)).status_code == 304
    watches = me.api.context.watches
    await watches.look(me.id, uuid.UUID(task_id))
    await begin(me, worker_db, task_id)
    assert watches.fresh(me.id, uuid.UUID(task_id)) is not None
    assert watches.fresh(uuid.uuid4(), uuid.UUID(task_id)) is None
    watches.announced(b"\xff no id")
    watches.announced(task_id.encode())
    assert watches.fresh(me.id, uuid.UUID(task_id)) is None
    assert (await me.http.get(url, headers=etag)).status_code == 200
