"""Stopping a run and going on with it, over HTTP."""

from __future__ import annotations

import asyncio
import uuid

import httpx
import pytest

from shared.contracts.states import JobKind, TaskStatus
from shared.db import jobs, tasks
from shared.db.pool import Database
from tests.integration import api_runs
from tests.integration.api_client import Api


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def kinds(db: Database, task_id: uuid.UUID) -> set[str]:
    async with db.transaction() as c:
        rows = await c.fetch("SELECT kind FROM trainyard.jobs WHERE subject_id = $1", task_id)
    return {row["kind"] for row in rows}


async def test_a_queued_run_is_cancelled_at_once(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    answer = await me.post(f"/ml/cancel/{task_id}")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert answer.headers["location"] == f"/ml/status/{task_id}"
    assert "retry-after" not in answer.headers
    assert "finish" in await kinds(worker_db, task_id)
    assert (await me.get(f"/ml/status/{task_id}")).json()["status"] == "cancelled"
    again = await me.post(f"/ml/cancel/{task_id}")
    assert (again.status_code, again.json()["type"]) == (409, "conflict")
    assert "cancelled" in again.json()["detail"]


async def test_a_running_one_stops_soon_and_may_be_asked_twice(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(worker_db, user, task_id)
    etag = (await me.get(f"/ml/status/{task_id}")).headers["etag"]
    waiting = asyncio.create_task(me.get(f"/ml/status/{task_id}?wait=30", headers={"If-None-Match": etag}))
    while not api.context.watches.waiting:
        await asyncio.sleep(0.01)
    for _ in range(2):
        answer = await me.post(f"/ml/cancel/{task_id}")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        assert answer.headers["retry-after"] == "1"
    assert "finish" in await kinds(worker_db, task_id)
    woken = await asyncio.wait_for(waiting, 5)
    assert (woken.status_code, woken.json()["message"]) == (200, "Cancelling")
    async with worker_db.transaction() as c:
        asked = await c.fetchval("SELECT cancel_requested FROM trainyard.tasks WHERE id = $1", task_id)
    assert asked


async def test_what_has_ended_is_not_cancelled_and_what_has_not_is_not_resumed(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    run = await api_runs.completed(api, me, worker_db, user)
    for call in ("cancel", "resume"):
        answer = await me.post(f"/ml/{call}/{run}")
        assert (answer.status_code, answer.json()["type"]) == (409, "conflict")
        assert "completed" in answer.json()["detail"]
    task_id = (await api_runs.queued(api, me))["task_id"]
    answer = await me.post(f"/ml/resume/{task_id}")
    assert answer.status_code == 409
    assert "queued" in answer.json()["detail"]


@pytest.mark.parametrize("call", ["cancel", "resume"])
async def test_somebody_elses_and_malformed_ids_are_not_found(
    api: Api, me: httpx.AsyncClient, call: str
) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    for client, named in ((api.user(), task_id), (me, uuid.uuid4()), (me, "nonsense")):
        answer = await client.post(f"/ml/{call}/{named}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Task not found")
    assert (await me.get(f"/ml/status/{task_id}")).json()["status"] == "queued"


@pytest.mark.parametrize("ended", [TaskStatus.CANCELLED, TaskStatus.FAILED])
async def test_a_run_goes_on_from_what_is_done(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, ended: TaskStatus
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(worker_db, user, task_id)
    await api_runs.fitted(api, worker_db, user, task_id)
    await api_runs.finished(api, worker_db, user, task_id, ended)
    await api_runs.execute(worker_db, "DELETE FROM trainyard.jobs WHERE subject_id = $1", task_id)
    before = (await me.get(f"/ml/status/{task_id}")).json()
    answer = await me.post(f"/ml/resume/{task_id}")
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["status"], task["stage"]) == ("queued", "queued")
    assert "finished_at" not in task
    assert "error" not in task
    assert answer.headers["location"] == f"/ml/status/{task_id}"
    done = [c["model_name"] for c in task["candidates"] if c["status"] == "done"]
    assert sorted(done) == sorted(api_runs.SCORES)
    assert task["version"] > before["version"]
    assert await kinds(worker_db, task_id) == {"plan"}
    assert (await me.post(f"/ml/resume/{task_id}")).status_code == 409


async def test_without_its_file_a_run_does_not_go_on(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task = await api_runs.queued(api, me)
    await me.post(f"/ml/cancel/{task['task_id']}")
    assert (await me.delete(f"/files/{task['request']['file_id']}")).status_code == 204
    answer = await me.post(f"/ml/resume/{task['task_id']}")
    assert answer.status_code == 409
    assert "deleted" in answer.json()["detail"]
    await api_runs.execute(
        worker_db, "DELETE FROM trainyard.files WHERE id = $1", uuid.UUID(task["request"]["file_id"])
    )
    assert "deleted" in (await me.post(f"/ml/resume/{task['task_id']}")).json()["detail"]


async def test_a_file_is_not_deleted_under_a_run_that_begins(api: Api, me: httpx.AsyncClient) -> None:
    for _ in range(10):
        task = await api_runs.queued(api, me)
        await me.post(f"/ml/cancel/{task['task_id']}")
        resumed, deleted = await asyncio.gather(
            me.post(f"/ml/resume/{task['task_id']}"), me.delete(f"/files/{task['request']['file_id']}")
        )
        assert (resumed.status_code, deleted.status_code) in {(202, 409), (409, 204)}


async def test_a_cancel_while_the_report_is_recorded_does_not_wait_for_it(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    """The worker has the job locked and wants the task, the cancel has the task and wants the job."""
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(worker_db, user, task_id)
    async with worker_db.transaction() as c:
        await jobs.insert(c, JobKind.FINISH, task_id, user)
        job = await jobs.claim(c, [JobKind.FINISH], "worker", 60)
    assert job is not None
    async with worker_db.transaction() as c:
        assert await jobs.holds(c, job)
        answer = await asyncio.wait_for(me.post(f"/ml/cancel/{task_id}"), 30)
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        await tasks.finished(
            c, task_id, status=TaskStatus.COMPLETED, message="", warnings=[], report={}, report_attempt=1
        )
        await jobs.done(c, job)
    assert (await me.get(f"/ml/status/{task_id}")).json()["status"] == "completed"
    assert "finish" not in await kinds(worker_db, task_id)
