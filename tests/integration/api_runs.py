"""Runs in any state, made as the workers make them, but without fitting anything."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import httpx
import msgspec

from shared.contracts.catalogue import MODELS
from shared.contracts.problems import Notice
from shared.contracts.states import Stage, TaskStatus, TaskType
from shared.contracts.training import Plan
from shared.db import candidates, tasks
from shared.db.pool import Database
from shared.storage import model_key, plot_key, report_key
from tests.integration.api_client import Api, upload
from tests.integration.signatures import signed

PLAN = Plan(
    task_type=TaskType.CLASSIFICATION,
    target="species",
    metric="accuracy",
    roles={"a": "numeric", "b": "numeric"},
    models=["logistic_regression", "random_forest", "mlp"],
    rows=150,
    test_size=0.2,
    cv_folds=5,
    seed=0,
    refit=True,
    split_digest="0" * 64,
    deadline_s=300,
    labels=["x", "y"],
)
SCORES = {"logistic_regression": 0.8, "random_forest": 0.9}
"""Of those that are done; mlp fails."""
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
LEADERBOARD = b"rank,model_name\r\n1,random_forest\r\n"


def pickle_of(slug: str) -> bytes:
    """Stands for a pickle: the API never opens one."""
    return f"pickle of {slug} ".encode() * 100


def outcome(slug: str) -> dict[str, Any]:
    drawn = {"svg": "", "size_bytes": len(SVG), "sha256": sha256(SVG.encode())}
    return {
        "cv_mean": SCORES[slug],
        "plots": [{"model_name": slug, "kind": "confusion_matrix", "data": {"matrix": [[1]]}, **drawn}],
        "importance": [{"feature": "a", "mean": 0.3, "std": 0.01}],
        "forecast": [],
        "uncertainty": {
            "level": 0.95,
            "rows": 120,
            "low": round(SCORES[slug] - 0.05, 2),
            "high": round(SCORES[slug] + 0.05, 2),
            "held_out_low": None,
            "held_out_high": None,
            "digest": slug,
            "deviations": [-0.06, 0.0, 0.06],
        },
    }


async def queued(api: Api, me: httpx.AsyncClient) -> dict[str, Any]:
    file = await upload(me)
    answer = await me.post("/ml/train", json={"file_id": file["file_id"], "target": "species"})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def planned(db: Database, user: uuid.UUID, task_id: uuid.UUID, plan: Plan = PLAN) -> None:
    async with db.transaction() as c:
        assert await tasks.begin(c, task_id, Stage.PROFILING, "Planning")
        models = [MODELS[plan.task_type][slug] for slug in plan.models]
        await candidates.insert_all(c, task_id, user, models)
        await tasks.planned(c, task_id, plan, [])


async def fitted(api: Api, db: Database, user: uuid.UUID, task_id: uuid.UUID) -> None:
    """Every model of SCORES done with its artifacts in the store, the others failed."""
    store = api.context.store
    async with db.transaction() as c:
        rows = await candidates.of_task(c, task_id, user)
    for row in rows:
        slug = row["model_name"]
        async with db.transaction() as c:
            assert await candidates.begin(c, row["id"], user, 1)
            if slug not in SCORES:
                await candidates.ended(c, row["id"], 1, "failed", "out of memory")
                continue
            content = pickle_of(slug)
            stored = await store.put_bytes(
                store.artifacts,
                model_key(user, task_id, slug, 1),
                content,
                content_type="application/octet-stream",
                filename=f"{slug}_{task_id}.pkl",
            )
            await store.put_bytes(
                store.artifacts,
                plot_key(user, task_id, slug, 1, "confusion_matrix"),
                SVG.encode(),
                content_type="image/svg+xml",
                filename="plot.svg",
            )
            assert await candidates.done(
                c,
                row["id"],
                1,
                cv_mean=SCORES[slug],
                cv_std=0.01,
                metrics={"accuracy": 1 - SCORES[slug], "log_loss": 0.5},
                fit_seconds=1.5,
                predict_ms_per_row=0.1,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                signature=signed(user, task_id, slug, stored.sha256),
                outcome=outcome(slug),
            )


async def finished(
    api: Api, db: Database, user: uuid.UUID, task_id: uuid.UUID, status: TaskStatus = TaskStatus.COMPLETED
) -> None:
    store = api.context.store
    stored = await store.put_bytes(
        store.artifacts, report_key(user, task_id, 3, "leaderboard.csv"), LEADERBOARD, content_type="text/csv"
    )
    report = {"leaderboard.csv": {"size_bytes": stored.size_bytes, "sha256": stored.sha256}}
    warning = Notice(code="duplicates", message="3 rows are there twice", action="kept on one side")
    async with db.transaction() as c:
        await tasks.finished(
            c,
            task_id,
            status=status,
            message="Done",
            warnings=[warning],
            report=report,
            report_attempt=3,
        )


async def completed(api: Api, me: httpx.AsyncClient, db: Database, user: uuid.UUID) -> uuid.UUID:
    """A run whose best model is the random forest, although it is not on the held-out rows."""
    task_id = uuid.UUID((await queued(api, me))["task_id"])
    await planned(db, user, task_id)
    await fitted(api, db, user, task_id)
    await finished(api, db, user, task_id)
    return task_id


async def execute(db: Database, statement: str, *values: Any) -> None:
    async with db.transaction() as c:
        await c.execute(statement, *values)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def builtins(value: Any) -> Any:
    return msgspec.to_builtins(value)
