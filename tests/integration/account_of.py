"""An account with something of everything in it, made through the API; runs are not really fitted."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import httpx
from msgspec import Struct

from services.packager.erase import EraseJobs
from shared.contracts.states import JobKind, TaskStatus
from shared.db import jobs
from shared.db.jobs import Job
from shared.db.pool import Database
from shared.storage import Store, saved_model_path
from tests.integration import api_runs
from tests.integration.api_client import Api, upload

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attname = 'user_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND n.nspname IN ('trainyard', 'public')
    ORDER BY 1
"""


SHOWN = {"columns": ["a", "b", "species"], "rows": [["1", "2", "x"], ["3", "4", "y"]]}
LAST_WORDS = {"trainyard.audit": 1}
"""What `rows_of` finds of an account that was deleted."""


class Filled(Struct, frozen=True, kw_only=True):
    """Whose it is, and the ids of what is in it. `models`: one ready, one in the trash."""

    user: uuid.UUID
    client: httpx.AsyncClient
    file: uuid.UUID
    runs: list[uuid.UUID]
    models: list[uuid.UUID]
    key: dict[str, Any]


async def filled(api: Api, db: Database, user: uuid.UUID | None = None) -> Filled:
    user = user or uuid.uuid4()
    me = api.user(user)
    file = await upload(me, name="Größe & Preis.csv")
    file_id = uuid.UUID(file["file_id"])
    await api_runs.execute(
        db, "UPDATE trainyard.profiles SET preview = $2 WHERE file_id = $1", file_id, SHOWN
    )
    completed = await api_runs.completed(api, me, db, user)
    cancelled = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(db, user, cancelled)
    await api_runs.fitted(api, db, user, cancelled)
    await api_runs.finished(api, db, user, cancelled, TaskStatus.CANCELLED)
    await api_runs.queued(api, me)
    models = [await saved(api, me, db, user, completed, name) for name in ("Churn", "Churn again")]
    assert (await me.delete(f"/models/{models[1]}")).status_code == 204
    made = await me.post(
        "/auth/api-keys", json={"name": "nightly", "scopes": ["admin"]}, headers={"Idempotency-Key": "k"}
    )
    assert made.status_code == 201, made.text
    assert (
        await me.get(f"/ml/download-all-models/{completed}", headers={"Prefer": "wait=0"})
    ).status_code == 202
    asked = await me.get(
        f"/ml/download-model/{completed}/random_forest?format=skops", headers={"Prefer": "wait=0"}
    )
    assert asked.status_code == 202
    return Filled(
        user=user,
        client=me,
        file=file_id,
        runs=[completed, cancelled],
        models=models,
        key=made.json(),
    )


async def saved(
    api: Api, me: httpx.AsyncClient, db: Database, user: uuid.UUID, run: uuid.UUID, name: str
) -> uuid.UUID:
    """A saved model whose file is there, as the packager leaves it."""
    answer = await me.post("/models/save", json={"task_id": str(run), "model_name": name})
    assert answer.status_code == 202, answer.text
    model_id = uuid.UUID(answer.json()["id"])
    content, store = api_runs.pickle_of("random_forest"), api.context.store
    async with db.transaction() as c:
        at = await c.fetchval("SELECT created_at FROM public.trained_models WHERE id = $1", model_id)
        path = saved_model_path(user, name, at)
        await store.put_bytes(store.models, path, content, content_type="application/octet-stream")
        await c.execute(
            "UPDATE public.trained_models SET status = 'ready', file_path = $2, file_size = $3, sha256 = $4"
            " WHERE id = $1",
            model_id,
            path,
            len(content),
            api_runs.sha256(content),
        )
        await c.execute("DELETE FROM trainyard.jobs WHERE subject_id = $1", model_id)
    return model_id


async def rows_of(env: dict[str, str], user: uuid.UUID) -> dict[str, int]:
    """Table → how many rows of the user's are in it, of every table that has users."""
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        tables = [row["name"] for row in await connection.fetch(TABLES)]
        counts = {
            name: await connection.fetchval(f"SELECT count(*) FROM {name} WHERE user_id = $1", user)
            for name in tables
        }
        known = await connection.fetchval("SELECT count(*) FROM auth.users WHERE id = $1", user)
    finally:
        await connection.close()
    return {name: count for name, count in {**counts, "auth.users": known}.items() if count}


async def objects_of(store: Store, user: uuid.UUID) -> set[str]:
    """Every object of the user's, as `bucket/key`."""
    buckets = (store.datasets, store.artifacts, store.bundles, store.models)
    return {f"{b}/{item.key}" for b in buckets async for item in store.list(b, f"{user}/")}


async def claimed(db: Database, kind: JobKind) -> Job | None:
    """The next job of a kind, whatever it was told to wait for."""
    async with db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET run_after = now() WHERE kind = $1", kind)
        return await jobs.claim(c, [kind], "test", 60)


async def ask_to_erase(client: httpx.AsyncClient, user: uuid.UUID) -> httpx.Response:
    answer = await client.delete(f"/account?confirm={user}")
    assert answer.status_code == 202, answer.text
    return answer


async def next_try(db: Database) -> Job:
    """The job as the next worker gets it, after the one that had it died."""
    async with db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET lease_until = NULL, tries = 0 WHERE kind = 'erase'")
    job = await claimed(db, JobKind.ERASE)
    assert job is not None
    return job


async def erase(eraser: EraseJobs) -> None:
    await eraser.erase(await next_try(eraser.db))
