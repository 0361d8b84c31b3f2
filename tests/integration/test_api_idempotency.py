"""The same POST sent twice does its work once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from services.packager.sweep import Sweep
from shared.db import idempotency
from shared.db.idempotency import Key
from shared.db.pool import Database
from shared.settings import Retention
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, Api, upload

KEY = {"Idempotency-Key": "0198c2f0 one"}


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def count(db: Database, table: str) -> int:
    async with db.transaction() as c:
        return int(await c.fetchval(f"SELECT count(*) FROM {table}"))


def replayed(first: httpx.Response, second: httpx.Response) -> bool:
    """Whether the second is the first one's answer, and says so; fails where it is another."""
    same = second.headers.get("idempotency-replayed") == "true"
    assert "idempotency-replayed" not in first.headers
    if same:
        assert (second.status_code, second.content) == (first.status_code, first.content)
        for name in ("location", "retry-after", "content-type"):
            assert second.headers.get(name) == first.headers.get(name)
    return same


async def test_one_task_however_often_it_is_asked_for(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    file_id = (await upload(me))["file_id"]
    body = {"file_id": file_id, "target": "species", "seed": 3}
    first = await me.post("/ml/train", json=body, headers=KEY)
    assert first.status_code == 202
    assert replayed(first, await me.post("/ml/train", json=body, headers=KEY))
    # the same JSON laid out in another way is the same request
    laid_out = json.dumps(dict(reversed(list(body.items()))), indent=2)
    second = await me.post("/ml/train", content=laid_out, headers=KEY | {"Content-Type": "application/json"})
    assert replayed(first, second)
    other = await me.post("/ml/train", json=body | {"seed": 4}, headers=KEY)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")
    assert await count(worker_db, "trainyard.tasks") == 1
    # another key, no key, and another user's same key are other requests
    for more in ({"Idempotency-Key": "0198c2f0 two"}, {}, {}):
        assert not replayed(first, await me.post("/ml/train", json=body, headers=more))
    somebody = api.user()
    theirs = {"file_id": (await upload(somebody))["file_id"], "target": "species"}
    assert (await somebody.post("/ml/train", json=theirs, headers=KEY)).status_code == 202
    assert await count(worker_db, "trainyard.tasks") == 5


async def test_sent_at_once_they_make_one_task(me: httpx.AsyncClient, worker_db: Database) -> None:
    body = {"file_id": (await upload(me))["file_id"], "target": "species"}
    answers = await asyncio.gather(*(me.post("/ml/train", json=body, headers=KEY) for _ in range(12)))
    assert {a.status_code for a in answers} <= {202, 409}
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"] == "idempotency-key-in-use"
            assert answer.headers["retry-after"] == "1"
    assert len({a.json()["task_id"] for a in answers if a.status_code == 202}) == 1
    assert await count(worker_db, "trainyard.tasks") == 1
    assert await count(worker_db, "trainyard.jobs WHERE kind = 'plan'") == 1


async def test_what_made_nothing_is_not_kept(me: httpx.AsyncClient, worker_db: Database) -> None:
    body = {"file_id": (await upload(me))["file_id"], "target": "species"}
    assert (await me.post("/ml/train", json=body | {"models": ["magic"]}, headers=KEY)).status_code == 422
    assert (await me.post("/ml/train", content=b"{", headers=KEY)).status_code == 400
    assert await count(worker_db, "trainyard.idempotency_keys") == 0
    assert (await me.post("/ml/train", json=body, headers=KEY)).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "\xfc", " "])
async def test_a_key_that_is_none(me: httpx.AsyncClient, key: str) -> None:
    body = {"file_id": str(uuid.uuid4()), "target": "species"}
    for path, content in (("/ml/train", {"json": body}), ("/files", {"files": {"file": ("t.csv", CSV)}})):
        answer = await me.post(path, headers={"Idempotency-Key": key.encode("latin-1")}, **content)  # type: ignore[arg-type]
        assert answer.status_code == 422
        assert [fault["pointer"] for fault in answer.json()["errors"]] == ["Idempotency-Key"]


async def test_it_outlives_the_process_and_ends_after_its_time(
    env: dict[str, str], buckets: None, worker_db: Database, user: uuid.UUID
) -> None:
    async with api_client.running(env) as api:
        me = api.user(user)
        body = {"file_id": (await upload(me))["file_id"], "target": "species"}
        first = await me.post("/ml/train", json=body, headers=KEY)
    async with api_client.running(env) as api:
        me = api.user(user)
        assert replayed(first, await me.post("/ml/train", json=body, headers=KEY))
        await api_runs.execute(
            worker_db,
            "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1",
            uuid.UUID(first.json()["task_id"]),
        )
        assert replayed(first, await me.post("/ml/train", json=body, headers=KEY))  # as it was then
        await expire(api, user)
        late = await me.post("/ml/train", json=body, headers=KEY)
        assert not replayed(first, late)
        assert late.json()["task_id"] != first.json()["task_id"]
        assert replayed(late, await me.post("/ml/train", json=body, headers=KEY))
        await expire(api, user)
        sweep = Sweep(api.context.resources, Retention())
        sweep.db = worker_db
        assert await sweep.forget_answers() == 1
    assert await count(worker_db, "trainyard.idempotency_keys") == 0


