"""Fits on a real cluster: a scheduler and two workers on loopback, the trainer's own handlers, its sandbox,
a real Postgres, Valkey and store."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import joblib
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
from distributed import Client

from deploy import ports
from services.trainer import cluster as clusters
from services.trainer.cache import TableCache
from services.trainer.child import PRELOAD, Children
from services.trainer.child_memory import LEAST_BYTES
from services.trainer.jobs import TrainerJobs
from services.trainer.scratch import Scratch
from services.trainer.steps import STEPS
from services.trainer.workbench import Workbench
from shared import needs
from shared.contracts.states import TERMINAL, JobKind, TaskStatus, uuid7
from shared.contracts.training import Task, TrainRequest
from shared.db import candidates, files, jobs, tasks
from shared.db.pool import Database, open_database
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, Worker, load
from shared.storage import dataset_key, model_key, task_prefix
from shared.worker import Slots
from tests import dask_cluster
from tests.dask_cluster import Cluster
from tests.databases import execute, new_user, with_database
from tests.integration.signatures import KEYS

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = 9_000
BUDGET_S = 900
"""Never what ends a run here."""

PATIENCE_S = 120
"""How long something that has to come is waited for, on a machine that does much else."""


def table(rows: int = ROWS, numbers: int = 6) -> pd.DataFrame:
    """One of which about 5,000 rows fit into the least guard there is: categories are wide as a matrix."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, numbers)), columns=[f"size_{i}" for i in range(numbers)])
    for i in range(10):
        frame[f"kind_{i}"] = np.char.add("k", rng.integers(0, 40, rows).astype(str))
    told = frame["size_0"] + np.sin(3 * frame["size_1"]) + frame["size_2"] * frame["size_3"]
    told += rng.normal(scale=0.3, size=rows)
    frame["size"] = np.where(told > 0, "large", "small")
    return frame


def in_memory() -> pd.DataFrame:
    """One that fits, and is worth a cluster."""
    return table(1_200, numbers=40)


