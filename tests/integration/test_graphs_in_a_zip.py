"""ONNX in a ZIP: waited for while it is made, packed where it is there, told of where it is not."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from services.packager import jobs as packager_jobs
from services.packager.jobs import PackagerJobs
from shared.contracts.states import ConversionFormat, JobKind
from shared.db import conversions, jobs
from shared.db.pool import Database
from shared.resources import Resources
from shared.storage import onnx_key
from tests.integration.test_packager import (
    ask_bundle,
    asked,
    bundle_row,
    finished_run,
    packager,
    resources,
    zip_of,
)

__all__ = ["packager", "resources"]

GRAPH = b"graph" * 100
FACTS = {"opset": 15, "inputs": [], "outputs": [], "parity": {"rows": 30}}


async def ask_graph(api_db: Database, task_id: uuid.UUID, user: uuid.UUID, slug: str) -> Any:
    async with api_db.transaction(user) as c:
        row = await conversions.ask(c, task_id, slug, user, ConversionFormat.ONNX)
        await jobs.insert(c, JobKind.CONVERT_ONNX, row["candidate_id"], user)
    return row["candidate_id"]


async def make_graph(resources: Resources, task_id: uuid.UUID, user: uuid.UUID, candidate: Any) -> None:
    """As a trainer: the run's best model."""
    store = resources.store
    key = onnx_key(user, task_id, "random_forest", 1, 1)
    put = await store.put_bytes(store.artifacts, key, GRAPH, content_type="application/octet-stream")
    async with resources.db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs WHERE subject_id = $1", candidate)
        await conversions.ready(
            c,
            candidate,
            ConversionFormat.ONNX,
            1,
            size_bytes=put.size_bytes,
            sha256=put.sha256,
            requires=["onnxruntime==1.32.0"],
            types=None,
            facts=FACTS,
        )


async def test_graphs_are_packed_and_what_is_none_is_told(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    best = await ask_graph(api_db, task_id, user_id, "random_forest")
    other = await ask_graph(api_db, task_id, user_id, "logistic_regression")
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)

    await packager.bundle(job)  # given back: both are still to be made
    assert (await bundle_row(api_db, task_id, user_id))["status"] == "building"
    async with resources.db.transaction() as c:
        freed = await c.fetchrow("SELECT tries, lease_until FROM trainyard.jobs WHERE id = $1", job.id)
        assert tuple(freed) == (0, None)

    await make_graph(resources, task_id, user_id, best)
    async with resources.db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs WHERE kind = 'convert_onnx'")
        await conversions.failed(
            c, other, user_id, ConversionFormat.ONNX, 1, "'note' has no form in ONNX", final=True
        )
        await c.execute("UPDATE trainyard.jobs SET run_after = now()")
        again = await jobs.claim(c, [JobKind.BUNDLE], "test", 60)
    assert again is not None
    await packager.bundle(again)
    packed = await zip_of(resources, user_id, task_id, again.attempt)
    assert packed.read("best_model.onnx") == packed.read("random_forest.onnx") == GRAPH
    assert "logistic_regression.onnx" not in packed.namelist()
    told = json.loads(packed.read("onnx.json"))["models"]
    assert told["random_forest"]["file"] == "random_forest.onnx"
    assert told["random_forest"]["parity"] == FACTS["parity"]
    assert told["logistic_regression"] == {"file": None, "reason": "'note' has no form in ONNX"}
    assert "best_model.onnx" in packed.read("SHA256SUMS").decode()


async def test_a_zip_does_not_wait_for_trainers_that_are_not_there(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await ask_graph(api_db, task_id, user_id, "random_forest")
    await ask_bundle(api_db, task_id, user_id)
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET run_after = now() - interval '11 seconds'")
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    await packager.bundle(job)
    packed = await zip_of(resources, user_id, task_id, job.attempt)
    assert (
        "still being converted" in json.loads(packed.read("onnx.json"))["models"]["random_forest"]["reason"]
    )


@pytest.mark.parametrize(("minutes", "waits"), [(0, True), (2, False)])
async def test_nor_for_ever_for_one_that_works(
    resources: Resources,
    packager: PackagerJobs,
    api_db: Database,
    user_id: uuid.UUID,
    minutes: int,
    waits: bool,
) -> None:
    assert packager_jobs.GRAPHS_S < 120
    task_id = await finished_run(resources, api_db, user_id)
    await ask_graph(api_db, task_id, user_id, "random_forest")
    async with resources.db.transaction() as c:
        assert await jobs.claim(c, [JobKind.CONVERT_ONNX], "a trainer", 60) is not None
        await c.execute("UPDATE trainyard.jobs SET created_at = now() - make_interval(mins => $1)", minutes)
    await ask_bundle(api_db, task_id, user_id)
    await packager.bundle(await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id))
    assert (await bundle_row(api_db, task_id, user_id))["status"] == ("building" if waits else "ready")
