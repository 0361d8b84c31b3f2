"""Results and downloads of a run that has ended, over HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import httpx
import pytest

from shared.contracts.states import TaskStatus
from shared.db import bundles
from shared.db.pool import Database
from shared.storage import bundle_key, model_key
from tests.integration import api_client, api_runs
from tests.integration.api_client import Api

NOBODY = str(uuid.UUID(int=7))


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


@pytest.fixture
async def run(api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID) -> uuid.UUID:
    return await api_runs.completed(api, me, worker_db, user)


async def test_the_best_model_is_the_best_on_validation(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    answer = await me.get(f"/ml/download-model/{run}/best_model")
    assert answer.status_code == 200
    assert answer.content == api_runs.pickle_of("random_forest")
    assert answer.headers["content-disposition"] == f'attachment; filename="best_model_{run}.pkl"'
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["etag"] == f'"{api_runs.sha256(answer.content)}"'
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_model_is_asked_for_by_slug_or_label(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    for asked in ("logistic_regression", "Logistic Regression", "LOGISTIC regression"):
        answer = await me.get(f"/ml/download-model/{run}/{asked}")
        assert answer.content == api_runs.pickle_of("logistic_regression")
        assert f'filename="logistic_regression_{run}.pkl"' in answer.headers["content-disposition"]
    for asked in ("mlp", "nothing"):  # one failed, one there is not
        answer = await me.get(f"/ml/download-model/{run}/{asked}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Model not found")
    for asked in ("..", "%2e%2e%2fother", "%00"):
        assert (await me.get(f"/ml/download-model/{run}/{asked}")).status_code == 404


async def test_ranges(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    url = f"/ml/download-model/{run}/best_model"
    whole = api_runs.pickle_of("random_forest")
    size = len(whole)

    async def ranged(given: str, **more: str) -> httpx.Response:
        return await me.get(url, headers={"Range": given, **more})

    first = await ranged("bytes=0-9")
    assert (first.status_code, first.content) == (206, whole[:10])
    assert first.headers["content-range"] == f"bytes 0-9/{size}"
    assert first.headers["content-length"] == "10"
    assert (await ranged("bytes=10-")).content == whole[10:]
    assert (await ranged("bytes=-5")).content == whole[-5:]
    assert (await ranged(f"bytes=5-{size * 2}")).content == whole[5:]
    assert (await ranged("bytes=0-1,4-5")).status_code == 200
    assert (await ranged("lines=1-2")).content == whole
    assert (await ranged("bytes=0-9", **{"If-Range": '"another"'})).content == whole
    assert (await ranged("bytes=0-9", **{"If-Range": first.headers["etag"]})).status_code == 206
    beyond = await ranged(f"bytes={size}-")
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert beyond.headers["content-type"] == "application/problem+json"
    assert (await ranged("bytes=-0")).status_code == 416
    unchanged = await me.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert unchanged.status_code == 304


async def test_head_says_what_a_download_would_be(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    answer = await me.head(f"/ml/download-model/{run}/best_model")
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-length"] == str(len(api_runs.pickle_of("random_forest")))
    assert answer.headers["accept-ranges"] == "bytes"


async def test_json_gets_a_link_that_works(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    url = f"/ml/download-model/{run}/random_forest"
    link = (await me.get(url, headers={"Accept": "application/json"})).json()
    content = api_runs.pickle_of("random_forest")
    assert link["filename"] == f"random_forest_{run}.pkl"
    assert (link["size_bytes"], link["sha256"]) == (len(content), api_runs.sha256(content))
    left = dt.datetime.fromisoformat(link["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=59) < left <= dt.timedelta(hours=1)
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(link["url"])).content == content
    browser = await me.get(url, headers={"Accept": "application/json, */*"})
    assert browser.content == content


async def test_a_redirect_carries_no_byte(
    env: dict[str, str], worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    async with api_client.running(env, DOWNLOADS="redirect") as api:
        answer = await api.user(user).get(f"/ml/download-model/{run}/random_forest")
        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        assert answer.content == b""
        async with httpx.AsyncClient() as stranger:
            fetched = await stranger.get(answer.headers["location"])
        assert fetched.content == api_runs.pickle_of("random_forest")
        assert (await api.user(user).head(f"/ml/download-model/{run}/random_forest")).status_code == 200


async def test_the_leaderboard_is_the_stored_file(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    answer = await me.get(f"/ml/download-leaderboard/{run}")
    assert answer.content == api_runs.LEADERBOARD
    assert f'filename="leaderboard_{run}.csv"' in answer.headers["content-disposition"]
    assert answer.headers["content-type"].startswith("text/csv")


async def test_an_object_that_the_store_lost_is_not_found(
    api: Api, me: httpx.AsyncClient, user: uuid.UUID, run: uuid.UUID
) -> None:
    store = api.context.store
    await store.delete(store.artifacts, model_key(user, run, "random_forest", 1))
    answer = await me.get(f"/ml/download-model/{run}/best_model")
    assert answer.status_code == 404


async def test_results(me: httpx.AsyncClient, run: uuid.UUID) -> None:
    results = (await me.get(f"/ml/results/{run}")).json()
    assert [row["model_name"] for row in results["leaderboard"]] == [
        "random_forest",
        "logistic_regression",
        "mlp",
    ]
    best, second, failed = results["leaderboard"]
    assert (best["score_low"], best["score_high"], best["tied_with_best"]) == (0.85, 0.95, None)
    # 0.1 less, and each moves by 0.06: together, as they were validated on other rows, by more
    assert second["tied_with_best"] is True
    assert (failed["score_low"], failed["tied_with_best"]) == (None, None)
    sure = results["uncertainty"]["random_forest"]
    assert sure == {"level": 0.95, "rows": 120, "validation": [0.85, 0.95], "held_out": None}
    assert results["intervals"] == {}
    assert list(best)[:5] == ["rank", "model_name", "label", "algorithm", "accuracy"]
    assert (best["rank"], best["cv_mean"], best["roc_auc"]) == (1, 0.9, None)
    assert (failed["rank"], failed["reason"]) == (None, "out of memory")
    assert results["metric"] == "accuracy"
    assert results["greater_is_better"]["log_loss"] is False
    assert results["importance"]["random_forest"] == [{"feature": "a", "mean": 0.3, "std": 0.01}]
    assert results["schema"]["labels"] == ["x", "y"]
    assert results["schema"]["columns"][0] == {"name": "a", "role": "numeric"}
    assert results["warnings"][0]["code"] == "duplicates"
    assert "forecast" not in results
    plot = results["plots"][0]
    assert "svg" not in plot
    assert plot["data"] == {"matrix": [[1]]}
    drawn = await me.get(plot["svg_url"])
    assert drawn.text == api_runs.SVG
    assert drawn.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in drawn.headers["content-security-policy"]
    assert drawn.headers["content-disposition"].startswith("attachment")
    assert drawn.headers["x-content-type-options"] == "nosniff"
    asked = await me.head(plot["svg_url"])
    assert asked.status_code == 200
    for header in ("content-type", "content-length", "content-disposition", "content-security-policy"):
        assert asked.headers[header] == drawn.headers[header]
    for wrong in ("residuals.svg", "confusion_matrix", "confusion_matrix.svg.svg"):
        assert (await me.get(f"/ml/plots/{run}/random_forest/{wrong}")).status_code == 404


async def test_before_the_end_there_are_results_but_no_downloads(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    empty = (await me.get(f"/ml/results/{task_id}")).json()
    assert (empty["leaderboard"], empty["schema"]) == ([], None)
    for state in ("queued", "running"):
        await api_runs.execute(
            worker_db, "UPDATE trainyard.tasks SET status = $2 WHERE id = $1", task_id, state
        )
        for download in ("download-model/{}/best_model", "download-leaderboard/{}", "download-all-models/{}"):
            answer = await me.get(f"/ml/{download.format(task_id)}")
            assert answer.status_code == 400
            assert answer.json()["detail"] == "Training not completed"


async def test_a_cancelled_run_serves_what_is_done(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    task_id = uuid.UUID((await api_runs.queued(api, me))["task_id"])
    await api_runs.planned(worker_db, user, task_id)
    await api_runs.fitted(api, worker_db, user, task_id)
    await api_runs.finished(api, worker_db, user, task_id, TaskStatus.CANCELLED)
    assert (await me.get(f"/ml/download-model/{task_id}/best_model")).status_code == 200


async def test_a_run_that_failed_before_its_plan_has_nothing(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task_id = (await api_runs.queued(api, me))["task_id"]
    await api_runs.execute(
        worker_db, "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1", uuid.UUID(task_id)
    )
    for download in ("download-model/{}/best_model", "download-leaderboard/{}", "download-all-models/{}"):
        answer = await me.get(f"/ml/{download.format(task_id)}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Model not found")


async def build(
    api: Api, db: Database, user: uuid.UUID, run: uuid.UUID, content: bytes, *, digest: bool = True
) -> None:
    store = api.context.store
    stored = await store.put_bytes(
        store.bundles, bundle_key(user, run, 1), content, content_type="application/zip"
    )
    async with db.transaction() as c:
        await bundles.ready(c, run, 1, stored.size_bytes, stored.sha256 if digest else None, 3600)


async def test_a_zip_that_the_store_put_together_has_no_digest_and_is_handed_over_all_the_same(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-all-models/{run}"
    assert (await me.get(url, headers={"Prefer": "wait=0"})).status_code == 202
    await build(api, worker_db, user, run, b"PK of everything", digest=False)
    link = (await me.get(url, headers={"Accept": "application/json"})).json()
    assert set(link) == {"url", "filename", "size_bytes", "expires_at"}
    whole = await me.get(url)
    assert whole.content == b"PK of everything"
    tag = whole.headers["etag"]
    assert (await me.get(url, headers={"If-None-Match": tag})).status_code == 304
    part = await me.get(url, headers={"Range": "bytes=3-", "If-Range": tag})
    assert (part.status_code, part.content) == (206, b"of everything")


async def test_the_zip_is_asked_for_once_waited_for_and_handed_over(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID, run: uuid.UUID
) -> None:
    url = f"/ml/download-all-models/{run}"
    assert (await me.get(f"/ml/bundles/{run}")).json()["detail"] == "Bundle not found"
    waiting = await me.get(url, headers={"Prefer": "wait=0"})
    assert waiting.status_code == 202
    assert waiting.headers["location"] == f"/ml/bundles/{run}"
    assert "retry-after" in waiting.headers
    assert waiting.json() == {"status": "building", "progress": 0.0}
    page = await me.get(url, headers={"Prefer": "wait=0", "Accept": "text/html, */*"})
    assert page.status_code == 202
    assert page.headers["content-type"].startswith("text/html")
    assert 'http-equiv="refresh"' in page.text
    async with worker_db.transaction() as c:
        jobs = await c.fetch("SELECT kind FROM trainyard.jobs WHERE subject_id = $1 AND kind = 'bundle'", run)
    assert len(jobs) == 1

    call = asyncio.create_task(me.get(url, headers={"Prefer": "wait=30"}))
    await build(api, worker_db, user, run, b"a zip")
    answer = await call
    assert (answer.status_code, answer.content) == (200, b"a zip")
    assert f'filename="all_models_{run}.zip"' in answer.headers["content-disposition"]
    state = (await me.get(f"/ml/bundles/{run}")).json()
    assert (state["status"], state["size_bytes"], state["progress"]) == ("ready", 5, 1)
    assert "expires_at" in state


async def test_a_zip_that_failed_is_built_again_when_asked_for_again(
    me: httpx.AsyncClient, worker_db: Database, run: uuid.UUID, user: uuid.UUID
) -> None:
    url = f"/ml/download-all-models/{run}"
    call = asyncio.create_task(me.get(url, headers={"Prefer": "wait=30"}))
    while (await me.get(f"/ml/bundles/{run}")).status_code == 404:
        await asyncio.sleep(0.01)
    async with worker_db.transaction() as c:
        await bundles.failed(c, run, user, 7, "the store is full")
    answer = await call
    assert answer.status_code == 503
    assert answer.json()["type"] == "bundle-failed"
    assert answer.json()["detail"] == "the store is full"
    again = await me.get(url, headers={"Prefer": "wait=0"})
    assert again.json()["status"] == "building"


async def test_of_others_of_nobody_and_malformed_are_the_same_404(
    api: Api, me: httpx.AsyncClient, run: uuid.UUID
) -> None:
    somebody = api.user()
    for path in (
        "status/{}",
        "results/{}",
        "download-model/{}/best_model",
        "download-leaderboard/{}",
        "download-all-models/{}",
        "bundles/{}",
        "plots/{}/random_forest/confusion_matrix.svg",
    ):
        answers = [
            await somebody.get(f"/ml/{path.format(run)}"),
            await me.get(f"/ml/{path.format(NOBODY)}"),
            await me.get(f"/ml/{path.format('not-an-id')}"),
            await me.get(f"/ml/{path.format('{' + str(run) + '}')}"),
        ]
        assert {a.status_code for a in answers} == {404}
        assert {a.json()["detail"] for a in answers} == {"Task not found"}
        assert {a.json()["type"] for a in answers} == {"task-not-found"}