class Trainer:
    """A trainer with a cluster, and a user whose runs it works on; a slot at a time."""

    def __init__(
        self, resources: Resources, api_db: Database, children: Children, folder: Path, at: Cluster
    ) -> None:
        self.resources, self.api_db, self.at = resources, api_db, at
        self.scratch = Scratch(folder).__enter__()
        where = clusters.Cluster(host=dask_cluster.HOST, port=at.port)
        self.bench = Workbench(
            resources,
            children,
            TableCache(folder, 2**30, resources.store, self.scratch),
            self.scratch,
            slots=1,
            threads=1,
            memory=LEAST_BYTES + clusters.CLIENT_BYTES,
            keys=KEYS,
            cluster=where,
        )
        self.jobs = TrainerJobs(self.bench)
        self.slots = Slots(
            cast(Resources, SimpleNamespace(db=self.bench.db, redis=self.bench.redis)),
            Worker(lease_s=120),
            self.jobs.handlers(),
            lanes=1,
            heavy_slots=1,
        )
        self.user = uuid.UUID(int=0)
        self.task_id = uuid.UUID(int=0)

    async def asked(self, frame: pd.DataFrame, *models: str, **request: Any) -> None:
        """A run of these models on the table."""
        self.user = await new_user(self.api_db)
        file_id, content = uuid7(), frame.to_csv(index=False).encode()
        store = self.resources.store
        await store.put_bytes(
            store.datasets, dataset_key(self.user, file_id), content, content_type="text/csv"
        )
        self.task_id = uuid7()
        wanted = TrainRequest(
            file_id=file_id, target="size", models=list(models), time_budget_s=BUDGET_S, cv_folds=2, **request
        )
        async with self.api_db.transaction(self.user) as c:
            digest = hashlib.sha256(content).hexdigest()
            size = len(content)
            await files.insert(
                c, file_id=file_id, user_id=self.user, name="t.csv", size_bytes=size, sha256=digest
            )
            await jobs.insert(c, JobKind.PROFILE, file_id, self.user)
            assert await tasks.insert(
                c, task_id=self.task_id, user_id=self.user, request=wanted, name="large"
            )
            await jobs.insert(c, JobKind.PLAN, self.task_id, self.user)

    async def work(self) -> Task:
        """Until the run has ended."""
        while (task := await self.shown()).status not in TERMINAL:
            async with self.bench.db.transaction() as c:
                knows = [*needs.known(), needs.CLUSTER]
                job = await jobs.claim(c, list(self.jobs.handlers()), "test", 120, knows=knows)
                if job is None:  # what is tried again is not waited for
                    await c.execute("UPDATE trainyard.jobs SET run_after = now()")
            if job is not None:
                await self.slots.run(job)
        return task

    async def shown(self) -> Task:
        async with self.api_db.connection() as c:
            task = await tasks.get(c, self.user, self.task_id)
        assert task is not None
        return task

    async def outcome(self, model_name: str) -> Any:
        async with self.bench.db.connection() as c:
            rows = await candidates.of_task(c, self.task_id, self.user)
        return next(row for row in rows if row["model_name"] == model_name)

    async def model(self, model_name: str, attempt: int) -> Any:
        """As its user opens it at home."""
        store = self.resources.store
        key = model_key(self.user, self.task_id, model_name, attempt)
        content = b"".join([chunk async for chunk in store.stream(store.artifacts, key)])
        return joblib.load(io.BytesIO(content))

    async def rows_in_store(self) -> list[str]:
        store = self.resources.store
        prefix = f"{task_prefix(self.user, self.task_id)}rows/"
        return [item.key async for item in store.list(store.artifacts, prefix)]

    async def steps_taken(self) -> int:
        """Of all tasks of the cluster."""
        async with Client(self.at.address, asynchronous=True, set_as_default=False) as client:
            return int(await client.run_on_scheduler(dask_cluster.steps_taken))

    async def until_computing(self, what: str) -> None:
        """Until a worker computes a task of this name."""
        async with Client(self.at.address, asynchronous=True, set_as_default=False) as client:
            async with asyncio.timeout(PATIENCE_S):
                while not any(what in key for key in await client.run_on_scheduler(dask_cluster.processing)):
                    await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with dask_cluster.running(tmp_path_factory.mktemp("cluster"), workers=2) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trainer(
    at: Cluster, servers: Mapping[str, str], template: str, buckets: None, tmp_path_factory: Any
) -> AsyncIterator[Trainer]:
    preload = [*PRELOAD, "services.trainer.cluster_preload", "tests.integration.cluster_quick"]
    name = f"cluster_{uuid.uuid4().hex[:8]}"
    await execute(servers["DATABASE_URL"], f"CREATE DATABASE {name} TEMPLATE {template}")
    env = with_database(servers, name)
    postgres = load(Postgres, env)
    async with (
        Children(STEPS, preload=preload) as children,
        open_resources(
            env["WORKER_DATABASE_URL"],
            postgres=postgres,
            redis=load(Redis, env),
            s3=load(S3, env),
            application="test-worker",
        ) as resources,
        open_database(env["API_DATABASE_URL"], postgres, application="test-api") as api_db,
    ):
        await children.ready()
        await asyncio.to_thread(at.wait)
        yield Trainer(resources, api_db, children, tmp_path_factory.mktemp("cache"), at)
    await execute(servers["DATABASE_URL"], f"DROP DATABASE {name} WITH (FORCE)")


async def test_other_software_is_refused_in_words(trainer: Trainer) -> None:
    async with Client(trainer.at.address, asynchronous=True, set_as_default=False) as client:
        await client.run(dask_cluster.pretend, "0.1")
        try:
            await trainer.asked(in_memory(), "naive_bayes", refit=False)
            task = await trainer.work()
        finally:
            await client.run(dask_cluster.pretend, None)
    assert task.status is TaskStatus.FAILED
    assert "has pandas 0.1, and this trainer" in str(task.candidates[0].reason)
    assert "after 3 tries" in str(task.candidates[0].reason)


async def test_a_scheduler_that_is_away_is_waited_for(trainer: Trainer) -> None:
    where = trainer.bench.cluster
    await trainer.asked(in_memory(), "naive_bayes", refit=False)
    trainer.bench.cluster = clusters.Cluster(host=dask_cluster.HOST, port=ports.free(1)[0])
    working = asyncio.create_task(trainer.work())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while "not reached" not in str(await _last_error(trainer)):
                await asyncio.sleep(0.05)
    finally:
        trainer.bench.cluster = where
    task = await working
    assert task.status is TaskStatus.COMPLETED


