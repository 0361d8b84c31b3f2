"""The registry over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from shared.contracts.states import JobKind
from shared.db import models
from shared.db.pool import Database
from tests.integration import api_runs
from tests.integration.api_client import Api
from tests.integration.signatures import signed


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


@pytest.fixture
async def run(api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID) -> uuid.UUID:
    return await api_runs.completed(api, me, worker_db, user)


async def save(me: httpx.AsyncClient, run: uuid.UUID, **more: Any) -> dict[str, Any]:
    answer = await me.post("/models/save", json={"task_id": str(run), "model_name": "Churn", **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def make_ready(api: Api, db: Database, model: dict[str, Any], path: str, content: bytes) -> None:
    store = api.context.store
    stored = await store.put_bytes(store.models, path, content, content_type="application/octet-stream")
    async with db.transaction() as c:
        await models.ready(
            c,
            uuid.UUID(model["id"]),
            file_path=path,
            file_size=stored.size_bytes,
            sha256=stored.sha256,
            signature=signed(
                uuid.UUID(model["user_id"]), uuid.UUID(model["task_id"]), "random_forest", stored.sha256
            ),
        )


async def test_saving_downloading_and_counting(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    answer = await me.post(
        "/models/save",
        json={"task_id": str(run), "model_name": "Kündigung / 2026", "tags": ["a", "b", "a"]},
    )
    assert answer.status_code == 202
    model = answer.json()
    where = answer.headers["location"]
    assert where == f"/models/{model['id']}"
    assert (model["status"], model["file_path"], model["algorithm"]) == (
        "saving",
        None,
        "Random Forest Classifier",
    )
    assert model["model_name"] == "Kündigung / 2026"
    assert model["tags"] == ["a", "b"]
    assert model["metrics"]["cv_mean"] == 0.9
    async with worker_db.transaction() as c:
        kinds = await c.fetch("SELECT kind FROM trainyard.jobs WHERE subject_id = $1", uuid.UUID(model["id"]))
    assert [row["kind"] for row in kinds] == [JobKind.SAVE]
    busy = await me.get(f"{where}/download")
    assert (busy.status_code, busy.json()["type"]) == (409, "conflict")
    assert "retry-after" in busy.headers

    await make_ready(api, worker_db, model, f"{user}/Kundigung_2026_x.pkl", b"pickle")
    ready = (await me.get(where)).json()
    assert (ready["status"], ready["file_size"], ready["links_issued"]) == ("ready", 6, 0)
    file = await me.get(f"{where}/download")
    assert file.content == b"pickle"
    assert file.headers["content-disposition"] == 'attachment; filename="Kundigung_2026.pkl"'
    await me.head(f"{where}/download")
    link = await me.get(f"{where}/download", headers={"Accept": "application/json"})
    assert link.json()["filename"] == "Kundigung_2026.pkl"
    stats = (await me.get("/models/stats")).json()
    assert (stats["count"], stats["bytes"]) == (1, 6)
    # one link signed, one file handed over; asking what a download would be is neither
    assert (stats["links_issued"], stats["transfers"]) == (1, 1)
    assert stats["by_task_type"] == {"classification": 1}
    assert stats["most_downloaded"][0]["id"] == model["id"]


async def test_only_a_path_under_the_owners_prefix_is_signed(
    env: dict[str, str], me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    """The database refuses such a path; were it there all the same, it would not be signed."""
    owner = await asyncpg.connect(env["DATABASE_URL"])
    await owner.execute("ALTER TABLE public.trained_models DROP CONSTRAINT trained_models_path")
    await owner.close()
    for path in (f"{uuid.uuid4()}/theirs.pkl", f"{user}/../other/theirs.pkl", f"{user}x/y.pkl"):
        model = await save(me, run)
        async with worker_db.transaction() as c:
            await models.ready(
                c,
                uuid.UUID(model["id"]),
                file_path=path,
                file_size=1,
                sha256="0" * 64,
                signature=signed(user, run, "random_forest", "0" * 64),
            )
        answer = await me.get(f"/models/{model['id']}/download")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Model not found")


async def test_which_model_is_saved(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    assert (await save(me, run, leaderboard_model="Logistic Regression"))["algorithm"].startswith("Logistic")
    body = {"task_id": str(run), "model_name": "x"}
    failed = await me.post("/models/save", json={**body, "leaderboard_model": "mlp"})
    assert (failed.status_code, failed.json()["detail"]) == (404, "Model not found")
    nowhere = await me.post("/models/save", json={**body, "task_id": str(uuid.uuid4())})
    assert (nowhere.status_code, nowhere.json()["detail"]) == (404, "Task not found")
    wrong = await me.post(
        "/models/save",
        json={
            "task_id": str(run),
            "model_name": "",
            "tags": ["x" * 41],
            "descripton": 1,
            "description": "\0",
        },
    )
    assert wrong.status_code == 422
    assert {fault["pointer"] for fault in wrong.json()["errors"]} == {
        "/model_name",
        "/tags/0",
        "/descripton",
        "/description",
    }


async def test_a_run_under_way_cannot_be_saved_from(api: Api, me: httpx.AsyncClient) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    answer = await me.post("/models/save", json={"task_id": task_id, "model_name": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "Training not completed")


async def test_lists_are_searched_sorted_and_paged(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    for name, tags in (("beta 100%", ["a"]), ("alpha", ["a", "b"]), ("gamma_1", [])):
        await save(me, run, model_name=name, tags=tags)

    async def names(query: str) -> list[str]:
        answer = await me.get(f"/models?{query}")
        assert answer.status_code == 200, answer.text
        return [model["model_name"] for model in answer.json()["items"]]

    assert await names("") == ["gamma_1", "alpha", "beta 100%"]
    assert await names("sort=+created_at") == ["beta 100%", "alpha", "gamma_1"]
    assert await names("sort=model_name") == ["alpha", "beta 100%", "gamma_1"]
    assert await names("q=0%25") == ["beta 100%"]
    assert await names("q=_") == ["gamma_1"]
    assert await names("tag=b") == ["alpha"]
    assert await names("task_type=regression") == []
    first = (await me.get("/models?limit=2")).json()
    second = (await me.get(f"/models?limit=2&cursor={first['next_cursor']}")).json()
    assert [m["model_name"] for m in first["items"] + second["items"]] == ["gamma_1", "alpha", "beta 100%"]
    assert second["next_cursor"] is None
    for order in ("created_at", "%2Bcreated_at", "model_name"):
        seen, path = [], f"/models?limit=1&sort={order}"
        page = (await me.get(path)).json()
        while page["next_cursor"]:
            seen += page["items"]
            page = (await me.get(f"{path}&cursor={page['next_cursor']}")).json()
        whole = (await me.get(f"/models?sort={order}")).json()["items"]
        assert seen + page["items"] == whole
    of_another_order = await me.get(f"/models?sort=model_name&cursor={first['next_cursor']}")
    assert of_another_order.status_code == 422
    wrong = await me.get("/models?sort=size&q=%00&limit=0")
    assert wrong.status_code == 422
    both = await me.get("/models?limit=0&task_type=magic")
    assert {fault["pointer"] for fault in both.json()["errors"]} == {"?limit", "?task_type"}
    for cursor in ("%00", "abc", "LTU", "!!!", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        assert (await me.get(f"/models?cursor={cursor}")).status_code == 422


async def test_changing_deleting_and_restoring(api: Api, me: httpx.AsyncClient, run: uuid.UUID) -> None:
    model = await save(me, run, description="first")
    url = f"/models/{model['id']}"
    changed = (await me.patch(url, json={"tags": ["new"], "description": None})).json()
    assert (changed["model_name"], changed["tags"], changed["description"]) == ("Churn", ["new"], None)
    wrong = await me.patch(url, json={"model_name": 5, "status": "ready"})
    assert {fault["pointer"] for fault in wrong.json()["errors"]} == {"/model_name", "/status"}

    assert (await me.delete(url)).status_code == 204
    assert (await me.get(url)).status_code == 404
    assert (await me.patch(url, json={"tags": []})).status_code == 404
    assert (await me.delete(url)).status_code == 404
    assert (await me.get("/models")).json()["items"] == []
    assert [m["id"] for m in (await me.get("/models?deleted=true")).json()["items"]] == [model["id"]]
    assert (await me.post(f"{url}/restore")).json()["deleted"] is False
    assert (await me.post(f"{url}/restore")).status_code == 200

    somebody = api.user()
    for call in (
        somebody.get(url),
        somebody.patch(url, json={"tags": []}),
        somebody.delete(url),
        somebody.post(f"{url}/restore"),
        somebody.get(f"{url}/download"),
        me.get("/models/not-an-id"),
    ):
        answer = await call
        assert (answer.status_code, answer.json()["detail"]) == (404, "Model not found")
    assert (await somebody.get("/models/stats")).json()["count"] == 0
