"""What one user may have at once, and where in everybody's queue a run stands."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.contracts.states import JobKind, uuid7
from shared.db import jobs, quotas
from shared.db.pool import Database
from tests.databases import new_user
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, Api, upload


@pytest.fixture
async def small(env: dict[str, str], buckets: None) -> AsyncIterator[Api]:
    """Three runs may wait, and two and a half tables be stored."""
    more = {"MAX_QUEUED_TASKS": "3", "MAX_STORED_BYTES": str(len(CSV) * 5 // 2)}
    async with api_client.running(env, **more) as running:
        yield running


def refused(answer: httpx.Response) -> bool:
    if answer.status_code == 429:
        assert answer.json()["type"] == "quota-exceeded"
        assert int(answer.headers["retry-after"]) > 0
    return answer.status_code == 429


async def test_no_more_runs_wait_than_may(small: Api, worker_db: Database) -> None:
    me = small.user()
    body = {"file_id": (await upload(me))["file_id"], "target": "species"}
    answers = await asyncio.gather(*(me.post("/ml/train", json=body) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [202] * 3 + [429] * 7
    assert sum(refused(a) for a in answers) == 7
    assert "3 runs" in next(a for a in answers if refused(a)).json()["detail"]
    first = next(a.json()["task_id"] for a in answers if a.status_code == 202)
    await me.post(f"/ml/cancel/{first}")
    key = {"Idempotency-Key": "last"}
    assert (await me.post("/ml/train", json=body, headers=key)).status_code == 202
    assert refused(await me.post(f"/ml/resume/{first}"))
    # what was accepted is answered again, full or not
    assert (await me.post("/ml/train", json=body, headers=key)).status_code == 202
    other = small.user()
    body = {"file_id": (await upload(other))["file_id"], "target": "species"}
    assert (await other.post("/ml/train", json=body)).status_code == 202


async def keys(api: Api, user: uuid.UUID) -> list[str]:
    store = api.context.store
    return [item.key async for item in store.list(store.datasets, f"{user}/")]


async def test_no_more_is_stored_than_may(small: Api, worker_db: Database) -> None:
    user = uuid.uuid4()
    me = small.user(user)

    async def send(content: bytes = CSV) -> httpx.Response:
        return await me.post("/files", files={"file": ("t.csv", content)})

    answers = await asyncio.gather(*(send() for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [201] * 2 + [429] * 4
    assert sum(refused(a) for a in answers) == 4
    assert len(await keys(small, user)) == 2  # what was refused afterwards is not left behind
    assert refused(await send(b"a,b\n" * 30_000))  # told by its length, before a byte of it is stored
    file_id = next(a.json()["file_id"] for a in answers if a.status_code == 201)
    assert (await me.delete(f"/files/{file_id}")).status_code == 204
    assert (await send()).status_code == 201


async def test_saved_models_count(env: dict[str, str], buckets: None, worker_db: Database) -> None:
    user = uuid.uuid4()
    content = len(api_runs.pickle_of("random_forest"))
    async with api_client.running(env, MAX_STORED_BYTES=str(content + len(CSV) + 10)) as api:
        me = api.user(user)
        run = await api_runs.completed(api, me, worker_db, user)
        body = {"task_id": str(run), "model_name": "Mine"}
        saved = await me.post("/models/save", json=body)
        assert saved.status_code == 202
        await api_runs.execute(
            worker_db,
            "UPDATE public.trained_models SET status = 'ready', file_size = $2 WHERE id = $1",
            uuid.UUID(saved.json()["id"]),
            content,
        )
        assert refused(await me.post("/models/save", json=body))
        await me.delete(f"/models/{saved.json()['id']}")  # in the trash it takes as much room
        assert refused(await me.post("/models/save", json=body))


async def queue(db: Database, user: uuid.UUID) -> uuid.UUID:
    """A run of `user` that waits; how many there are is all that counts here."""
    task_id = uuid7()
    async with db.transaction(user) as c:
        await c.execute(
            "INSERT INTO trainyard.tasks (id, user_id, name, request) VALUES ($1, $2, 'x', '{}')",
            task_id,
            user,
        )
        await jobs.insert(c, JobKind.PLAN, task_id, user)
    return task_id


async def test_the_position_is_the_order_in_which_they_are_served(
    api_db: Database, worker_db: Database
) -> None:
    """Whatever three users have waiting and running, taking the jobs one after another takes them in the
    order of their positions."""
    users = [await new_user(api_db) for _ in range(3)]
    owners: dict[uuid.UUID, uuid.UUID] = {}
    for user, many in zip(users, (4, 1, 6), strict=True):
        for _ in range(many):
            owners[await queue(api_db, user)] = user
    for user in (users[2], users[2], users[0]):  # what runs already, served at different times
        busy = uuid7()
        async with worker_db.transaction() as c:
            await jobs.insert(c, JobKind.FIT, busy, user)
            job = await jobs.claim(c, [JobKind.FIT], "w", 60)
        assert job is not None
    positions = {}
    async with api_db.connection() as c:
        for task_id, user in owners.items():
            positions[task_id] = await quotas.queue_position(c, user, task_id)
        stranger = next(u for u in users if u != owners[task_id])
        assert await quotas.queue_position(c, stranger, task_id) is None
        assert await quotas.queue_position(c, stranger, uuid7()) is None
    assert sorted(positions.values()) == list(range(1, 12))
    served = []
    for _ in range(len(owners)):
        async with worker_db.transaction() as c:
            job = await jobs.claim(c, [JobKind.PLAN], "w", 60)
        assert job is not None
        served.append(job.subject_id)
    assert served == sorted(positions, key=lambda task_id: positions[task_id])
    async with api_db.connection() as c:
        assert await quotas.queue_position(c, users[0], served[0]) is None


async def test_the_status_of_a_queued_run_tells_its_position(api: Api, worker_db: Database) -> None:
    me = api.user()
    body = {"file_id": (await upload(me))["file_id"], "target": "species"}
    for expected in (1, 2, 3):
        task_id = (await me.post("/ml/train", json=body)).json()["task_id"]
        assert (await me.get(f"/ml/status/{task_id}")).json()["queue_position"] == expected
    await api_runs.execute(
        worker_db, "UPDATE trainyard.tasks SET status = 'running' WHERE id = $1", uuid.UUID(task_id)
    )
    assert "queue_position" not in (await me.get(f"/ml/status/{task_id}")).json()
