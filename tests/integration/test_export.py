"""Everything of an account as one ZIP: what is in it, who gets it, what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.packager.export import AccountGoes, ExportJobs
from services.packager.orphans import remove_orphans
from services.packager.sweep import Sweep
from shared.contracts.states import JobKind
from shared.db import account, jobs
from shared.db.pool import Database
from shared.errors import LeaseLost, StorageUnavailable
from shared.resources import Resources
from shared.settings import Retention
from shared.storage import Store, dataset_key, export_key, export_prefix, model_key, skops_key
from tests.integration import api_runs
from tests.integration.account_of import SHOWN, Filled, claimed, filled
from tests.integration.api_client import CSV, Api

NOW = {"Prefer": "wait=0"}


@pytest.fixture
def exporter(worker_resources: Resources) -> ExportJobs:
    return ExportJobs(worker_resources, life_s=3600)


@pytest.fixture
async def mine(api: Api, worker_db: Database) -> Filled:
    return await filled(api, worker_db)


async def build(exporter: ExportJobs) -> None:
    job = await claimed(exporter.db, JobKind.EXPORT)
    assert job is not None
    await exporter.export(job)


async def exported(client: httpx.AsyncClient, exporter: ExportJobs) -> zipfile.ZipFile:
    assert (await client.get("/account/export", headers=NOW)).status_code == 202
    await build(exporter)
    answer = await client.get("/account/export")
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


async def test_it_holds_everything_of_one_and_nothing_of_another(
    api: Api, worker_db: Database, mine: Filled, exporter: ExportJobs
) -> None:
    theirs = await filled(api, worker_db)
    packed = await exported(mine.client, exporter)
    assert packed.testzip() is None
    done, kept = mine.runs
    slugs = list(api_runs.SCORES)
    assert set(packed.namelist()) == {
        "README.txt",
        "account.json",
        "SHA256SUMS",
        f"files/{mine.file}/Größe & Preis.csv",
        *(
            f"models/{model}/{name}.pkl"
            for model, name in zip(mine.models, ("Churn", "Churn_again"), strict=True)
        ),
        *(f"runs/{run}/leaderboard.csv" for run in (done, kept)),
        *(f"runs/{run}/{slug}.pkl" for run in (done, kept) for slug in slugs),
        *(f"runs/{run}/plots/{slug}_confusion_matrix.svg" for run in (done, kept) for slug in slugs),
    } | {name for name in packed.namelist() if name.startswith("files/")}
    files = [name for name in packed.namelist() if name.startswith("files/")]
    assert len(files) == len((await mine.client.get("/files")).json()["items"])
    assert all(packed.read(name) == CSV for name in files)
    assert packed.read(f"runs/{done}/random_forest.pkl") == api_runs.pickle_of("random_forest")
    for line in packed.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256(packed.read(name)).hexdigest() == digest

    told = json.loads(packed.read("account.json"))
    assert set(told) == {"user_id", "exported_at", "files", "runs", "models", "api_keys", "audit"}
    assert told["user_id"] == str(mine.user)
    assert {file["id"]: file["preview"] for file in told["files"]}[str(mine.file)] == SHOWN
    assert {run["status"] for run in told["runs"]} == {"completed", "cancelled", "queued"}
    run = next(run for run in told["runs"] if run["id"] == str(done))
    assert (run["request"]["target"], run["plan"]["metric"]) == ("species", "accuracy")
    assert {row["model_name"]: row["status"] for row in run["candidates"]} == {
        "logistic_regression": "done",
        "random_forest": "done",
        "mlp": "failed",
    }
    assert run["candidates"][0]["outcome"]["importance"]
    assert [(model["model_name"], model["deleted"]) for model in told["models"]] == [
        ("Churn", False),
        ("Churn again", True),
    ]
    assert [key["name"] for key in told["api_keys"]] == ["nightly"]
    shown = (await mine.client.get("/account/audit?limit=200")).json()["items"]
    assert {deed["id"] for deed in told["audit"]} < {deed["id"] for deed in shown}
    assert told["audit"][-1]["action"] == "account.export_asked"
    everything = b"".join(packed.read(name) for name in packed.namelist()) + str(packed.namelist()).encode()
    for secret in (str(theirs.user), str(theirs.file), str(theirs.runs[0]), mine.key["key"], "secret"):
        assert secret.encode() not in everything


async def test_a_model_that_was_converted_is_there_both_ways(mine: Filled, exporter: ExportJobs) -> None:
    store, run, content = exporter.store, mine.runs[0], b"a zip of numbers"
    key = skops_key(mine.user, run, "random_forest", 1, 1)
    await store.put_bytes(store.artifacts, key, content, content_type="application/zip")
    await api_runs.execute(
        exporter.db,
        "UPDATE trainyard.conversions SET status = 'ready', attempt = 1, size_bytes = $2, sha256 = $3,"
        " types = '{}' WHERE user_id = $1 AND format = 'skops'",
        mine.user,
        len(content),
        api_runs.sha256(content),
    )
    packed = await exported(mine.client, exporter)
    assert packed.read(f"runs/{run}/random_forest.skops") == content
    assert b"hmac" not in packed.read("account.json")


async def test_an_empty_account_has_an_export_too(api: Api, exporter: ExportJobs) -> None:
    packed = await exported(api.user(), exporter)
    assert packed.namelist() == ["README.txt", "account.json", "SHA256SUMS"]
    told = json.loads(packed.read("account.json"))
    assert (told["files"], told["runs"], told["models"], told["api_keys"]) == ([], [], [], [])


async def test_lists_longer_than_a_page_are_whole(
    api: Api, worker_db: Database, exporter: ExportJobs
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    assert (await me.get("/account")).status_code == 200
    async with worker_db.transaction() as c:
        await c.execute(
            "INSERT INTO trainyard.audit (id, user_id, action, subject_kind, actor)"
            " SELECT gen_random_uuid(), $1, 'run.started', 'run', 'system' FROM generate_series(1, 450)",
            user,
        )
    told = json.loads((await exported(me, exporter)).read("account.json"))
    assert len({deed["id"] for deed in told["audit"]}) == 451


async def test_it_is_asked_for_once_waited_for_and_dropped(
    api: Api, worker_db: Database, mine: Filled, exporter: ExportJobs, worker_resources: Resources
) -> None:
    me = mine.client
    assert (await me.get("/account/export/status")).json()["type"] == "export-not-found"
    assert (await me.delete("/account/export")).status_code == 404
    first = await me.get("/account/export", headers=NOW)
    assert (first.status_code, first.json()) == (202, {"status": "building", "progress": 0.0})
    assert first.headers["location"] == "/account/export/status"
    assert "retry-after" in first.headers
    page = await me.get("/account/export", headers={**NOW, "Accept": "text/html, */*"})
    assert (page.status_code, 'http-equiv="refresh"' in page.text) == (202, True)
    assert (await me.delete("/account/export")).status_code == 404
    waiting = asyncio.create_task(me.get("/account/export", headers={"Prefer": "wait=60"}))
    await build(exporter)
    file = await waiting
    assert file.status_code == 200
    name = file.headers["content-disposition"]
    assert name.startswith('attachment; filename="trainyard_export_20')
    assert name.endswith('.zip"')
    state = (await me.get("/account/export/status")).json()
    assert (state["status"], state["size_bytes"]) == ("ready", len(file.content))
    link = (await me.get("/account/export", headers={"Accept": "application/json"})).json()
    assert link["sha256"] == hashlib.sha256(file.content).hexdigest()
    deeds = [deed["action"] for deed in (await me.get("/account/audit?limit=4")).json()["items"]]
    assert deeds == [
        "export.link_issued",
        "export.downloaded",
        "account.exported",
        "account.export_asked",
    ]

    assert (await api.user().get("/account/export/status")).status_code == 404
    assert (await me.delete("/account/export")).status_code == 204
    assert (await me.get("/account/export/status")).status_code == 404
    store = worker_resources.store
    assert await Sweep(worker_resources, Retention()).expire_exports() == 1
    assert [item async for item in store.list(store.bundles, export_prefix(mine.user))] == []
    assert (await me.get("/account/export", headers=NOW)).status_code == 202


async def test_a_new_one_replaces_the_old_ones_object_and_orphans_go(
    mine: Filled, exporter: ExportJobs, worker_resources: Resources
) -> None:
    store = worker_resources.store
    await exported(mine.client, exporter)
    assert (await mine.client.delete("/account/export")).status_code == 204
    await exported(mine.client, exporter)
    kept = [item.key async for item in store.list(store.bundles, export_prefix(mine.user))]
    assert len(kept) == 1
    lost = export_key(uuid.uuid4(), 1)
    await store.put_bytes(store.bundles, lost, b"x", content_type="application/zip")
    await remove_orphans(worker_resources.db, store, older_than_s=-60)
    assert await store.head(store.bundles, lost) is None
    assert await store.head(store.bundles, kept[0]) is not None


async def test_what_is_gone_or_damaged_is_left_out_and_said(
    mine: Filled, exporter: ExportJobs, worker_resources: Resources
) -> None:
    store = worker_resources.store
    done = mine.runs[0]
    await store.delete(store.datasets, dataset_key(mine.user, mine.file))
    key = model_key(mine.user, done, "random_forest", 1)
    await store.put_bytes(store.artifacts, key, b"something else", content_type="application/octet-stream")
    packed = await exported(mine.client, exporter)
    assert packed.testzip() is None
    assert f"files/{mine.file}/Größe & Preis.csv" not in packed.namelist()
    assert f"runs/{done}/random_forest.pkl" not in packed.namelist()
    assert f"runs/{done}/logistic_regression.pkl" in packed.namelist()
    said = packed.read("LEFT_OUT.txt").decode().splitlines()
    assert sorted(said) == [
        f"files/{mine.file}/Größe & Preis.csv: deleted while the export was made, or lost",
        f"runs/{done}/random_forest.pkl: the store does not hold what was put there",
    ]


class Vanishing(Store):
    """A store one of whose objects is there when it is opened and gone when it is read on."""

    def __init__(self, store: Store, key: str) -> None:
        self.__dict__.update(store.__dict__)
        self._key = key

    async def stream(self, bucket: str, key: str, *args: Any) -> AsyncIterator[bytes]:  # type: ignore[override]
        async for chunk in super().stream(bucket, key, *args):
            yield chunk[:10] if key == self._key else chunk
            if key == self._key:
                await self.delete(bucket, key)
                async for rest in super().stream(bucket, key, 10):
                    yield rest


async def test_what_vanishes_in_the_middle_of_its_member_is_left_out_too(
    mine: Filled, exporter: ExportJobs, worker_resources: Resources
) -> None:
    key = model_key(mine.user, mine.runs[0], "random_forest", 1)
    vanishing = Vanishing(worker_resources.store, key)
    resources = Resources(db=worker_resources.db, redis=worker_resources.redis, store=vanishing)
    packed = await exported(mine.client, ExportJobs(resources, life_s=3600))
    assert packed.testzip() is None
    assert f"runs/{mine.runs[0]}/random_forest.pkl" not in packed.namelist()
    assert b"random_forest" in packed.read("LEFT_OUT.txt")


async def test_a_deleted_run_or_file_is_not_in_it(mine: Filled, exporter: ExportJobs) -> None:
    assert (await mine.client.delete(f"/ml/tasks/{mine.runs[0]}")).status_code == 204
    packed = await exported(mine.client, exporter)
    assert str(mine.runs[0]) not in str(packed.namelist())
    told = json.loads(packed.read("account.json"))
    assert str(mine.runs[0]) not in {run["id"] for run in told["runs"]}


async def test_one_that_failed_says_why_and_is_built_again_when_asked_for_again(
    mine: Filled, exporter: ExportJobs
) -> None:
    assert (await mine.client.get("/account/export", headers=NOW)).status_code == 202
    job = await claimed(exporter.db, JobKind.EXPORT)
    assert job is not None
    waiting = asyncio.create_task(mine.client.get("/account/export", headers={"Prefer": "wait=5"}))
    await exporter.given_up(job, StorageUnavailable("the store is full"))
    answer = await waiting
    if answer.status_code == 202:  # it asked after the failure was recorded, and so for another
        answer = await mine.client.get("/account/export/status")
        assert answer.json()["status"] == "building"
    else:
        assert (answer.status_code, answer.json()["type"]) == (503, "export-failed")
        assert answer.json()["detail"] == "the store is full"
    assert (await exported(mine.client, exporter)).testzip() is None


async def test_a_stale_attempt_records_nothing(mine: Filled, exporter: ExportJobs) -> None:
    assert (await mine.client.get("/account/export", headers=NOW)).status_code == 202
    job = await claimed(exporter.db, JobKind.EXPORT)
    assert job is not None
    async with exporter.db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET attempt = attempt + 1 WHERE id = $1", job.id)
    with pytest.raises(LeaseLost):
        await exporter.export(job)
    assert (await mine.client.get("/account/export/status")).json()["status"] == "building"


async def test_one_whose_job_was_lost_is_asked_for_again_by_the_sweep(
    mine: Filled, exporter: ExportJobs
) -> None:
    assert (await mine.client.get("/account/export", headers=NOW)).status_code == 202
    async with exporter.db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs")
        kinds = [row["kind"] for row in await jobs.restore_missing(c)]
    assert "export" in kinds
    await build(exporter)
    assert (await mine.client.get("/account/export")).status_code == 200


async def test_it_stops_when_the_account_is_deleted_meanwhile(mine: Filled, exporter: ExportJobs) -> None:
    assert (await mine.client.get("/account/export", headers=NOW)).status_code == 202
    job = await claimed(exporter.db, JobKind.EXPORT)
    assert job is not None
    assert (await mine.client.delete(f"/account?confirm={mine.user}")).status_code == 202
    with pytest.raises(AccountGoes):
        await exporter.export(job)
    async with exporter.db.transaction() as c:
        assert not await account.export_goes_on(c, mine.user, 0.5)
