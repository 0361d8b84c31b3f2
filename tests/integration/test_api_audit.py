"""What the audit trail says of what is done over HTTP, and who may read it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from services.packager.sweep import Sweep
from shared.contracts.accounts import AuditAction
from shared.db.pool import Database
from shared.errors import DatabaseUnavailable
from shared.resources import Resources
from shared.settings import Retention
from tests.integration import account_of, api_client, api_runs
from tests.integration.api_client import Api
from tests.integration.api_server import serving

PICKLE = api_runs.pickle_of("random_forest")


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def trail(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    """Oldest first."""
    answer = await client.get(f"/account/audit?limit=200&{query}")
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


async def actions(client: httpx.AsyncClient) -> list[str]:
    return [deed["action"] for deed in await trail(client)]


async def test_whatever_is_done_is_recorded_once(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    started = await trail(me)
    assert [deed["action"] for deed in started] == ["file.uploaded", "run.started"]
    upload, start = started
    assert (upload["detail"]["name"], upload["subject_kind"]) == ("iris.csv", "file")
    assert (start["subject_id"], start["actor"], start["subject_kind"]) == (str(run), "user", "run")
    assert start["detail"]["file_id"] == upload["subject_id"]

    model = await account_of.saved(api, me, worker_db, user, run, "Churn")
    headers = {"X-Request-Id": "the-one"}
    await me.patch(f"/models/{model}", json={"tags": ["a"]}, headers=headers)
    await me.delete(f"/models/{model}")
    await me.post(f"/models/{model}/restore")
    await me.post(f"/models/{model}/restore")  # it is there already: nothing is done
    key = (await me.post("/auth/api-keys", json={"name": "wall", "scopes": ["read"]})).json()
    await me.delete(f"/auth/api-keys/{key['id']}")
    await me.post("/auth/session")
    waiting = (await api_runs.queued(api, me))["task_id"]
    await me.post(f"/ml/cancel/{waiting}")
    await me.post(f"/ml/resume/{waiting}")
    await me.delete(f"/ml/tasks/{waiting}")
    files = (await me.get("/files")).json()["items"]
    assert (await me.delete(f"/files/{files[0]['file_id']}")).status_code == 204
    done = (await trail(me))[2:]
    assert [deed["action"] for deed in done] == [
        "model.saved",
        "model.changed",
        "model.deleted",
        "model.restored",
        "key.created",
        "key.revoked",
        "session.begun",
        "file.uploaded",
        "run.started",
        "run.cancelled",
        "run.resumed",
        "run.deleted",
        "file.deleted",
    ]
    assert done[1]["request_id"] == "the-one"
    assert (done[1]["subject_id"], done[1]["subject_kind"]) == (str(model), "model")
    assert done[4]["detail"] == {"name": "wall", "scopes": ["read"]}
    assert key["key"] not in str(done)


async def test_what_is_refused_or_only_read_is_not_recorded(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    before = await actions(me)
    for path in (f"/ml/status/{run}", f"/ml/results/{run}", "/files", "/models/stats", "/account"):
        assert (await me.get(path)).status_code == 200
    await me.head(f"/ml/download-model/{run}/best_model")
    assert (await me.post(f"/ml/cancel/{run}")).status_code == 409
    assert (await me.delete(f"/models/{uuid.uuid4()}")).status_code == 404
    assert (await me.post("/ml/train", json={"file_id": str(uuid.uuid4()), "target": "x"})).status_code == 404
    unknown = await me.get(f"/ml/download-model/{run}/nothing")
    assert unknown.status_code == 404
    assert await actions(me) == before


async def test_a_replayed_post_is_one_deed(api: Api, me: httpx.AsyncClient) -> None:
    file = await api_client.upload(me)
    body = {"file_id": file["file_id"], "target": "species"}
    for _ in range(2):
        answer = await me.post("/ml/train", json=body, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 202
    assert await actions(me) == ["file.uploaded", "run.started"]


async def test_links_and_transfers_are_different_deeds_and_different_counts(
    api: Api, env: dict[str, str], me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    model = await account_of.saved(api, me, worker_db, user, run, "Churn")
    known = len(await trail(me))
    path = f"/models/{model}/download"
    assert (await me.get(path)).content == PICKLE
    link = (await me.get(path, headers={"Accept": "application/json"})).json()
    async with api_client.running(env, DOWNLOADS="redirect") as redirecting:
        moved = await redirecting.user(user).get(path)
    assert moved.status_code == 307
    assert (await me.get(path, headers={"If-None-Match": f'"{link["sha256"]}"'})).status_code == 304
    deeds = (await trail(me))[known:]
    assert [deed["action"] for deed in deeds] == [
        "model.downloaded",
        "model.link_issued",
        "model.link_issued",
    ]
    assert deeds[0]["detail"] == {"filename": "Churn.pkl", "bytes": len(PICKLE)}
    assert deeds[1]["detail"] == {"filename": "Churn.pkl", "ttl_s": 3600}
    assert "http" not in str(deeds)
    shown = (await me.get(f"/models/{model}")).json()
    assert (shown["links_issued"], shown["transfers"]) == (2, 1)


async def test_of_a_run_too_and_parts_are_told_from_the_end(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    known = len(await trail(me))
    path = f"/ml/download-model/{run}/best_model"
    await me.get(path, headers={"Range": "bytes=0-9"})
    await me.get(path, headers={"Range": "bytes=10-"})
    await me.get(f"/ml/download-leaderboard/{run}")
    deeds = (await trail(me))[known:]
    assert [(deed["action"], deed["detail"]["bytes"]) for deed in deeds] == [
        ("model.downloaded_in_part", 10),
        ("model.downloaded", len(PICKLE) - 10),
        ("leaderboard.downloaded", len(api_runs.LEADERBOARD)),
    ]
    assert {(deed["subject_kind"], deed["subject_id"]) for deed in deeds} == {("run", str(run))}


async def test_a_client_that_hangs_up_downloaded_a_part(
    env: dict[str, str], api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    model = await account_of.saved(api, me, worker_db, user, run, "Large")
    store, size = api.context.store, 64 * 2**20
    path = f"{user}/large.pkl"
    await store.put_bytes(store.models, path, bytes(size), content_type="application/octet-stream")
    await api_runs.execute(
        worker_db,
        "UPDATE public.trained_models SET file_path = $2, file_size = $3, sha256 = $4 WHERE id = $1",
        model,
        path,
        size,
        api_runs.sha256(bytes(size)),
    )
    token = api_client.token(user)
    async with serving(env) as (_, url), httpx.AsyncClient() as browser:
        headers = {"Authorization": f"Bearer {token}"}
        async with browser.stream("GET", f"{url}/models/{model}/download", headers=headers) as answer:
            await anext(answer.aiter_raw(2**20))
        async with asyncio.timeout(30):
            while not (found := await trail(me, "action=model.downloaded_in_part")):
                await asyncio.sleep(0.05)
    assert 0 < found[0]["detail"]["bytes"] < size
    assert (await me.get(f"/models/{model}")).json()["transfers"] == 0


async def test_a_link_that_cannot_be_recorded_is_not_signed(
    api: Api,
    me: httpx.AsyncClient,
    worker_db: Database,
    user: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr("shared.db.audit.insert_alone", away)
    answer = await me.get(f"/ml/download-model/{run}/best_model", headers={"Accept": "application/json"})
    assert answer.status_code == 503
    assert "url" not in answer.json()


async def test_who_it_was(api: Api, me: httpx.AsyncClient, user: uuid.UUID) -> None:
    key = (await me.post("/auth/api-keys", json={"name": "nightly", "scopes": ["admin"]})).json()
    scripted = api.client({"Authorization": f"Bearer {key['key']}"})
    await api_client.upload(scripted)
    service = api.client({"Authorization": f"Bearer {api_client.service_token()}", "X-User-Id": str(user)})
    assert (await service.get("/files")).status_code == 200
    await api_client.upload(service)
    await service.get("/files")
    deeds = await trail(scripted)
    assert [(deed["action"], deed["actor"], deed.get("key_id")) for deed in deeds] == [
        ("key.created", "user", None),
        ("file.uploaded", "key", key["id"]),
        ("account.acted_as", "service", None),
        ("file.uploaded", "service", None),
    ]


async def test_acting_as_somebody_is_told_once_an_hour_by_all_processes(
    env: dict[str, str], me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    headers = {"Authorization": f"Bearer {api_client.service_token()}", "X-User-Id": str(user)}
    for _ in range(2):
        async with api_client.running(env) as another:
            assert (await another.client(headers).get("/models")).status_code == 200
    assert await actions(me) == ["account.acted_as"]
    await api_runs.execute(worker_db, "DELETE FROM trainyard.audit")  # as if it were long ago
    async with api_client.running(env) as another:
        assert (await another.client(headers).get("/models")).status_code == 200
    assert await actions(me) == ["account.acted_as"]


async def test_everybody_reads_their_own_and_page_by_page(api: Api, me: httpx.AsyncClient) -> None:
    for _ in range(5):
        await api_client.upload(me)
    assert await actions(api.user()) == []
    pages, cursor = [], ""
    while cursor is not None:
        page = (await me.get(f"/account/audit?limit=2{cursor and f'&cursor={cursor}'}")).json()
        pages.append([deed["id"] for deed in page["items"]])
        cursor = page["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 1]
    ids = [deed for page in pages for deed in page]
    assert ids == sorted(ids, reverse=True)
    assert await trail(me, "action=run.started") == []
    assert len(await trail(me, "action=file.uploaded")) == 5
    wrong = await me.get("/account/audit?action=nothing&limit=0")
    assert wrong.status_code == 422


async def test_a_key_needs_the_admin_scope_to_read_it(api: Api, me: httpx.AsyncClient) -> None:
    made = await me.post("/auth/api-keys", json={"name": "wall", "scopes": ["train"]})
    scripted = api.client({"Authorization": f"Bearer {made.json()['key']}"})
    for path in ("/account", "/account/audit", "/account/export", "/account/export/status"):
        assert (await scripted.get(path)).status_code == 403, path
    assert (await scripted.delete("/account/export")).status_code == 403
    assert (await scripted.delete("/account")).status_code == 403


async def test_rows_are_only_ever_added(api_db: Database, api: Api, user: uuid.UUID) -> None:
    await api_client.upload(api.user(user))
    for statement in (
        "UPDATE trainyard.audit SET action = 'file.deleted'",
        "DELETE FROM trainyard.audit",
        "INSERT INTO trainyard.audit (id, user_id, at, action, subject_kind, actor)"
        f" VALUES (gen_random_uuid(), '{user}', now() - interval '1 day', 'a.b', 'file', 'user')",
    ):
        async with api_db.transaction(user) as c:
            with pytest.raises(Exception, match="permission denied"):
                await c.execute(statement)


async def test_old_rows_go_in_batches(
    api: Api, me: httpx.AsyncClient, worker_resources: Resources, user: uuid.UUID
) -> None:
    await api_client.upload(me)
    async with worker_resources.db.transaction() as c:
        await c.execute(
            "INSERT INTO trainyard.audit (id, user_id, action, subject_kind, actor)"
            " SELECT gen_random_uuid(), $1, $2, 'account', 'system' FROM generate_series(1, 2500)",
            user,
            AuditAction.ACCOUNT_EXPORTED,
        )
    keep, drop = (Sweep(worker_resources, Retention(audit_ttl_s=s)) for s in (60, -60))
    assert await keep.forget_deeds() == 0
    assert len(await trail(me)) == 200
    assert await drop.forget_deeds() == 2501
    assert await trail(me) == []
