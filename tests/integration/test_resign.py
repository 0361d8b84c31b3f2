"""Models signed with an old key are signed anew, while others look at them; nothing becomes trusted by it."""

from __future__ import annotations

import base64
import os
import uuid

import pytest

from services.packager.jobs import PackagerJobs
from shared.contracts.states import JobKind
from shared.db import signatures
from shared.db.pool import Database
from shared.errors import ArtifactRefused
from shared.resign import lines, main, resign
from shared.resources import Resources
from shared.settings import S3, Retention, load
from shared.signing import KeyRing
from tests.integration.signatures import SETTING
from tests.integration.test_packager import asked, finished_run, saved

NEW = f"new:{base64.b64encode(os.urandom(32)).decode()}"
BOTH = KeyRing.parse(f"{NEW},{SETTING}")
ONLY_NEW = KeyRing.parse(NEW)


def packager(resources: Resources, env: dict[str, str], keys: KeyRing) -> PackagerJobs:
    return PackagerJobs(resources, load(S3, env), Retention(), keys)


async def key_ids(db: Database, signed: signatures.Signed) -> list[str]:
    async with db.transaction() as c:
        return [row["hmac_key_id"] for row in await signatures.page(c, signed, after=None, limit=100)]


async def test_after_it_the_old_key_is_not_needed(
    worker_resources: Resources,
    api_db: Database,
    user_id: uuid.UUID,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    db = worker_resources.db
    monkeypatch.setattr("shared.resign.BATCH", 2)
    tasks = [await finished_run(worker_resources, api_db, user_id) for _ in range(2)]
    model = await saved(api_db, tasks[0], user_id, "before")
    await packager(worker_resources, env, BOTH).save(await asked(api_db, db, JobKind.SAVE, model, user_id))
    counted = await resign(db, BOTH, only_count=True)
    assert (counted.holds, counted.signed) == ({"test": 5}, {})

    done = await resign(db, BOTH)
    assert (done.signed, done.missing, done.refused) == ({"test": 5}, {}, [])
    assert await key_ids(db, "candidates") == ["new"] * 4
    assert await key_ids(db, "trained_models") == ["new"]
    assert (await resign(db, BOTH)).signed == {}
    counted = await resign(db, ONLY_NEW, only_count=True)
    assert (counted.holds, counted.sound) == ({"new": 5}, True)

    later = await saved(api_db, tasks[1], user_id, "after")
    job = await asked(api_db, db, JobKind.SAVE, later, user_id)
    await packager(worker_resources, env, ONLY_NEW).save(job)


async def test_what_does_not_hold_stays_as_it_is_and_is_named(
    worker_resources: Resources, api_db: Database, user_id: uuid.UUID, env: dict[str, str]
) -> None:
    db = worker_resources.db
    task = await finished_run(worker_resources, api_db, user_id)
    async with db.transaction() as c:
        await c.execute(
            "UPDATE trainyard.candidates SET sha256 = $1 WHERE model_name = 'random_forest'", "f" * 64
        )
    done = await resign(db, BOTH)
    assert done.signed == {"test": 1}
    assert len(done.refused) == 1
    assert str(user_id) in done.refused[0]
    assert not done.sound
    assert any("does not hold" in line for line in lines(done, BOTH))
    assert sorted(await key_ids(db, "candidates")) == ["new", "test"]

    unknown = await resign(db, KeyRing.parse(f"third:{base64.b64encode(os.urandom(32)).decode()}"))
    assert (unknown.signed, unknown.missing) == ({}, {"test": 1, "new": 1})
    model = await saved(api_db, task, user_id, "forged")
    job = await asked(api_db, db, JobKind.SAVE, model, user_id)
    with pytest.raises(ArtifactRefused):
        await packager(worker_resources, env, BOTH).save(job)


async def test_a_row_that_changed_meanwhile_is_left_alone(
    worker_resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    await finished_run(worker_resources, api_db, user_id)
    async with worker_resources.db.transaction() as c:
        rows = await signatures.page(c, "candidates", after=None, limit=10)
        fresh = [BOTH.sign(signatures.artifact(row)[0]) for row in rows]
        ids = [row["id"] for row in rows]
        assert await signatures.replace(c, "candidates", ids, [b"0" * 32 for _ in rows], fresh) == 0


def test_the_command(
    env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.resign.configure", lambda *_, **__: None)  # other tests log too
    assert main(env | {"ARTIFACT_HMAC_KEYS": SETTING}, ["--check"]) == 0
    assert capsys.readouterr().out == "no model is signed\n"
    assert main(env | {"ARTIFACT_HMAC_KEYS": "k1:short"}, []) == 2
    assert "k1" in capsys.readouterr().err
    wrong = env["WORKER_DATABASE_URL"].replace("login:", "login:x")
    assert main(env | {"ARTIFACT_HMAC_KEYS": SETTING, "WORKER_DATABASE_URL": wrong}, []) == 2
    assert "InvalidPassword" in capsys.readouterr().err
