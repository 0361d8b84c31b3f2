"""What a user has, for a generated request to find: files, runs that have ended, saved models."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

import httpx
from msgspec import Struct

from shared.contracts.files import ColumnProfile, Profile
from shared.contracts.states import TaskType
from shared.db import bundles, files
from shared.db.pool import Database
from shared.storage import bundle_key
from tests.integration import api_client, api_runs
from tests.integration.api_client import Api
from tests.integration.test_api_models import make_ready, save

MANY = 12
"""Of each kind: calls that delete find some, and leave some."""


PROFILE = Profile(
    rows=150,
    columns=[
        ColumnProfile(name="a", role="numeric", dtype="float64", missing=0, distinct=43),
        ColumnProfile(name="b", role="numeric", dtype="float64", missing=0, distinct=22),
        ColumnProfile(name="species", role="categorical", dtype="object", missing=0, distinct=2),
    ],
    suggested_target="species",
    suggested_task_type=TaskType.CLASSIFICATION,
    reason="the last column",
    warnings=[],
)
PREVIEW = {"columns": ["a", "b", "species"], "rows": [["1.5", None, "x"], ["2", "0.1", "ü"]]}


class Objects(Struct):
    user: str
    token: str
    ids: dict[str, list[str]]
    """files, tasks, models"""


async def packed(api: Api, me: httpx.AsyncClient, db: Database, user: uuid.UUID, run: uuid.UUID) -> None:
    """The run's ZIP is there."""
    asked = await me.get(f"/ml/download-all-models/{run}", headers={"Prefer": "wait=0"})
    assert asked.status_code == 202, asked.text
    store = api.context.store
    stored = await store.put_bytes(
        store.bundles, bundle_key(user, run, 1), b"PK...", content_type="application/zip"
    )
    async with db.transaction() as c:
        await bundles.ready(c, run, 1, stored.size_bytes, stored.sha256, 6 * 3600)


async def some_objects(env: Mapping[str, str], db: Database) -> Objects:
    user = uuid.uuid4()
    ids: dict[str, list[str]] = {"files": [], "tasks": [], "models": []}
    async with api_client.running(env) as api:
        me = api.user(user)
        for i in range(MANY):
            ids["files"].append((await api_client.upload(me))["file_id"])
            async with db.transaction() as c:
                profile = api_runs.builtins(PROFILE)
                # of a table that was read before previews were kept there is none
                shown = PREVIEW if i % 2 else None
                await files.profile_ready(c, uuid.UUID(ids["files"][-1]), profile, 150, 3, shown)
            run = await api_runs.completed(api, me, db, user)
            ids["tasks"].append(str(run))
            model = await save(me, run, model_name=f"Model {i}")
            await make_ready(api, db, model, f"{user}/Model_{i}.pkl", b"pickle")
            ids["models"].append(model["id"])
            await packed(api, me, db, user, run)
    return Objects(str(user), api_client.token(user, exp=int(time.time()) + 6 * 3600), ids)