async def _last_error(trainer: Trainer) -> str | None:
    async with trainer.bench.db.connection() as c:
        error: str | None = await c.fetchval("SELECT last_error FROM trainyard.jobs WHERE kind = 'fit'")
    return error


async def test_folds_and_trees_are_computed_there_and_give_what_they_give_here(trainer: Trainer) -> None:
    small = in_memory()
    found, taken = [], []
    for way in ("there", "there, and a worker is killed", "here"):
        cluster, before = trainer.bench.cluster, await trainer.steps_taken()
        trainer.bench.cluster = None if way == "here" else cluster
        try:
            await trainer.asked(small, "random_forest", refit=False)
            working = asyncio.create_task(trainer.work())
            if "killed" in way:
                await trainer.until_computing("_build_trees")
                trainer.at.kill_worker(1)
            task = await working
        finally:
            trainer.bench.cluster = cluster
        assert task.status is TaskStatus.COMPLETED, task.message
        row = await trainer.outcome("random_forest")
        model = await trainer.model("random_forest", row["attempt"])
        found.append((row["cv_mean"], row["metrics"], model.predict_proba(small.head(50)).tolist()))
        taken.append(await trainer.steps_taken() - before)
    assert found[0] == found[1] == found[2]
    assert taken[0] > 100 and taken[2] == 0


async def test_a_worker_is_killed_while_all_rows_are_learned_from(trainer: Trainer) -> None:
    frame = table()
    await trainer.asked(frame, "xgboost")
    working = asyncio.create_task(trainer.work())
    await trainer.until_computing("fn-")  # what XGBoost calls its training
    trainer.at.kill_worker(0)
    task = await working
    assert (task.status, task.message) == (TaskStatus.COMPLETED, "All 1 models trained")
    told = {notice.code: notice for notice in task.warnings}
    assert "table-sampled" in told
    assert told["trained-on-cluster"].evidence == f"{ROWS:,} rows"

    row = await trainer.outcome("xgboost")
    assert row["attempt"] > 1, "the worker was killed after the fit had ended"
    details = row["outcome"]["details"]
    drawn = details["rows_train"] + details["rows_held_out"]
    assert drawn < 0.8 * ROWS
    assert details["rows_fitted"] == ROWS  # the refit learns from all there are
    assert row["cv_mean"] > 0.7 and row["metrics"]["accuracy"] > 0.7
    assert await trainer.rows_in_store() == []

    model = await trainer.model("xgboost", row["attempt"])
    features = frame.drop(columns="size")
    answers = model.predict(features.head(500))
    assert set(answers) == {"small", "large"}
    assert np.mean(answers == frame["size"].head(500)) > 0.7
    assert model.predict_proba(features.head(3)).sum(axis=1) == pytest.approx(1, abs=1e-5)
    example = row["outcome"]["example"]
    assert model.predict(pd.DataFrame(example["rows"])).tolist() == example["predictions"]


async def test_a_run_is_cancelled_while_all_rows_are_learned_from(trainer: Trainer) -> None:
    await trainer.asked(table(), "lightgbm", refit=False)
    working = asyncio.create_task(trainer.work())
    await trainer.until_computing("_train_part")
    async with trainer.api_db.transaction(trainer.user) as c:
        assert await tasks.request_cancel(c, trainer.user, trainer.task_id)
    task = await working
    assert task.status is TaskStatus.CANCELLED
    assert [c.status for c in task.candidates] == ["skipped"]
    assert await trainer.rows_in_store() == []
    async with Client(trainer.at.address, asynchronous=True, set_as_default=False) as client:
        async with asyncio.timeout(PATIENCE_S):
            while await client.run_on_scheduler(dask_cluster.processing):
                await asyncio.sleep(0.02)


async def test_what_was_given_up_and_goes_on_ends_its_worker(trainer: Trainer) -> None:
    async with Client(trainer.at.address, asynchronous=True, set_as_default=False) as client:
        endless = client.submit(dask_cluster.never_ends, pure=False)
        async with asyncio.timeout(PATIENCE_S):
            while not await client.run_on_scheduler(dask_cluster.processing):
                await asyncio.sleep(0.02)
        before = await client.run(os.getpid)
        await endless.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while len(now := await client.run(os.getpid, on_error="ignore")) < 2 or now == before:
                await asyncio.sleep(0.1)
        assert len(set(now.values()) - set(before.values())) == 1
