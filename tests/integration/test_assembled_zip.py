"""A run's ZIP, and an account's, on a store that copies parts itself: what passes through the packager."""

from __future__ import annotations

import hashlib
import random
import subprocess
import uuid
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which

import msgspec
import pytest

from services.packager.jobs import PackagerJobs
from shared.contracts.states import JobKind
from shared.db import account
from shared.db.pool import Database
from shared.resources import Resources
from shared.settings import S3, Retention, load
from shared.storage import bundle_key, export_key, model_key, open_store
from tests.integration import test_packager
from tests.integration.signatures import KEYS
from tests.integration.storage.copying_store import CopyingStore, copying_store
from tests.integration.test_packager import ask_bundle, asked, finished_run
from tests.s3_elsewhere import plain_client

MIB = 2**20
LARGE = random.Random(7).randbytes(14 * MIB + 3)
PICKLES = {"logistic_regression": b"lr" * 500, "random_forest": LARGE}
TESTERS = [["unzip", "-tq"], ["7z", "t"], ["7zz", "t"], ["bsdtar", "-tf"]]


@pytest.fixture
async def copying(worker_resources: Resources, env: dict[str, str]) -> AsyncIterator[CopyingStore]:
    async with plain_client(load(S3, env)) as client:
        async with copying_store(env["S3_ENDPOINT_URL"], client) as server:
            yield server


@pytest.fixture
async def resources(
    worker_resources: Resources, env: dict[str, str], copying: CopyingStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Resources]:
    monkeypatch.setattr(test_packager, "PICKLES", PICKLES)
    async with open_store(load(S3, env | {"S3_ENDPOINT_URL": copying.url})) as store:
        await store.probe()
        yield msgspec.structs.replace(worker_resources, store=store)


@pytest.fixture
def packager(resources: Resources, env: dict[str, str]) -> PackagerJobs:
    return PackagerJobs(resources, load(S3, env), Retention(), KEYS)


async def fetched(resources: Resources, key: str, path: Path) -> zipfile.ZipFile:
    await resources.store.get_file(resources.store.bundles, key, path)
    for tester in (tester for tester in TESTERS if which(tester[0])):
        done = subprocess.run([*tester, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    archive = zipfile.ZipFile(path)
    assert archive.testzip() is None
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    return archive


async def bundle(
    packager: PackagerJobs, api_db: Database, user: uuid.UUID, task_id: uuid.UUID
) -> tuple[str, str | None]:
    """The object's key, and the digest that is recorded of it."""
    await ask_bundle(api_db, task_id, user)
    job = await asked(api_db, packager.db, JobKind.BUNDLE, task_id, user)
    await packager.bundle(job)
    row = await test_packager.bundle_row(api_db, task_id, user)
    assert row["status"] == "ready"
    return bundle_key(user, task_id, job.attempt), row["sha256"]  # type: ignore[return-value]


async def test_large_models_are_copied_by_the_store(
    resources: Resources,
    packager: PackagerJobs,
    copying: CopyingStore,
    api_db: Database,
    user_id: uuid.UUID,
    tmp_path: Path,
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    copying.begins()
    key, digest = await bundle(packager, api_db, user_id, task_id)
    assert digest is None
    # the first of the two lends what its part lacks of 5 MiB, the second follows a part that is large enough
    assert copying.copied >= 2 * (len(LARGE) - 5 * MIB)
    assert copying.received <= 2 * 5 * MIB + MIB
    archive = await fetched(resources, key, tmp_path / "all.zip")
    assert archive.read("best_model.pkl") == archive.read("random_forest.pkl") == LARGE
    assert archive.read("logistic_regression.pkl") == PICKLES["logistic_regression"]
    assert archive.getinfo("random_forest.pkl").compress_type == zipfile.ZIP_STORED


async def test_models_of_before_pass_through_the_packager(
    resources: Resources,
    packager: PackagerJobs,
    copying: CopyingStore,
    api_db: Database,
    user_id: uuid.UUID,
    tmp_path: Path,
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.candidates SET crc32 = NULL, etag = NULL")
    copying.begins()
    key, digest = await bundle(packager, api_db, user_id, task_id)
    assert copying.copied == 0
    archive = await fetched(resources, key, tmp_path / "all.zip")
    assert hashlib.sha256((tmp_path / "all.zip").read_bytes()).hexdigest() == digest
    assert archive.read("best_model.pkl") == LARGE


async def test_a_large_model_that_was_changed_in_the_store_is_not_packed(
    resources: Resources,
    packager: PackagerJobs,
    api_db: Database,
    user_id: uuid.UUID,
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    store = resources.store
    key = model_key(user_id, task_id, "random_forest", 1)
    await store.put_bytes(store.artifacts, key, LARGE[::-1], content_type="application/octet-stream")
    with pytest.raises(Exception, match="does not hold"):
        await bundle(packager, api_db, user_id, task_id)
    assert [item async for item in store.list(store.bundles, f"{user_id}/")] == []


async def test_an_accounts_large_models_are_copied_too_and_what_was_changed_is_left_out(
    resources: Resources,
    packager: PackagerJobs,
    copying: CopyingStore,
    api_db: Database,
    user_id: uuid.UUID,
    tmp_path: Path,
) -> None:
    whole, changed = [await finished_run(resources, api_db, user_id) for _ in range(2)]
    store = resources.store
    key = model_key(user_id, changed, "random_forest", 1)
    await store.put_bytes(store.artifacts, key, LARGE[::-1], content_type="application/octet-stream")
    async with api_db.transaction(user_id) as c:
        await account.ask_export(c, user_id, 60)
    job = await asked(api_db, resources.db, JobKind.EXPORT, user_id, user_id)
    copying.begins()
    await packager.exports.export(job)
    archive = await fetched(resources, export_key(user_id, job.attempt), tmp_path / "account.zip")
    assert archive.read(f"runs/{whole}/random_forest.pkl") == LARGE
    assert f"runs/{changed}/random_forest.pkl" not in archive.namelist()
    assert f"runs/{changed}/random_forest.pkl" in archive.read("LEFT_OUT.txt").decode()
    assert copying.copied > 0
    assert "etag" not in archive.read("account.json").decode()
