"""The end of an account: nothing of it is left, nothing of another's is touched, whatever dies meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.packager.erase import EraseJobs
from services.packager.export import ExportJobs
from shared.contracts.states import JobKind
from shared.db import account, jobs
from shared.db.pool import Database
from shared.errors import LeaseLost, StorageUnavailable
from shared.resources import Resources
from shared.storage import dataset_key, model_key
from tests.integration import account_of, api_runs
from tests.integration.account_of import (
    LAST_WORDS,
    Filled,
    ask_to_erase,
    claimed,
    erase,
    filled,
    next_try,
    objects_of,
    rows_of,
)
from tests.integration.api_client import Api, upload


@pytest.fixture
def eraser(worker_resources: Resources) -> EraseJobs:
    return EraseJobs(worker_resources)


@pytest.fixture
async def mine(api: Api, worker_db: Database, worker_resources: Resources) -> Filled:
    """With an export and an upload that was never finished besides."""
    made = await filled(api, worker_db)
    assert (await made.client.get("/account/export", headers={"Prefer": "wait=0"})).status_code == 202
    job = await claimed(worker_db, JobKind.EXPORT)
    assert job is not None
    await ExportJobs(worker_resources, life_s=3600).export(job)
    await begin_upload(worker_resources.store, made.user)
    return made


async def begin_upload(store: Any, user: uuid.UUID) -> None:
    key = dataset_key(user, uuid.uuid4())
    begun = await store._client.create_multipart_upload(Bucket=store.datasets, Key=key)
    await store._client.upload_part(
        Bucket=store.datasets, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"half of it"
    )


async def unfinished(store: Any, user: uuid.UUID) -> list[str]:
    listed = await store._client.list_multipart_uploads(Bucket=store.datasets)
    return [u["Key"] for u in listed.get("Uploads", []) if u["Key"].startswith(f"{user}/")]


async def test_nothing_is_left_of_one_and_everything_of_the_other(
    api: Api, env: dict[str, str], worker_db: Database, mine: Filled, eraser: EraseJobs
) -> None:
    theirs = await filled(api, worker_db)
    others = (await rows_of(env, theirs.user), await objects_of(eraser.store, theirs.user))
    before = await rows_of(env, mine.user)
    buckets = {name.partition("/")[0] for name in await objects_of(eraser.store, mine.user)}
    store = eraser.store
    assert buckets == {store.datasets, store.artifacts, store.bundles, store.models}
    assert await unfinished(eraser.store, mine.user)

    told = await ask_to_erase(mine.client, mine.user)
    assert (told.json()["status"], told.headers["location"]) == ("deleting", "/account")
    assert "retry-after" in told.headers
    # what is not emptied below was never filled, and would prove nothing
    everything = set(before) | {"trainyard.erasures"}
    connection = await asyncpg.connect(env["DATABASE_URL"])
    tables = {row["name"] for row in await connection.fetch(account_of.TABLES)} | {"auth.users"}
    await connection.close()
    assert tables <= everything
    await erase(eraser)

    assert await rows_of(env, mine.user) == LAST_WORDS
    assert await objects_of(eraser.store, mine.user) == set()
    assert await unfinished(eraser.store, mine.user) == []
    after = (await rows_of(env, theirs.user), await objects_of(eraser.store, theirs.user))
    assert after == others
    async with worker_db.connection() as c:
        left = await c.fetchrow("SELECT * FROM trainyard.audit WHERE user_id = $1", mine.user)
    assert (left["action"], left["actor"], left["detail"]) == ("account.deleted", "system", {})
    assert (left["request_id"], left["key_id"]) == (None, None)


class Killed(Exception):
    """Stands for the process dying there."""


def dying_after(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def stepped(*args: Any) -> Any:
        await step(*args)
        raise Killed

    return stepped


@pytest.mark.parametrize("step", ["stop", "empty_store", "delete_rows"])
async def test_killed_after_any_step_it_goes_on(
    env: dict[str, str], mine: Filled, eraser: EraseJobs, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_to_erase(mine.client, mine.user)
    with monkeypatch.context() as dying:
        dying.setattr(eraser, step, dying_after(getattr(eraser, step)))
        with pytest.raises(Killed):
            await erase(eraser)
    refused = await mine.client.get("/files")
    assert (refused.status_code, refused.json()["type"]) == (409, "account-being-deleted")
    await erase(eraser)
    assert await rows_of(env, mine.user) == LAST_WORDS
    assert await objects_of(eraser.store, mine.user) == set()


@pytest.mark.parametrize("call", [1, 3, 10])
async def test_killed_in_the_middle_of_emptying_the_store_it_goes_on(
    env: dict[str, str], mine: Filled, eraser: EraseJobs, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_to_erase(mine.client, mine.user)
    deleted = 0
    delete = eraser.store.delete

    async def dying(bucket: str, key: str) -> None:
        nonlocal deleted
        deleted += 1
        if deleted == call:
            raise Killed
        await delete(bucket, key)

    with monkeypatch.context() as patch:
        patch.setattr(eraser.store, "delete", dying)
        with pytest.raises(Killed):
            await erase(eraser)
    await erase(eraser)
    assert await rows_of(env, mine.user) == LAST_WORDS
    assert await objects_of(eraser.store, mine.user) == set()


async def test_killed_in_the_last_transaction_it_is_all_or_nothing(
    env: dict[str, str], mine: Filled, eraser: EraseJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_to_erase(mine.client, mine.user)
    with monkeypatch.context() as patch:
        patch.setattr("shared.db.account.jobs.done", dying_after(jobs.done))
        with pytest.raises(Killed):
            await erase(eraser)
    assert {"auth.users", "trainyard.erasures", "trainyard.jobs"} <= set(await rows_of(env, mine.user))
    await erase(eraser)
    assert await rows_of(env, mine.user) == LAST_WORDS


async def test_one_whose_lease_was_lost_does_not_end_it(mine: Filled, eraser: EraseJobs) -> None:
    await ask_to_erase(mine.client, mine.user)
    stale = await next_try(eraser.db)
    await next_try(eraser.db)
    for step in (eraser.stop, eraser.end):
        with pytest.raises(LeaseLost):
            await step(stale)


async def test_it_waits_for_workers_and_stops_them(
    api: Api, env: dict[str, str], worker_db: Database, eraser: EraseJobs
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(worker_db, user, task_id)
    async with worker_db.transaction() as c:
        candidate = await c.fetchval(
            "SELECT id FROM trainyard.candidates WHERE task_id = $1 LIMIT 1", task_id
        )
        await jobs.insert(c, JobKind.FIT, candidate, user)
        fit = await jobs.claim(c, [JobKind.FIT], "trainer", 60)
    assert fit is not None
    await ask_to_erase(me, user)
    job = await next_try(worker_db)
    assert not await eraser.stop(job)
    async with worker_db.transaction() as c:
        told = await c.fetchrow(
            "SELECT cancel_requested, deleted_at FROM trainyard.tasks WHERE id = $1", task_id
        )
        kinds = [row["kind"] for row in await c.fetch("SELECT kind FROM trainyard.jobs ORDER BY kind")]
        assert await jobs.restore_missing(c) == []
    assert told["cancel_requested"]
    assert told["deleted_at"] is not None
    assert kinds == ["erase", "fit"]
    key = model_key(user, task_id, "mlp", 7)  # what the fit had still put there
    store = eraser.store
    await store.put_bytes(store.artifacts, key, b"late", content_type="application/octet-stream")
    async with worker_db.transaction() as c:
        await jobs.done(c, fit)
    await erase(eraser)
    assert await rows_of(env, user) == LAST_WORDS
    assert await objects_of(eraser.store, user) == set()


async def test_a_user_at_the_cap_can_still_be_erased(api: Api, worker_db: Database) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    await upload(me)
    async with worker_db.transaction() as c:
        assert await jobs.claim(c, [JobKind.PROFILE], "trainer", 60, user_cap=1)
    await ask_to_erase(me, user)
    async with worker_db.transaction() as c:
        job = await jobs.claim(c, [JobKind.ERASE], "packager", 60, user_cap=1)
    assert job is not None


async def test_it_is_never_given_up(mine: Filled, eraser: EraseJobs, worker_db: Database) -> None:
    await ask_to_erase(mine.client, mine.user)
    await eraser.given_up(await next_try(worker_db), StorageUnavailable("the store is away"))
    async with worker_db.transaction() as c:
        row = await c.fetchrow(
            "SELECT tries, run_after > now() AS later FROM trainyard.jobs WHERE kind = 'erase'"
        )
        assert (row["tries"], row["later"]) == (0, True)
        await c.execute("DELETE FROM trainyard.jobs WHERE kind = 'erase'")
        assert "erase" in {found["kind"] for found in await jobs.restore_missing(c)}
    await erase(eraser)
    async with worker_db.transaction() as c:
        assert not await account.is_being_erased(c, mine.user)


async def test_a_job_that_is_left_over_does_nothing(api: Api, env: dict[str, str], eraser: EraseJobs) -> None:
    user = uuid.uuid4()
    file = await upload(api.user(user))
    async with eraser.db.transaction() as c:
        await jobs.insert(c, JobKind.ERASE, user, user)
    await erase(eraser)
    assert (await api.user(user).get(f"/files/{file['file_id']}")).status_code == 200
    assert "trainyard.erasures" not in await rows_of(env, user)


async def test_more_rows_and_objects_than_go_at_a_time(
    api: Api, env: dict[str, str], eraser: EraseJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.packager.erase.OBJECTS_AT_A_TIME", 3)
    user = uuid.uuid4()
    me = api.user(user)
    store = eraser.store
    await me.get("/account")
    async with eraser.db.transaction() as c:
        await c.execute(
            "INSERT INTO trainyard.audit (id, user_id, action, subject_kind, actor)"
            " SELECT gen_random_uuid(), $1, 'run.started', 'run', 'system' FROM generate_series(1, 1200)",
            user,
        )
    for _ in range(8):
        await store.put_bytes(store.artifacts, f"{user}/{uuid.uuid4()}/x", b"x", content_type="text/csv")
    await ask_to_erase(me, user)
    await erase(eraser)
    assert await rows_of(env, user) == LAST_WORDS
    assert await objects_of(eraser.store, user) == set()


async def test_where_others_own_auth_users_its_row_stays(
    api: Api, env: dict[str, str], eraser: EraseJobs
) -> None:
    user = uuid.uuid4()
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        await connection.execute("ALTER TABLE auth.users ADD COLUMN encrypted_password text")
    finally:
        await connection.close()
    me = api.user(user)
    await upload(me)
    await ask_to_erase(me, user)
    await erase(eraser)
    assert await rows_of(env, user) == LAST_WORDS | {"auth.users": 1}
    assert (await me.get("/files")).json()["items"] == []


async def test_every_table_that_a_user_adds_to_refuses_an_account_that_goes(env: dict[str, str]) -> None:
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        rows = await connection.fetch(
            f"""
            SELECT t.name FROM ({account_of.TABLES}) t
            WHERE (has_table_privilege('trainyard_user', t.name, 'INSERT')
                OR has_any_column_privilege('trainyard_user', t.name, 'INSERT'))
              AND NOT EXISTS (SELECT FROM pg_trigger g
                WHERE g.tgrelid = t.name::regclass AND g.tgname = 'refuse_erased')
            """
        )
    finally:
        await connection.close()
    assert [row["name"] for row in rows] == ["trainyard.erasures"]
