"""Conversions to .skops by a trainer with real children, a real store and a real database."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import pickle
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import joblib
import msgspec
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from services.trainer.cache import TableCache
from services.trainer.child import ChildFailed, Children
from services.trainer.converting import ConvertJobs
from services.trainer.outcome import Example, FitOutcome
from services.trainer.scratch import Scratch
from services.trainer.steps import STEPS
from services.trainer.workbench import Stopped, Workbench
from shared.contracts.states import ConversionFormat, JobKind, TaskStatus
from shared.db import candidates, conversions, jobs, tasks
from shared.db.jobs import Job
from shared.db.pool import Database
from shared.errors import ArtifactRefused, LeaseLost, NotConvertible, StorageCorrupt, TrainyardError
from shared.metrics import ARTIFACTS_REFUSED
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, load
from shared.signing import Artifact, KeyRing, Signature
from shared.storage import model_key, skops_key
from tests.integration.signatures import KEYS, signed
from tests.integration.test_db import add_file, add_task, plan_task

SLUG = "logistic_regression"
ROWS = [{"a": str(number), "b": float(number % 3)} for number in range(12)]


def pickled(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def real_model() -> Any:
    numbers = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "float64"})
    labels = ["x" if row["b"] > 1 else "y" for row in ROWS]
    return make_pipeline(numbers, LogisticRegression()).fit(pd.DataFrame(ROWS), labels)


MODEL = real_model()
CONTENT = pickled(MODEL)
OUTCOME = FitOutcome(
    cv_mean=0.9,
    cv_std=0.0,
    metrics={"accuracy": 0.9},
    fit_seconds=0.1,
    predict_ms_per_row=0.1,
    packages=["scikit-learn==1.9.1", "pandas==2.3.3"],
    example=Example(rows=ROWS, predictions=MODEL.predict(pd.DataFrame(ROWS)).tolist()),
)


class Trap:
    """Opening its pickle leaves a file beside the one who opens it, and gives the file for a model."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("sprung", "w")


TRAP = pickle.dumps(Trap())


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


class Watched(Workbench):
    """Counts the steps that are run, each in a child of its own."""

    begun = 0

    async def step(self, *args: Any, **kwargs: Any) -> bytes:
        self.begun += 1
        return await super().step(*args, **kwargs)


@pytest.fixture
async def bench(resources: Resources, tmp_path: Path) -> AsyncIterator[Watched]:
    with Scratch(tmp_path / "cache") as scratch:
        async with Children({"convert": STEPS["convert"]}, preload=()) as children:
            cache = TableCache(tmp_path / "cache", 2**30, resources.store, scratch)
            await children.ready()
            yield Watched(resources, children, cache, scratch, slots=1, threads=1, memory=2**31, keys=KEYS)


@pytest.fixture
def trainer(bench: Watched) -> ConvertJobs:
    return ConvertJobs(bench)


class Run:
    """A run with one model that is done, with this content in the store."""

    def __init__(self, resources: Resources, api_db: Database, user: uuid.UUID) -> None:
        self.store, self.db, self.api_db, self.user = resources.store, resources.db, api_db, user

    async def made(self, content: bytes = CONTENT, status: TaskStatus = TaskStatus.COMPLETED) -> Run:
        self.task_id = await add_task(self.api_db, self.user, await add_file(self.api_db, self.user))
        self.candidate, *others = await plan_task(self.db, self.user, self.task_id)
        sha256 = await self.put(content)
        async with self.db.transaction() as c:
            await candidates.begin(c, self.candidate, self.user, 1)
            assert await candidates.done(
                c,
                self.candidate,
                1,
                cv_mean=0.9,
                cv_std=0.0,
                metrics={"accuracy": 0.9},
                fit_seconds=0.1,
                predict_ms_per_row=0.1,
                size_bytes=len(content),
                sha256=sha256,
                signature=signed(self.user, self.task_id, SLUG, sha256),
                outcome=msgspec.to_builtins(OUTCOME),
            )
            for other in others:
                await candidates.ended(c, other, 0, "skipped", "cancelled")
            await tasks.finished(
                c, self.task_id, status=status, message="", warnings=[], report={}, report_attempt=1
            )
            await c.execute("DELETE FROM trainyard.jobs")
        return self

    async def put(self, content: bytes) -> str:
        key = model_key(self.user, self.task_id, SLUG, 1)
        await self.store.put_bytes(
            self.store.artifacts, key, content, content_type="application/octet-stream"
        )
        return hashlib.sha256(content).hexdigest()

    async def alter(self, **columns: object) -> None:
        """As somebody with the workers' login."""
        async with self.db.transaction() as c:
            for name, value in columns.items():
                await c.execute(
                    f"UPDATE trainyard.candidates SET {name} = $2 WHERE id = $1", self.candidate, value
                )

    async def asked(self) -> Job:
        async with self.api_db.transaction(self.user) as c:
            row = await conversions.ask(c, self.task_id, SLUG, self.user, ConversionFormat.SKOPS)
            await jobs.insert(c, JobKind.CONVERT, self.candidate, self.user, attempt=row["attempt"])
        return await self.claimed()

    async def claimed(self) -> Job:
        async with self.db.transaction() as c:
            job = await jobs.claim(c, [JobKind.CONVERT], "test", 60)
        assert job is not None
        return job

    async def row(self) -> Any:
        async with self.api_db.transaction(self.user) as c:
            return await conversions.get(c, self.task_id, SLUG, self.user, ConversionFormat.SKOPS)

    async def jobs_left(self) -> int:
        async with self.db.transaction() as c:
            return int(await c.fetchval("SELECT count(*) FROM trainyard.jobs WHERE kind = 'convert'"))

    async def objects(self) -> list[str]:
        listed = self.store.list(self.store.artifacts, f"{self.user}/")
        return [item.key async for item in listed if item.key.endswith(".skops")]


