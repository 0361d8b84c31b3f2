"""`?format=skops` over HTTP; what a trainer makes of it is in test_conversions.py."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from shared.contracts.downloads import NOT_SCIKIT_LEARN
from shared.contracts.states import ConversionFormat
from shared.db import conversions, jobs, models
from shared.db.pool import Database
from shared.storage import skops_key
from tests.integration import api_runs
from tests.integration.api_client import Api
from tests.integration.signatures import signed

CONTENT = b"a skops file"
TYPES = ["numpy.clip", "pandas.core.generic.NDFrame.astype"]
NOW = {"Prefer": "wait=0"}


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


@pytest.fixture
async def run(api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID) -> uuid.UUID:
    return await api_runs.completed(api, me, worker_db, user)


async def waiting(db: Database) -> list[Any]:
    async with db.transaction() as c:
        return await c.fetch("SELECT subject_id, user_id, attempt FROM trainyard.jobs WHERE kind = 'convert'")


async def convert(api: Api, db: Database, user: uuid.UUID, run: uuid.UUID, attempt: int = 1) -> None:
    """What the trainer does with the random forest."""
    store = api.context.store
    key = skops_key(user, run, "random_forest", 1, attempt)
    put = await store.put_bytes(store.artifacts, key, CONTENT, content_type="application/octet-stream")
    async with db.transaction() as c:
        [job] = await c.fetch("DELETE FROM trainyard.jobs WHERE kind = 'convert' RETURNING subject_id")
        await conversions.ready(
            c,
            job["subject_id"],
            ConversionFormat.SKOPS,
            attempt,
            size_bytes=put.size_bytes,
            sha256=put.sha256,
            types=TYPES,
            facts=None,
            requires=["scikit-learn==1.9.1", "skops==0.16.0"],
        )


async def fail(db: Database, user: uuid.UUID, error: str, *, final: bool) -> None:
    async with db.transaction() as c:
        [job] = await c.fetch("DELETE FROM trainyard.jobs WHERE kind = 'convert' RETURNING subject_id")
        await conversions.failed(c, job["subject_id"], user, ConversionFormat.SKOPS, 5, error, final=final)


async def test_it_is_asked_for_once_waited_for_and_handed_over(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-model/{run}/best_model?format=skops"
    state = f"/ml/conversions/{run}/random_forest"
    assert (await me.get(state)).json()["type"] == "conversion-not-found"
    first = await me.get(url, headers=NOW)
    assert (first.status_code, first.json()) == (202, {"status": "building", "format": "skops"})
    assert first.headers["location"] == state
    assert first.headers["retry-after"] == "2"
    page = await me.get(url, headers=NOW | {"Accept": "text/html, */*"})
    assert page.status_code == 202
    assert 'http-equiv="refresh"' in page.text
    assert "Converting" in page.text
    polled = await me.get(state)
    assert (polled.json(), polled.headers["retry-after"]) == ({"status": "building", "format": "skops"}, "2")
    assert len(await waiting(worker_db)) == 1

    call = asyncio.create_task(me.get(url, headers={"Prefer": "wait=30"}))
    await convert(api, worker_db, user, run)
    answer = await call
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert f'filename="best_model_{run}.skops"' in answer.headers["content-disposition"]
    assert answer.headers["content-type"] == "application/octet-stream"
    ready = await me.get(f"/ml/conversions/{run}/Random Forest")
    assert "retry-after" not in ready.headers
    assert ready.json() == {
        "status": "ready",
        "format": "skops",
        "types": TYPES,
        "requires": ["scikit-learn==1.9.1", "skops==0.16.0"],
        "size_bytes": len(CONTENT),
        "sha256": api_runs.sha256(CONTENT),
    }


async def test_a_link_says_which_types_it_needs(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-model/{run}/random_forest"
    await me.get(url, params={"format": "skops"}, headers=NOW)
    await convert(api, worker_db, user, run)
    link = (await me.get(url, params={"format": "skops"}, headers={"Accept": "application/json"})).json()
    assert link["types"] == TYPES
    assert (link["filename"], link["size_bytes"]) == (f"random_forest_{run}.skops", len(CONTENT))
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(link["url"])).content == CONTENT
    pickled = (await me.get(url, headers={"Accept": "application/json"})).json()
    assert "types" not in pickled
    asked = await me.head(url, params={"format": "skops"})
    assert (asked.status_code, asked.headers["content-length"]) == (200, str(len(CONTENT)))


async def test_a_pickle_is_what_one_gets_by_default(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    for query in ("", "?format=pickle"):
        answer = await me.get(f"/ml/download-model/{run}/best_model{query}")
        assert answer.content == api_runs.pickle_of("random_forest")
    wrong = await me.get(f"/ml/download-model/{run}/best_model?format=pmml")
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "?format")


@pytest.mark.parametrize("slug", NOT_SCIKIT_LEARN)
async def test_other_libraries_models_are_refused_before_anybody_works_on_it(
    me: httpx.AsyncClient, worker_db: Database, run: uuid.UUID, slug: str
) -> None:
    await api_runs.execute(
        worker_db,
        "UPDATE trainyard.candidates SET model_name = $2 WHERE task_id = $1 AND model_name = 'random_forest'",
        run,
        slug,
    )
    for asked in (slug, "best_model"):
        answer = await me.get(f"/ml/download-model/{run}/{asked}?format=skops")
        assert (answer.status_code, answer.json()["type"]) == (422, "not-convertible")
        assert NOT_SCIKIT_LEARN[slug] in answer.json()["detail"]
    assert await waiting(worker_db) == []


async def test_models_of_time_series_are_refused(
    me: httpx.AsyncClient, worker_db: Database, run: uuid.UUID
) -> None:
    changed = (
        "UPDATE trainyard.tasks SET plan = jsonb_set(plan::jsonb, '{task_type}', '\"time_series\"')::json"
    )
    await api_runs.execute(worker_db, f"{changed} WHERE id = $1", run)
    answer = await me.get(f"/ml/download-model/{run}/random_forest?format=skops")
    assert (answer.status_code, answer.json()["type"]) == (422, "not-convertible")
    assert await waiting(worker_db) == []


async def test_what_failed_for_good_is_told_and_not_tried_again(
    me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-model/{run}/random_forest?format=skops"
    await me.get(url, headers=NOW)
    await fail(worker_db, user, "skops cannot write it", final=True)
    for _ in range(2):
        answer = await me.get(url)
        assert (answer.status_code, answer.json()["detail"]) == (422, "skops cannot write it")
    state = (await me.get(f"/ml/conversions/{run}/random_forest")).json()
    assert state == {"status": "failed", "format": "skops", "error": "skops cannot write it"}
    assert await waiting(worker_db) == []


async def test_what_may_pass_is_tried_again_when_asked_for_again(
    me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-model/{run}/random_forest?format=skops"
    call = asyncio.create_task(me.get(url, headers={"Prefer": "wait=30"}))
    while not await waiting(worker_db):
        await asyncio.sleep(0.01)
    await fail(worker_db, user, "ran out of memory", final=False)
    answer = await call
    assert (answer.status_code, answer.json()["type"]) == (503, "conversion-failed")
    assert answer.json()["detail"] == "ran out of memory"
    assert (await me.get(url, headers=NOW)).json() == {"status": "building", "format": "skops"}
    [job] = await waiting(worker_db)
    assert job["attempt"] == 5  # so that no key of an object is used twice


async def test_what_was_not_asked_for_any_more_is_asked_for_by_the_sweep(
    me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    await me.get(f"/ml/download-model/{run}/random_forest?format=skops", headers=NOW)
    [job] = await waiting(worker_db)
    async with worker_db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs")
        found = await jobs.restore_missing(c)
    assert [row["subject_id"] for row in found if row["kind"] == "convert"] == [job["subject_id"]]
    assert (await me.delete(f"/ml/tasks/{run}")).status_code == 204
    async with worker_db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs WHERE kind = 'convert'")
        assert "convert" not in [row["kind"] for row in await jobs.restore_missing(c)]


async def test_it_is_its_owners(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    await me.get(f"/ml/download-model/{run}/random_forest?format=skops", headers=NOW)
    await convert(api, worker_db, user, run)
    somebody = api.user()
    for path in (f"download-model/{run}/random_forest?format=skops", f"conversions/{run}/random_forest"):
        theirs, nobodys = (
            await somebody.get(f"/ml/{path}"),
            await me.get(f"/ml/{path}".replace(str(run), "x")),
        )
        assert (theirs.status_code, theirs.json()["detail"]) == (404, "Task not found")
        assert (nobodys.status_code, nobodys.json()["detail"]) == (404, "Task not found")
    for asked in ("mlp", "nothing"):
        for path in (f"download-model/{run}/{asked}?format=skops", f"conversions/{run}/{asked}"):
            assert (await me.get(f"/ml/{path}")).json()["detail"] == "Model not found"


async def test_a_row_for_somebody_elses_model_cannot_be_written(
    api_db: Database, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    async with worker_db.transaction() as c:
        candidate = await c.fetchval("SELECT id FROM trainyard.candidates WHERE status = 'done' LIMIT 1")
    thief = uuid.uuid4()
    async with api_db.transaction(thief) as c:
        await c.execute("SELECT trainyard.ensure_user($1)", None)
    with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.InsufficientPrivilegeError)):
        async with api_db.transaction(thief) as c:
            await c.execute(
                "INSERT INTO trainyard.conversions (candidate_id, user_id) VALUES ($1, $2)", candidate, thief
            )


async def saved(api: Api, me: httpx.AsyncClient, db: Database, user: uuid.UUID, run: uuid.UUID) -> str:
    """A model of the registry, copied by hand."""
    body = {"task_id": str(run), "model_name": "Churn / v2", "leaderboard_model": "random_forest"}
    model = (await me.post("/models/save", json=body)).json()
    store, content, path = api.context.store, api_runs.pickle_of("random_forest"), f"{user}/churn.pkl"
    put = await store.put_bytes(store.models, path, content, content_type="application/octet-stream")
    async with db.transaction() as c:
        await models.ready(
            c,
            uuid.UUID(model["id"]),
            file_path=path,
            file_size=put.size_bytes,
            sha256=put.sha256,
            signature=signed(user, run, "random_forest", put.sha256),
        )
    return str(model["id"])


async def test_a_saved_model_can_be_had_too_as_long_as_its_run_is_there(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    model_id = await saved(api, me, worker_db, user, run)
    url = f"/models/{model_id}/download"
    waiting_for_it = await me.get(url, params={"format": "skops"}, headers=NOW)
    assert waiting_for_it.status_code == 202
    assert waiting_for_it.headers["location"] == f"/ml/conversions/{run}/random_forest"
    await convert(api, worker_db, user, run)
    answer = await me.get(url, params={"format": "skops"})
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert 'filename="Churn_v2.skops"' in answer.headers["content-disposition"]
    link = (await me.get(url, params={"format": "skops"}, headers={"Accept": "application/json"})).json()
    assert (link["types"], link["filename"]) == (TYPES, "Churn_v2.skops")
    shown = (await me.get(f"/models/{model_id}")).json()
    assert (shown["links_issued"], shown["transfers"]) == (1, 1)
    assert (await api.user().get(url, params={"format": "skops"})).status_code == 404
    assert (await me.get(url)).content == api_runs.pickle_of("random_forest")
    assert (await me.get(url, params={"format": "pmml"})).status_code == 422

    assert (await me.delete(f"/ml/tasks/{run}")).status_code == 204
    gone = await me.get(url, params={"format": "skops"})
    assert gone.status_code == 409
    assert "take the pickle" in gone.json()["detail"]
    assert (await me.get(url)).status_code == 200


async def test_it_goes_with_its_run(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-model/{run}/random_forest?format=skops"
    await me.get(url, headers=NOW)
    assert (await me.delete(f"/ml/tasks/{run}")).status_code == 204
    assert (await me.get(url)).status_code == 404
    assert (await me.get(f"/ml/conversions/{run}/random_forest")).status_code == 404
    async with worker_db.transaction() as c:
        assert await jobs.stop_task(c, run) == 0
        await c.execute("DELETE FROM trainyard.tasks WHERE id = $1", run)
        assert await c.fetchval("SELECT count(*) FROM trainyard.conversions") == 0
        assert await c.fetchval("SELECT count(*) FROM trainyard.jobs WHERE kind = 'convert'") == 0
