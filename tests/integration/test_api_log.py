"""What happened to a run, asked for over HTTP."""

from __future__ import annotations

import uuid

import httpx
import pytest

from shared.db.pool import Database
from tests.integration import api_runs
from tests.integration.api_client import Api


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def test_a_run_tells_its_history(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    url = f"/ml/tasks/{task_id}/log"
    [asked] = (await me.get(url)).json()["items"]
    assert asked.keys() == {"at", "message"}
    await api_runs.planned(worker_db, user, task_id)
    assert (await me.post(f"/ml/cancel/{task_id}")).status_code == 202
    await api_runs.fitted(api, worker_db, user, task_id)
    await api_runs.finished(api, worker_db, user, task_id)
    items = (await me.get(url)).json()["items"]
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    said = [item["message"] for item in items]
    assert said[:2] == ["Asked for", "A trainer began"]
    assert said[-1] == "Done"
    assert "Cancelling was asked for" in said
    about = [item["message"] for item in items if item.get("model_name") == "random_forest"]
    assert about == ["Random Forest began", "Random Forest is done: accuracy 0.9 in 1.5 s"]
    assert "Neural Network (MLP) failed: out of memory" in said


async def test_somebody_elses_history_is_not_found(api: Api, me: httpx.AsyncClient) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    for client, path in ((api.user(), task_id), (me, uuid.uuid4()), (me, "not-an-id")):
        answer = await client.get(f"/ml/tasks/{path}/log")
        assert (answer.status_code, answer.json()["type"]) == (404, "task-not-found")
