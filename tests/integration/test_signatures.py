"""What somebody puts in a model's place, with the store's and the database's credentials but without the
key, is neither saved nor opened."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.packager.jobs import PackagerJobs
from shared.contracts.states import JobKind
from shared.db import models
from shared.db.pool import Database
from shared.errors import ArtifactRefused, StorageCorrupt
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, Retention, load
from shared.signing import Artifact, KeyRing, Signature
from shared.storage import model_key
from tests.integration.signatures import KEYS, signed
from tests.integration.test_packager import PICKLES, asked, finished_run, keys, saved

SLUG = "random_forest"
OTHER = os.urandom(len(PICKLES[SLUG]))
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()


@pytest.fixture
async def resources(env: dict[str, str], buckets: None) -> AsyncIterator[Resources]:
    async with open_resources(
        env["WORKER_DATABASE_URL"],
        postgres=load(Postgres, env),
        redis=load(Redis, env),
        s3=load(S3, env),
        application="test",
    ) as opened:
        yield opened


@pytest.fixture
def packager(resources: Resources, env: dict[str, str]) -> PackagerJobs:
    return PackagerJobs(resources, load(S3, env), Retention(), KEYS)


async def replace_object(resources: Resources, user: uuid.UUID, task_id: uuid.UUID) -> None:
    store = resources.store
    key = model_key(user, task_id, SLUG, 1)
    await store.put_bytes(store.artifacts, key, OTHER, content_type="application/octet-stream")


async def alter(resources: Resources, task_id: uuid.UUID, **columns: object) -> None:
    """As somebody with the workers' login."""
    async with resources.db.transaction() as c:
        for name, value in columns.items():
            await c.execute(
                f"UPDATE trainyard.candidates SET {name} = $2 WHERE task_id = $1 AND model_name = '{SLUG}'",
                task_id,
                value,
            )


async def refused(packager: PackagerJobs, api_db: Database, user: uuid.UUID, task_id: uuid.UUID) -> str:
    """Save it and fail: what the model's row then says. Nothing of it is in the registry's bucket."""
    model_id = await saved(api_db, task_id, user, "mine")
    job = await asked(api_db, packager.db, JobKind.SAVE, model_id, user)
    with pytest.raises(ArtifactRefused) as raised:
        await packager.save(job)
    await packager.save_given_up(job, raised.value)
    async with packager.db.transaction() as c:
        row = await c.fetchrow("SELECT * FROM public.trained_models WHERE id = $1", model_id)
        assert await c.fetchval("SELECT count(*) FROM trainyard.jobs WHERE id = $1", job.id) == 0
    assert (row["status"], row["file_path"], row["hmac"]) == ("failed", None, None)
    assert [item async for item in packager.store.list(packager.store.models, f"{user}/")] == []
    return str(row["error"])


async def test_a_saved_copy_keeps_the_signature_and_it_holds_for_it(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "mine")
    await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    async with resources.db.transaction() as c:
        row = await c.fetchrow("SELECT * FROM public.trained_models WHERE id = $1", model_id)
    artifact = Artifact(
        sha256=row["sha256"],
        user_id=row["user_id"],
        task_id=row["task_id"],
        slug=row["candidate_slug"],
        attempt=row["candidate_attempt"],
    )
    KEYS.verify(artifact, Signature(key_id=row["hmac_key_id"], mac=row["hmac"]))


