"""The account over HTTP: what it holds, and what a deletion does to whoever goes on using it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from services.packager.erase import EraseJobs
from shared.db.pool import Database
from shared.resources import Resources
from tests.integration import api_client
from tests.integration.account_of import LAST_WORDS, ask_to_erase, erase, filled, objects_of, rows_of
from tests.integration.api_client import CSV, Api, upload


@pytest.fixture
def eraser(worker_resources: Resources) -> EraseJobs:
    return EraseJobs(worker_resources)


async def test_what_is_in_it(api: Api, worker_db: Database) -> None:
    empty = (await api.user().get("/account")).json()
    assert (empty["files"], empty["runs"], empty["models"], empty["stored_bytes"]) == (0, 0, 0, 0)
    mine = await filled(api, worker_db)
    shown = (await mine.client.get("/account")).json()
    files = (await mine.client.get("/files")).json()["items"]
    models = [
        m for q in ("false", "true") for m in (await mine.client.get(f"/models?deleted={q}")).json()["items"]
    ]
    assert (shown["user_id"], shown["email"]) == (str(mine.user), f"{mine.user}@example.org")
    assert (shown["files"], shown["runs"], shown["models"]) == (len(files), 3, 2)
    assert shown["stored_bytes"] == sum(f["size_bytes"] for f in files) + sum(m["file_size"] for m in models)
    assert shown["limits"]["max_queued_tasks"] == 500
    scripted = api.client({"Authorization": f"Bearer {mine.key['key']}"})
    assert (await scripted.get("/account")).json() == shown | {"email": None}


async def test_an_upload_under_way_leaves_nothing(
    api: Api, env: dict[str, str], eraser: EraseJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    assert (await me.get("/account")).status_code == 200
    stored, go_on = asyncio.Event(), asyncio.Event()
    store = api.context.store
    put_stream = store.put_stream

    async def slow(*args: Any, **kwargs: Any) -> Any:
        kept = await put_stream(*args, **kwargs)
        stored.set()
        await go_on.wait()
        return kept

    monkeypatch.setattr(store, "put_stream", slow)
    late = asyncio.create_task(me.post("/files", files={"file": ("late.csv", CSV)}))
    await stored.wait()
    await ask_to_erase(me, user)
    go_on.set()
    refused = await late
    assert (refused.status_code, refused.json()["type"]) == (409, "account-being-deleted")
    await erase(eraser)
    assert await rows_of(env, user) == LAST_WORDS
    assert await objects_of(eraser.store, user) == set()


async def test_who_asks_waits_for_what_is_being_added(
    api: Api, api_db: Database, env: dict[str, str], eraser: EraseJobs
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    await me.get("/account")
    async with api_db.transaction(user) as c:
        await c.execute(
            "INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256)"
            " VALUES (gen_random_uuid(), $1, 'a.csv', 1, 'x')",
            user,
        )
        asking = asyncio.create_task(ask_to_erase(me, user))
        done, _ = await asyncio.wait({asking}, timeout=0.5)
        assert not done
    await asking
    await erase(eraser)
    assert await rows_of(env, user) == LAST_WORDS


async def test_the_same_person_begins_anew(
    api: Api, env: dict[str, str], worker_db: Database, eraser: EraseJobs
) -> None:
    mine = await filled(api, worker_db)
    scripted = api.client({"Authorization": f"Bearer {mine.key['key']}"})
    assert (await scripted.get("/account")).status_code == 200
    async with api_client.running(env) as other:
        elsewhere = other.user(mine.user)
        assert (await elsewhere.get("/files")).status_code == 200
        await ask_to_erase(scripted, mine.user)
        async with asyncio.timeout(10):  # this process remembered them, and is told by Redis
            while (await elsewhere.get("/files")).status_code != 409:
                await asyncio.sleep(0.02)
        for client in (mine.client, scripted):
            for refused in (
                await client.get("/models"),
                await client.delete(f"/account?confirm={mine.user}"),
            ):
                assert (refused.status_code, refused.json()["type"]) == (409, "account-being-deleted")
        await erase(eraser)
        assert (await scripted.get("/files")).status_code == 401
        assert await rows_of(env, mine.user) == LAST_WORDS
        for client in (mine.client, elsewhere):
            assert (await client.get("/files")).json()["items"] == []
            again = (await client.get("/account")).json()
            assert (again["files"], again["runs"], again["models"], again["stored_bytes"]) == (0, 0, 0, 0)
        for client in (mine.client, elsewhere):
            await upload(client)
        deeds = (await mine.client.get("/account/audit")).json()["items"]
    assert [deed["action"] for deed in deeds] == ["file.uploaded", "file.uploaded", "account.deleted"]


async def test_a_process_that_was_told_nothing_refuses_once_and_then_looks(
    api: Api, env: dict[str, str], eraser: EraseJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    async with api_client.running(env) as other:
        deaf = other.user(user)
        assert (await deaf.get("/files")).status_code == 200
        monkeypatch.setattr(other.context.accounts, "forget", lambda _: None)
        await ask_to_erase(me, user)
        written = await deaf.post("/files", files={"file": ("a.csv", CSV)})
        assert (written.status_code, written.json()["type"]) == (409, "account-being-deleted")
        monkeypatch.undo()
        await erase(eraser)
        assert await rows_of(env, user) == LAST_WORDS
        stale = await deaf.post("/files", files={"file": ("a.csv", CSV)})
        assert stale.status_code in (201, 409)
        assert (await deaf.post("/files", files={"file": ("a.csv", CSV)})).status_code == 201


async def test_it_is_not_done_by_mistake(api: Api, env: dict[str, str]) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    for given in ("", "?confirm=", "?confirm=yes", f"?confirm={uuid.uuid4()}"):
        answer = await me.delete(f"/account{given}")
        assert answer.status_code == 422, given
        assert answer.json()["errors"][0]["pointer"] == "?confirm"
    assert (await me.get("/account")).json()["user_id"] == str(user)
    assert "trainyard.erasures" not in await rows_of(env, user)