@pytest.fixture
def run(resources: Resources, api_db: Database, user_id: uuid.UUID) -> Run:
    return Run(resources, api_db, user_id)


async def test_a_model_is_converted_and_opens_with_the_types_it_names(
    run: Run, trainer: ConvertJobs, tmp_path: Path
) -> None:
    await run.made()
    job = await run.asked()
    await trainer.convert(job)
    row = await run.row()
    assert (row["status"], row["attempt"], await run.jobs_left()) == ("ready", job.attempt, 0)
    key = skops_key(run.user, run.task_id, SLUG, 1, job.attempt)
    assert await run.objects() == [key]
    path = tmp_path / "model.skops"
    await run.store.get_file(run.store.artifacts, key, path, sha256=row["sha256"])
    assert path.stat().st_size == row["size_bytes"]
    model = skops.io.load(path, trusted=row["types"])
    assert model.predict(pd.DataFrame(ROWS)).tolist() == OUTCOME.example.predictions
    assert row["types"] == ["pandas.core.generic.NDFrame", "pandas.core.generic.NDFrame.astype"]
    assert row["requires"] == [*OUTCOME.packages, f"skops=={skops.__version__}"]


async def test_what_a_cancelled_run_has_done_can_be_converted(run: Run, trainer: ConvertJobs) -> None:
    await run.made(status=TaskStatus.CANCELLED)
    await run.alter(attempt=1)
    async with run.db.transaction() as c:
        await c.execute("UPDATE trainyard.tasks SET cancel_requested = true")
    await trainer.convert(await run.asked())
    assert (await run.row())["status"] == "ready"


async def refused(run: Run, trainer: ConvertJobs, kind: type[TrainyardError]) -> Any:
    """Try to convert and fail without any child: the row."""
    job = await run.asked()
    with pytest.raises(kind) as raised:
        await trainer.convert(job)
    assert trainer.bench.begun == 0  # type: ignore[attr-defined]
    await trainer.given_up(job, raised.value)
    assert await run.objects() == []
    assert await run.jobs_left() == 0
    row = await run.row()
    assert row["status"] == "failed"
    return row


async def test_the_trap_is_one(run: Run, trainer: ConvertJobs) -> None:
    """With a trainer's signature it is opened, and what it does is done: in the child."""
    await run.made(TRAP)
    with pytest.raises(ChildFailed, match="TextIOWrapper"):
        await trainer.convert(await run.asked())
    assert not Path("sprung").exists()


