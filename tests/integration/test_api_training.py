"""Asking for a run and watching it, over HTTP."""

from __future__ import annotations

import asyncio
import time
import uuid

import httpx
import pytest

from shared.contracts.files import ColumnProfile, Profile
from shared.contracts.states import Stage, TaskType
from shared.contracts.training import TrainRequest
from shared.db import files, tasks
from shared.db.pool import Database
from tests.integration import api_runs
from tests.integration.api_client import Api, upload


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


@pytest.fixture
async def file_id(me: httpx.AsyncClient) -> str:
    return str((await upload(me))["file_id"])


def pointers(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {fault["pointer"] for fault in answer.json()["errors"]}


async def test_models_are_asked_for_by_slug_or_label(me: httpx.AsyncClient, file_id: str) -> None:
    body = {"file_id": file_id, "target": "species", "models": ["Random Forest", "LIGHTGBM", " mlp "]}
    answer = await me.post("/ml/train", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["models"] == ["random_forest", "lightgbm", "mlp"]
    twice = await me.post("/ml/train", json=body | {"models": ["mlp", "Neural Network (MLP)"]})
    assert pointers(twice) == {"/models/1"}
    unknown = await me.post("/ml/train", json=body | {"models": ["mlp", "Random Forrest"]})
    assert pointers(unknown) == {"/models/1"}
    assert "'Random Forrest'" in unknown.json()["detail"]


async def until_changed(me: httpx.AsyncClient, url: str, etag: dict[str, str]) -> httpx.Response:
    """Poll until the answer is no 304 any more, for a second at most."""
    async with asyncio.timeout(1):
        while (answer := await me.get(url, headers=etag)).status_code == 304:
            await asyncio.sleep(0.01)
    return answer


async def test_a_run_begins_queued_with_every_default(
    me: httpx.AsyncClient, worker_db: Database, file_id: str
) -> None:
    answer = await me.post("/ml/train", json={"file_id": file_id, "target": "species"})
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["location"] == f"/ml/status/{task['task_id']}"
    assert answer.headers["retry-after"] == "1"
    assert (task["status"], task["stage"], task["progress"]) == ("queued", "queued", 0.0)
    assert task["queue_position"] == 1
    assert task["name"] == "iris.csv: species"
    assert task["request"] == api_runs.builtins(TrainRequest(file_id=uuid.UUID(file_id), target="species"))
    async with worker_db.transaction() as c:
        job = await c.fetchrow("SELECT * FROM trainyard.jobs WHERE kind = 'plan'")
    assert str(job["subject_id"]) == task["task_id"]


async def test_every_fault_of_a_body_is_named(me: httpx.AsyncClient, file_id: str) -> None:
    answer = await me.post(
        "/ml/train",
        json={
            "file_id": "nope",
            "cv_folds": 1,
            "test_size": 1.5,
            "models": ["xgboost", 5, None],
            "on_leakage": "ignore",
            "folds": 3,
            "a/b~c": 1,
            "name": "x\0y",
            "seed": True,
        },
    )
    assert pointers(answer) == {
        "/file_id",
        "/target",
        "/cv_folds",
        "/test_size",
        "/models/1",
        "/models/2",
        "/on_leakage",
        "/folds",
        "/a~1b~0c",
        "/name",
        "/seed",
    }
    # what only the table's profile or the catalogue tells comes with the next answer, all of it again
    answer = await me.post(
        "/ml/train",
        json={"file_id": file_id, "target": "x", "models": ["svm"], "metric": "karma", "horizon": 3},
    )
    assert pointers(answer) == {"/models/0", "/metric", "/horizon"}


async def test_bodies_over_http(me: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    for content in (b"", b"{", b'{"target": 1, "target": 2}', b"[" * 5000):
        answer = await me.post("/ml/train", content=content, headers=json)
        assert (answer.status_code, answer.json()["type"]) == (400, "malformed-request")
    form = await me.post("/ml/train", data={"target": "x"})
    assert (form.status_code, form.json()["type"]) == (415, "unsupported-media-type")
    huge = await me.post("/ml/train", content=b" " * (11 * 2**20), headers=json)
    assert (huge.status_code, huge.json()["type"]) == (413, "too-large")


async def test_the_profile_tells_what_cannot_be_trained(
    me: httpx.AsyncClient, worker_db: Database, file_id: str
) -> None:
    columns = [
        ColumnProfile(name="a", role="numeric", dtype="int64", missing=0, distinct=100),
        ColumnProfile(name="same", role="constant", dtype="int64", missing=0, distinct=1),
    ]
    profile = Profile(
        rows=100,
        columns=columns,
        suggested_target=None,
        suggested_task_type=TaskType.REGRESSION,
        reason="",
        warnings=[],
    )
    async with worker_db.transaction() as c:
        await files.profile_ready(c, uuid.UUID(file_id), api_runs.builtins(profile), 100, 2)
    body = {"file_id": file_id, "target": "same", "exclude_columns": ["b"], "models": ["magic"]}
    answer = await me.post("/ml/train", json=body)
    assert {"/target", "/exclude_columns/0", "/models/0"} <= pointers(answer)
    assert (await me.get("/ml/tasks")).json()["items"] == []


async def test_a_table_that_cannot_be_read_is_refused_with_its_reason(
    me: httpx.AsyncClient, worker_db: Database, file_id: str, user: uuid.UUID
) -> None:
    async with worker_db.transaction() as c:
        await files.profile_failed(c, uuid.UUID(file_id), user, "it is a photograph")
    answer = await me.post("/ml/train", json={"file_id": file_id, "target": "species"})
    assert pointers(answer) == {"/file_id"}
    assert "it is a photograph" in answer.json()["errors"][0]["detail"]


async def test_status_has_an_etag_and_says_when_nothing_changed(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    url = f"/ml/status/{task_id}"
    first = await me.get(url)
    assert first.headers["etag"] == f'W/"{first.json()["version"]}"'
    assert first.headers["retry-after"] == "1"
    etag = {"If-None-Match": first.headers["etag"]}
    same = await me.get(url, headers=etag)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert (await me.get(url, headers={"If-None-Match": 'W/"0", "7"'})).status_code == 200
    assert (await me.get(url, headers={"If-None-Match": "*"})).status_code == 304
    async with worker_db.transaction() as c:
        await tasks.begin(c, uuid.UUID(task_id), Stage.PROFILING, "Looking")
    # nothing was announced: what was read a moment ago may answer until it is a quarter of a second old
    changed = await until_changed(me, url, etag)
    assert (changed.status_code, changed.json()["stage"]) == (200, "profiling")
    await api_runs.execute(
        worker_db, "UPDATE trainyard.tasks SET status = 'completed' WHERE id = $1", uuid.UUID(task_id)
    )
    assert "retry-after" not in (await me.get(url)).headers


async def test_waiting_answers_a_change_at_once_and_holds_no_connection(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    url = f"/ml/status/{task_id}"
    etag = {"If-None-Match": (await me.get(url)).headers["etag"]}

    began = time.monotonic()
    assert (await me.get(f"{url}?wait=0.4", headers=etag)).status_code == 304
    assert (await me.get(f"{url}?wait=0.4")).status_code == 200
    assert time.monotonic() - began >= 0.8
    assert (await me.get(f"{url}?wait=30", headers={"If-None-Match": 'W/"0"'})).status_code == 200

    waiting = [asyncio.create_task(me.get(f"{url}?wait=30", headers=etag)) for _ in range(20)]
    while api.context.watches.waiting < 20:
        await asyncio.sleep(0.01)
    assert len(api.context.watches) == 1
    pool = api.context.db.pool
    free = [pool.get_size() - pool.get_idle_size()]
    for _ in range(20):
        await asyncio.sleep(0.02)
        free.append(pool.get_size() - pool.get_idle_size())
    assert max(free) <= 1  # twenty who wait, one who looks
    assert 0 in free
    async with worker_db.transaction() as c:
        await tasks.begin(c, uuid.UUID(task_id), Stage.PROFILING, "Looking")
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert {a.json()["stage"] for a in answers} == {"profiling"}
    while len(api.context.watches):
        await asyncio.sleep(0.01)

    watcher = asyncio.create_task(me.get(f"{url}?wait=30"))
    while not api.context.watches.waiting:
        await asyncio.sleep(0.01)
    assert (await me.delete(f"/ml/tasks/{task_id}")).status_code == 204
    assert (await asyncio.wait_for(watcher, 10)).status_code == 404
    assert pointers(await me.get(f"{url}?wait=61")) == {"?wait"}
    assert pointers(await me.get(f"{url}?wait=nan")) == {"?wait"}


async def test_runs_are_listed_filtered_and_deleted(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    made = [(await api_runs.queued(api, me))["task_id"] for _ in range(3)]
    await api_runs.execute(
        worker_db, "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1", uuid.UUID(made[0])
    )
    first = (await me.get("/ml/tasks?limit=2")).json()
    second = (await me.get(f"/ml/tasks?limit=2&cursor={first['next_cursor']}")).json()
    assert [t["task_id"] for t in first["items"] + second["items"]] == made[::-1]
    assert [t["task_id"] for t in (await me.get("/ml/tasks?status=failed")).json()["items"]] == [made[0]]
    assert pointers(await me.get("/ml/tasks?status=lost&limit=500")) == {"?status", "?limit"}
    assert pointers(await me.get("/ml/tasks?cursor=xyz")) == {"?cursor"}

    assert (await api.user().delete(f"/ml/tasks/{made[0]}")).status_code == 404
    assert (await me.delete(f"/ml/tasks/{made[0]}")).status_code == 204
    assert (await me.delete(f"/ml/tasks/{made[0]}")).status_code == 404
    assert (await me.get(f"/ml/status/{made[0]}")).status_code == 404
    async with worker_db.transaction() as c:
        purge = await c.fetchval("SELECT subject_id FROM trainyard.jobs WHERE kind = 'purge'")
    assert str(purge) == made[0]
    assert (await api.user().get("/ml/tasks")).json() == {"items": [], "next_cursor": None}


async def test_what_can_be_asked_for(me: httpx.AsyncClient) -> None:
    everything = (await me.get("/ml/models")).json()["items"]
    series = (await me.get("/ml/models?task_type=time_series")).json()["items"]
    assert {choice["task_type"] for choice in everything} == set(TaskType)
    assert [c for c in everything if c["task_type"] == "time_series"] == series
    assert {"model_name", "label", "algorithm", "task_type", "default"} == set(series[0])