async def expire(api: Api, user: uuid.UUID) -> None:
    async with api.context.db.transaction(user) as c:
        await c.execute("UPDATE trainyard.idempotency_keys SET expires_at = now() - interval '1 second'")


async def test_cancel_resume_and_save_take_a_key_too(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    tasks = [(await api_runs.queued(api, me))["task_id"] for _ in range(2)]
    for call in ("cancel", "resume"):
        first = await me.post(f"/ml/{call}/{tasks[0]}", headers=KEY)
        assert first.status_code == 202
        assert replayed(first, await me.post(f"/ml/{call}/{tasks[0]}", headers=KEY))
        other = await me.post(f"/ml/{call}/{tasks[1]}", headers=KEY)
        assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")
    run = await api_runs.completed(api, me, worker_db, user)
    body = {"task_id": str(run), "model_name": "Mine"}
    first = await me.post("/models/save", json=body, headers=KEY)
    assert first.status_code == 202
    assert replayed(first, await me.post("/models/save", json=body, headers=KEY))
    assert await count(worker_db, "public.trained_models") == 1


async def stored(api: Api, user: uuid.UUID) -> int:
    store = api.context.store
    return len([item async for item in store.list(store.datasets, f"{user}/")])


async def test_an_upload_sent_twice_is_one_file(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    def send(content: bytes = CSV, name: str = "iris.csv", headers: Mapping[str, str] = KEY) -> Any:
        return me.post("/files", files={"file": (name, content)}, headers=headers)

    refused = await send(b"")
    assert refused.status_code == 422
    first = await send()
    assert first.status_code == 201
    assert replayed(first, await send())
    for other in (send(CSV + b"5,6,z\n"), send(name="other.csv")):
        answer = await other
        assert (answer.status_code, answer.json()["type"]) == (422, "idempotency-key-reused")
    assert await stored(api, user) == 1
    assert await count(worker_db, "trainyard.files") == 1
    # a route is part of the key
    body = {"file_id": first.json()["file_id"], "target": "species"}
    assert (await me.post("/ml/train", json=body, headers=KEY)).status_code == 202


async def test_uploads_sent_at_once_make_one_file(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    answers = await asyncio.gather(
        *(me.post("/files", files={"file": ("t.csv", CSV)}, headers=KEY) for _ in range(6))
    )
    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.json()["file_id"] for a in answers if a.status_code == 201}) == 1
    assert all(a.headers["retry-after"] for a in answers if a.status_code == 409)
    assert await count(worker_db, "trainyard.files") == 1
    assert await stored(api, user) == 1


async def test_an_upload_whose_process_died_frees_its_key(
    api: Api, me: httpx.AsyncClient, user: uuid.UUID
) -> None:
    await me.get("/files")
    key, dead = Key(user, "POST /files", KEY["Idempotency-Key"]), uuid.uuid4()
    async with api.context.db.transaction(user) as c:
        assert await idempotency.lock(c, key, dead, lock_s=0.5, ttl_s=60)
        assert not await idempotency.lock(c, key, uuid.uuid4(), lock_s=60, ttl_s=60)

    async def send() -> httpx.Response:
        return await me.post("/files", files={"file": ("t.csv", CSV)}, headers=KEY)

    busy = await send()
    assert (busy.status_code, busy.json()["type"]) == (409, "idempotency-key-in-use")
    async with asyncio.timeout(5):
        while (answer := await send()).status_code == 409:
            await asyncio.sleep(0.05)
    assert answer.status_code == 201
    # and had it only been slow, what it made is not recorded
    late = idempotency.Answer(fingerprint=b"", status=201, headers={}, body=b"")
    async with api.context.db.transaction(user) as c:
        assert not await idempotency.answered(c, key, dead, late, 60)
        await idempotency.renew(c, key, dead, lock_s=60)
        await idempotency.release(c, key, dead)
    assert replayed(answer, await send())


async def test_nobody_sees_anothers_keys(api: Api, me: httpx.AsyncClient, user: uuid.UUID) -> None:
    body = {"file_id": (await upload(me))["file_id"], "target": "species"}
    await me.post("/ml/train", json=body, headers=KEY)
    async with api.context.db.transaction(uuid.uuid4()) as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.idempotency_keys") == 0
    async with api.context.db.transaction(user) as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.idempotency_keys") == 1