async def test_a_pickle_put_in_its_place_is_never_opened(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    await run.put(TRAP.ljust(len(CONTENT), b"\0"))  # what follows the end of a pickle is not looked at
    await refused(run, trainer, StorageCorrupt)


async def test_nor_where_the_digest_was_replaced_with_it(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    await run.alter(sha256=await run.put(TRAP), size_bytes=len(TRAP))
    before = ARTIFACTS_REFUSED.labels(JobKind.CONVERT)._value.get()
    row = await refused(run, trainer, ArtifactRefused)
    assert "signature does not fit" in row["error"]
    assert row["final"] is True
    assert ARTIFACTS_REFUSED.labels(JobKind.CONVERT)._value.get() == before + 1


async def test_nor_with_a_signature_of_somebody_elses_key(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    theirs = KeyRing.parse(f"test:{base64.b64encode(os.urandom(32)).decode()}")
    sha256 = await run.put(TRAP)
    artifact = Artifact(sha256=sha256, user_id=run.user, task_id=run.task_id, slug=SLUG, attempt=1)
    await run.alter(sha256=sha256, hmac=theirs.sign(artifact).mac)
    assert "signature does not fit" in (await refused(run, trainer, ArtifactRefused))["error"]


@pytest.mark.parametrize("of", ["user", "run", "model", "attempt"])
async def test_nor_with_the_signature_of_another(run: Run, trainer: ConvertJobs, of: str) -> None:
    """A user's own model, rightly signed, is not to be opened as another's."""
    await run.made()
    sha256 = await run.put(TRAP)
    other: Signature = {
        "user": signed(uuid.uuid4(), run.task_id, SLUG, sha256),
        "run": signed(run.user, uuid.uuid4(), SLUG, sha256),
        "model": signed(run.user, run.task_id, "random_forest", sha256),
        "attempt": signed(run.user, run.task_id, SLUG, sha256, attempt=2),
    }[of]
    await run.alter(sha256=sha256, hmac=other.mac)
    await refused(run, trainer, ArtifactRefused)


async def test_a_model_from_before_signatures_is_not_opened(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    async with run.db.transaction() as c:
        await c.execute("UPDATE trainyard.candidates SET hmac = NULL, hmac_key_id = NULL")
    row = await refused(run, trainer, ArtifactRefused)
    assert "before models were signed" in row["error"]


async def test_with_a_key_that_is_missing_now_it_may_be_opened_later(
    run: Run, trainer: ConvertJobs, bench: Watched
) -> None:
    await run.made()
    bench.keys = KeyRing.parse(f"new:{base64.b64encode(os.urandom(32)).decode()}")
    row = await refused(run, trainer, ArtifactRefused)
    assert row["final"] is False
    bench.keys = KEYS
    job = await run.asked()
    assert job.attempt > row["attempt"]
    await trainer.convert(job)
    assert (await run.row())["status"] == "ready"


async def test_what_is_not_scikit_learns_fails_for_good(run: Run, trainer: ConvertJobs) -> None:
    await run.made(pickled(make_pipeline(FunctionTransformer(os.system), LogisticRegression())))
    async with run.db.transaction() as c:
        empty = msgspec.structs.replace(OUTCOME, example=Example(rows=[], predictions=[]))
        await c.execute("UPDATE trainyard.candidates SET outcome = $1", msgspec.to_builtins(empty))
    job = await run.asked()
    with pytest.raises(NotConvertible, match=r"posix\.system") as raised:
        await trainer.convert(job)
    await trainer.given_up(job, raised.value)
    row = await run.row()
    assert (row["status"], row["final"]) == ("failed", True)


async def test_an_attempt_that_was_overtaken_records_nothing(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    stale = await run.asked()
    async with run.db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET lease_until = now() - interval '1 second'")
    fresh = await run.claimed()
    await trainer.convert(fresh)
    ready = await run.row()
    with pytest.raises(LeaseLost):
        await trainer.convert(stale)
    assert await run.row() == ready
    assert skops_key(run.user, run.task_id, SLUG, 1, fresh.attempt) in await run.objects()


async def test_what_an_attempt_left_goes_when_the_next_is_done(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    dead = await run.asked()
    left = skops_key(run.user, run.task_id, SLUG, 1, dead.attempt)
    await run.store.put_bytes(run.store.artifacts, left, b"half", content_type="application/octet-stream")
    async with run.db.transaction() as c:
        await jobs.retry(c, dead, delay_s=0, error="died")
    again = await run.claimed()
    await trainer.convert(again)
    assert await run.objects() == [skops_key(run.user, run.task_id, SLUG, 1, again.attempt)]
    head = await run.store.head(run.store.artifacts, model_key(run.user, run.task_id, SLUG, 1))
    assert head is not None


async def test_it_stops_when_its_run_is_deleted(run: Run, trainer: ConvertJobs, bench: Watched) -> None:
    await run.made()
    job = await run.asked()
    inside = asyncio.Event()

    async def endless(*_: Any, cancelled: asyncio.Event, **__: Any) -> bytes:
        inside.set()
        await cancelled.wait()
        raise Stopped

    bench.step = endless  # type: ignore[method-assign]
    converting = asyncio.create_task(trainer.convert(job))
    await inside.wait()
    async with run.api_db.transaction(run.user) as c:
        await c.execute("UPDATE trainyard.tasks SET deleted_at = now() WHERE id = $1", run.task_id)
    async with run.db.transaction() as c:
        assert await jobs.stop_task(c, run.task_id) == 1  # its purge waits for it
    with pytest.raises(Stopped) as raised:
        await converting
    await trainer.given_up(job, raised.value)
    assert await run.jobs_left() == 0
    async with run.db.transaction() as c:
        assert await jobs.stop_task(c, run.task_id) == 0


async def test_it_ends_where_its_run_is_gone(run: Run, trainer: ConvertJobs) -> None:
    await run.made()
    job = await run.asked()
    async with run.db.transaction() as c:
        await c.execute("UPDATE trainyard.tasks SET deleted_at = now()")
        await tasks.delete_row(c, run.task_id, run.user)
    await trainer.convert(job)
    assert await run.jobs_left() == 0


async def test_one_at_a_time(run: Run, trainer: ConvertJobs, bench: Watched) -> None:
    """The second is given back for another trainer, and costs it no try."""
    await run.made()
    job = await run.asked()
    async with trainer.alone:
        await trainer.convert(job)
    assert bench.begun == 0
    async with run.db.transaction() as c:
        freed = await c.fetchrow(
            "SELECT tries, lease_until, run_after > now() AS later FROM trainyard.jobs WHERE kind = 'convert'"
        )
        assert tuple(freed) == (0, None, True)
        await c.execute("UPDATE trainyard.jobs SET run_after = now()")
    await trainer.convert(await run.claimed())
    assert (await run.row())["status"] == "ready"