async def test_an_object_of_the_same_size_in_its_place_is_not_saved(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await replace_object(resources, user_id, task_id)
    model_id = await saved(api_db, task_id, user_id, "mine")
    with pytest.raises(StorageCorrupt):
        await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    assert await keys(resources, resources.store.models, f"{user_id}/") == []


async def test_an_object_and_its_digest_replaced_are_not_saved(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await replace_object(resources, user_id, task_id)
    await alter(resources, task_id, sha256=OTHER_SHA256)
    assert "signature does not fit" in await refused(packager, api_db, user_id, task_id)


@pytest.mark.parametrize("of", ["another user", "another run", "another model", "another attempt"])
async def test_a_signature_of_something_else_is_not_taken(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID, of: str
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    sha256 = hashlib.sha256(PICKLES[SLUG]).hexdigest()
    foreign = {
        "another user": signed(uuid.uuid4(), task_id, SLUG, sha256),
        "another run": signed(user_id, uuid.uuid4(), SLUG, sha256),
        "another model": signed(user_id, task_id, "extra_trees", sha256),
        "another attempt": signed(user_id, task_id, SLUG, sha256, attempt=2),
    }[of]
    await alter(resources, task_id, hmac=foreign.mac)
    assert "signature does not fit" in await refused(packager, api_db, user_id, task_id)


async def test_one_that_was_signed_with_a_key_of_their_own_is_not_saved(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    theirs = KeyRing.parse(f"theirs:{base64.b64encode(os.urandom(32)).decode()}")
    artifact = Artifact(sha256=OTHER_SHA256, user_id=user_id, task_id=task_id, slug=SLUG, attempt=1)
    await replace_object(resources, user_id, task_id)
    await alter(resources, task_id, sha256=OTHER_SHA256, hmac=theirs.sign(artifact).mac, hmac_key_id="theirs")
    assert "'theirs', which is not in ARTIFACT_HMAC_KEYS" in await refused(packager, api_db, user_id, task_id)
    await alter(resources, task_id, hmac_key_id="test")  # under the name of ours
    assert "signature does not fit" in await refused(packager, api_db, user_id, task_id)


async def test_a_signature_taken_away_is_no_way_around(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.candidates SET hmac = NULL, hmac_key_id = NULL")
    assert "before models were signed" in await refused(packager, api_db, user_id, task_id)


async def test_the_apis_login_writes_no_signatures(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "mine")
    mac = bytes(32)
    for statement, *values in (
        ("UPDATE trainyard.candidates SET hmac = $1, hmac_key_id = 'k'", mac),
        ("UPDATE trainyard.candidates SET sha256 = $1", OTHER_SHA256),
        ("DELETE FROM trainyard.candidates WHERE task_id = $1", task_id),
        ("UPDATE public.trained_models SET hmac = $1, hmac_key_id = 'k'", mac),
        ("UPDATE public.trained_models SET sha256 = $1", OTHER_SHA256),
        (
            "INSERT INTO public.trained_models (id, user_id, task_id, model_name, algorithm, task_type,"
            " candidate_slug, candidate_attempt, hmac, hmac_key_id)"
            " VALUES ($1, $2, $3, 'm', 'a', 'regression', 's', 1, $4, 'k')",
            uuid.uuid4(),
            user_id,
            task_id,
            mac,
        ),
        (
            "INSERT INTO trainyard.candidates (id, task_id, user_id, position, model_name, label, algorithm)"
            " VALUES ($1, $2, $3, 9, 'm', 'm', 'm')",
            uuid.uuid4(),
            task_id,
            user_id,
        ),
        ("UPDATE trainyard.conversions SET sha256 = $1", OTHER_SHA256),
        ("UPDATE trainyard.conversions SET types = $1", ["builtins.eval"]),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with api_db.transaction(user_id) as c:
                await c.execute(statement, *values)
    async with api_db.transaction(user_id) as c:
        model = await models.get(c, user_id, model_id)
    assert model is not None
    assert model.status == "saving"


@pytest.mark.parametrize("table", ["trainyard.candidates", "public.trained_models"])
@pytest.mark.parametrize(
    ("mac", "key_id"), [(None, "k1"), (bytes(32), None), (bytes(31), "k1"), (bytes(32), "k 1")]
)
async def test_a_signature_is_whole_or_not_there(
    resources: Resources,
    api_db: Database,
    user_id: uuid.UUID,
    table: str,
    mac: bytes | None,
    key_id: str | None,
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await saved(api_db, task_id, user_id, "mine")
    with pytest.raises(asyncpg.CheckViolationError):
        async with resources.db.transaction() as c:
            await c.execute(f"UPDATE {table} SET hmac = $1, hmac_key_id = $2", mac, key_id)
