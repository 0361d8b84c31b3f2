"""Ensembles among a task's candidates: when they are asked for, skipped, taken over and resumed.

Real Postgres, Valkey and store, the trainer's own handlers; only what runs in child processes is the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from services.trainer import fitting
from services.trainer.child import ChildFailed
from services.trainer.jobs import TrainerJobs
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, Choice, Example, FitOutcome
from services.trainer.sweep import Sweep
from services.trainer.workbench import Workbench
from shared.contracts.catalogue import ENSEMBLES, METRICS, MODELS
from shared.contracts.states import JobKind, Stage, TaskStatus, TaskType
from shared.contracts.training import Plan, Task
from shared.db import candidates, jobs, tasks
from shared.db.jobs import Job
from shared.db.pool import Database
from shared.errors import LeaseLost
from shared.resources import Resources
from shared.settings import Worker
from shared.worker import Slots
from tests.integration.signatures import KEYS
from tests.integration.test_db import add_file, add_task

FITS = ["logistic_regression", "random_forest"]
PLAN = Plan(
    task_type=TaskType.CLASSIFICATION,
    target="species",
    metric="accuracy",
    roles={"a": "numeric"},
    models=[*FITS, *ENSEMBLES],
    rows=150,
    test_size=0.2,
    cv_folds=5,
    seed=0,
    refit=True,
    split_digest="0" * 64,
    deadline_s=300,
    labels=["x", "y"],
)
TRAINERS_KINDS = [JobKind.FIT, JobKind.FINISH]


class Bench(Workbench):
    """Its steps do what `script` says under a model's name: fail, or leave what a step leaves. `ran`: what
    they were, and `seen`: which files each found of the members."""

    script: dict[str, Any]
    ran: list[tuple[str, str]]
    seen: dict[str, set[str]]

    async def step(self, step: str, payload: dict[str, Any], scratch: Path, **options: Any) -> bytes:
        slug = payload["model_name"]
        self.ran.append((step, slug))
        what = self.script.get(slug)
        if isinstance(what, Exception):
            raise what
        if isinstance(what, asyncio.Event) and step == "combine":
            await what.wait()
        if step == "choose":
            return msgspec.json.encode(self.script.get(f"choice of {slug}", choice()))
        if step == "combine":
            self.seen[slug] = {path.name for path in scratch.iterdir()}
        else:
            (scratch / PREDICTIONS_FILE).write_bytes(f"what {slug} predicts".encode())
        (scratch / MODEL_FILE).write_bytes(f"pickle of {slug}".encode())
        return msgspec.json.encode(outcome(0.8 if step == "fit" else 0.9))

    @contextlib.asynccontextmanager
    async def table(self, file: Any, stop: asyncio.Event) -> AsyncIterator[Path]:
        yield Path("/nowhere/table.arrow")

    @contextlib.asynccontextmanager
    async def scratch_folder(self) -> AsyncIterator[Path]:
        folder = self.cache.folder / uuid.uuid4().hex
        folder.mkdir()
        yield folder


def choice(**weights: float) -> Choice:
    return Choice(weights=weights or dict.fromkeys(FITS, 0.5))


def outcome(score: float) -> FitOutcome:
    return FitOutcome(
        cv_mean=score,
        cv_std=0.1,
        metrics=dict.fromkeys(METRICS[TaskType.CLASSIFICATION], score),
        fit_seconds=0.1,
        predict_ms_per_row=0.1,
        packages=["scikit-learn==1.9.0"],
        example=Example(rows=[{"a": 1}], predictions=["x"]),
    )


class Run:
    """A planned task of one user, and a trainer that does its work."""

    def __init__(self, bench: Bench, api_db: Database, user: uuid.UUID) -> None:
        self.bench, self.api_db, self.user = bench, api_db, user
        self.task_id = uuid.UUID(int=0)
        self.jobs = TrainerJobs(bench)
        resources = cast(Resources, SimpleNamespace(db=bench.db, redis=bench.redis))
        self.slots = Slots(resources, Worker(), self.jobs.handlers(), lanes=1, heavy_slots=1)

    async def plan(self) -> None:
        self.task_id = await add_task(self.api_db, self.user, await add_file(self.api_db, self.user))
        async with self.bench.db.transaction() as c:
            job = await jobs.claim(c, [JobKind.PLAN], "test", 60)
            assert job is not None and await tasks.begin(c, self.task_id, Stage.PROFILING, "reading")
            await tasks.planned(c, self.task_id, PLAN, [])
            choices = [MODELS[PLAN.task_type][slug] for slug in PLAN.models]
            await candidates.insert_all(c, self.task_id, self.user, choices)
            await self.jobs._fits(c, job, PLAN, await candidates.waiting(c, self.task_id))
            await jobs.done(c, job)

    async def work(self, most: int = 100, kinds: list[JobKind] = TRAINERS_KINDS) -> int:
        """Do up to so many jobs, as a slot does them. How many there were."""
        for done in range(most):
            job = await self.claim(kinds)
            if job is None:
                return done
            await self.slots.run(job)
        return most

    async def claim(self, kinds: list[JobKind] = TRAINERS_KINDS) -> Job | None:
        async with self.bench.db.transaction() as c:
            return await jobs.claim(c, kinds, self.slots.owner, 60)

    async def shown(self) -> Task:
        async with self.api_db.connection() as c:
            task = await tasks.get(c, self.user, self.task_id)
        assert task is not None
        return task

    async def waiting(self) -> list[str]:
        """Of what there are jobs: models, or kinds."""
        async with self.bench.db.connection() as c:
            rows = await c.fetch(
                "SELECT coalesce(c.model_name, j.kind) AS what FROM trainyard.jobs j"
                " LEFT JOIN trainyard.candidates c ON c.id = j.subject_id WHERE j.kind <> 'profile'"
            )
        return sorted(row["what"] for row in rows)

    async def statuses(self) -> dict[str, str]:
        return {c.model_name: c.status.value for c in (await self.shown()).candidates}

    async def reasons(self) -> dict[str, str]:
        return {c.model_name: str(c.reason) for c in (await self.shown()).candidates if c.reason}

    async def execute(self, statement: str, *values: Any) -> None:
        async with self.bench.db.transaction() as c:
            await c.execute(statement, *values)


@pytest.fixture
def run(worker_resources: Resources, api_db: Database, user_id: uuid.UUID, tmp_path: Path) -> Run:
    nothing = cast(Any, None)
    cache = cast(Any, SimpleNamespace(folder=tmp_path, held=set))
    bench = Bench(worker_resources, nothing, cache, nothing, slots=1, threads=1, memory=2**30, keys=KEYS)
    bench.script, bench.ran, bench.seen = {}, [], {}
    return Run(bench, api_db, user_id)


async def test_they_are_asked_for_when_all_others_have_ended(run: Run) -> None:
    await run.plan()
    assert await run.waiting() == FITS
    assert await run.work(1) == 1
    first = await run.shown()
    assert (first.stage, await run.waiting()) == (Stage.FITTING, FITS[1:])
    await run.work(1)
    second = await run.shown()
    assert (second.stage, second.message) == (Stage.ENSEMBLING, "Combining the models")
    assert await run.waiting() == sorted(ENSEMBLES)
    await run.work(1)
    third = await run.shown()
    await run.work()
    last = await run.shown()
    assert (last.status, last.message) == (TaskStatus.COMPLETED, "All 4 models trained")
    assert await run.waiting() == []
    shares = [task.progress for task in (first, second, third, last)]
    assert shares == sorted(set(shares)) and shares[-1] == 1
    assert last.best and last.best.model_name in ENSEMBLES
    for slug in ENSEMBLES:
        assert run.bench.seen[slug] >= {"random_forest.npz", "random_forest.pkl", "logistic_regression.pkl"}


async def test_a_net_does_not_ask_for_them_before(run: Run) -> None:
    await run.plan()
    await run.execute("DELETE FROM trainyard.jobs WHERE kind = 'fit'")
    async with run.bench.db.transaction() as c:
        await jobs.restore_missing(c)
    assert await run.waiting() == FITS
    await run.work(2)
    await run.execute("DELETE FROM trainyard.jobs WHERE kind = 'fit'")
    async with run.bench.db.transaction() as c:
        await jobs.restore_missing(c)
    assert await run.waiting() == sorted(ENSEMBLES)


async def test_two_that_end_at_once_ask_for_them_once(run: Run) -> None:
    await run.plan()
    held = [await run.claim() for _ in FITS]
    await asyncio.gather(*(run.jobs.fits.fit(job) for job in held if job))
    assert await run.waiting() == sorted(ENSEMBLES)
    assert (await run.shown()).stage == Stage.ENSEMBLING


async def test_fewer_than_two_to_be_made_of_is_no_failure(run: Run) -> None:
    run.bench.script["random_forest"] = ChildFailed("out of memory", kind="memory")
    await run.plan()
    await run.work()
    task = await run.shown()
    assert (task.status, task.message) == (TaskStatus.COMPLETED, "1 of 2 models trained")
    assert await run.statuses() == {
        "logistic_regression": "done",
        "random_forest": "failed",
        **dict.fromkeys(ENSEMBLES, "skipped"),
    }
    assert "made of 2 other models or more, and 1 could be used" in (await run.reasons())[ENSEMBLES[0]]
    assert ("choose", ENSEMBLES[0]) not in run.bench.ran


async def test_a_run_of_nothing_but_failures_names_their_reasons_alone(run: Run) -> None:
    run.bench.script |= dict.fromkeys(FITS, ChildFailed("out of memory", kind="memory"))
    await run.plan()
    await run.work()
    task = await run.shown()
    assert task.status == TaskStatus.FAILED
    assert "Random Forest: out of memory" in task.message and "nsemble" not in task.message


async def test_nothing_to_gain_is_said_so(run: Run) -> None:
    alone = Choice(weights={}, reason="no average is better than Random Forest alone")
    run.bench.script[f"choice of {ENSEMBLES[0]}"] = alone
    await run.plan()
    await run.work()
    assert (await run.reasons())[ENSEMBLES[0]] == alone.reason
    statuses = await run.statuses()
    assert (statuses[ENSEMBLES[0]], statuses[ENSEMBLES[1]]) == ("skipped", "done")
    assert (await run.shown()).message == "All 3 models trained"


async def test_one_that_is_late_is_left_out_and_no_failure(run: Run) -> None:
    run.bench.script[ENSEMBLES[1]] = ChildFailed("killed", kind="deadline")
    await run.plan()
    await run.work()
    statuses = await run.statuses()
    assert (statuses[ENSEMBLES[0]], statuses[ENSEMBLES[1]]) == ("done", "skipped")
    assert "when the time budget ended" in (await run.reasons())[ENSEMBLES[1]]
    assert (await run.shown()).status == TaskStatus.COMPLETED


async def test_only_what_was_chosen_is_fetched_and_only_if_it_is_signed(run: Run) -> None:
    run.bench.script[f"choice of {ENSEMBLES[0]}"] = choice(random_forest=1.0)
    await run.plan()
    await run.work(2)
    # whoever writes to the database alone cannot have a pickle opened
    await run.execute(
        "UPDATE trainyard.candidates SET hmac = decode(repeat('00', 32), 'hex')"
        " WHERE model_name = 'logistic_regression'"
    )
    await run.work()
    assert "logistic_regression.pkl" not in run.bench.seen[ENSEMBLES[0]]
    statuses = await run.statuses()
    assert (statuses[ENSEMBLES[0]], statuses[ENSEMBLES[1]]) == ("done", "failed")
    assert "signature" in (await run.reasons())[ENSEMBLES[1]]


async def test_predictions_that_are_not_those_recorded_are_not_used(run: Run) -> None:
    await run.plan()
    await run.work(2)
    store = run.bench.store
    async for found in store.list(store.artifacts, f"{run.user}/{run.task_id}/random_forest/"):
        if found.key.endswith(PREDICTIONS_FILE):
            await store.put_bytes(
                store.artifacts, found.key, b"others", content_type="application/octet-stream"
            )
    job = await run.claim([JobKind.FIT])
    assert job is not None
    await run.slots.run(job)
    assert not [step for step in run.bench.ran if step[0] == "choose"]
    assert set((await run.statuses()).values()) == {"done", "queued", "running"}


async def test_one_whose_trainer_died_is_taken_over_and_done_once(run: Run) -> None:
    await run.plan()
    await run.work(2)
    never = asyncio.Event()
    run.bench.script[ENSEMBLES[0]] = never
    job = await run.claim()
    assert job is not None
    dying = asyncio.create_task(run.jobs.fits.fit(job))
    while ("combine", ENSEMBLES[0]) not in run.bench.ran:
        await asyncio.sleep(0.01)
    assert (await run.statuses())[ENSEMBLES[0]] == "running"
    await run.execute("UPDATE trainyard.jobs SET lease_until = now() - interval '1 second'")
    await Sweep(run.bench)()
    assert (await run.statuses())[ENSEMBLES[0]] == "queued"
    run.bench.script.clear()
    await run.work()
    never.set()  # it was only frozen, and finds its lease gone
    with pytest.raises(LeaseLost):
        await dying
    task = await run.shown()
    assert (task.status, task.message) == (TaskStatus.COMPLETED, "All 4 models trained")
    assert {c.model_name: c.attempt for c in task.candidates}[ENSEMBLES[0]] == 2


async def test_a_cancel_stops_what_waits_and_a_resume_goes_on_with_it(run: Run) -> None:
    await run.plan()
    await run.work(2)
    async with run.api_db.transaction(run.user) as c:
        assert await tasks.request_cancel(c, run.user, run.task_id) is TaskStatus.RUNNING
        await jobs.insert(c, JobKind.FINISH, run.task_id, run.user)
    await run.work()
    task = await run.shown()
    assert (task.status, task.message) == (TaskStatus.CANCELLED, "Cancelled; 2 of 2 models are there")
    assert {(await run.statuses())[slug] for slug in ENSEMBLES} == {"skipped"}

    async with run.api_db.transaction(run.user) as c:
        assert await tasks.request_resume(c, run.user, run.task_id)
        await jobs.insert(c, JobKind.PLAN, run.task_id, run.user)
    job = await run.claim([JobKind.PLAN])
    assert job is not None
    await run.slots.run(job)
    assert (await run.shown()).stage == Stage.ENSEMBLING
    assert await run.waiting() == sorted(ENSEMBLES)
    await run.work()
    assert (await run.shown()).message == "All 4 models trained"
    # fitted once each: nothing of it was done again
    assert [step for step in run.bench.ran if step[0] == "fit"] == [("fit", slug) for slug in FITS]


async def test_a_cancel_while_others_run_leaves_none_of_them_waiting(run: Run) -> None:
    await run.plan()
    held = [job for _ in FITS if (job := await run.claim()) is not None]
    await run.jobs.fits.fit(held[0])
    async with run.api_db.transaction(run.user) as c:
        await tasks.request_cancel(c, run.user, run.task_id)
        await jobs.insert(c, JobKind.FINISH, run.task_id, run.user)
    await run.slots.run(held[1])  # ends before the cancel's own work has begun
    await run.work()
    task = await run.shown()
    assert task.status == TaskStatus.CANCELLED
    assert {(await run.statuses())[slug] for slug in ENSEMBLES} == {"skipped"}
    assert await run.waiting() == []


async def test_a_budget_that_is_used_up_skips_them(run: Run) -> None:
    await run.plan()
    await run.work(2)
    await run.execute(
        "UPDATE trainyard.tasks SET started_at = now() - interval '1 hour' WHERE id = $1", run.task_id
    )
    await Sweep(run.bench)()
    await run.work()
    assert (await run.shown()).status == TaskStatus.COMPLETED
    assert set((await run.reasons()).values()) == {"the time budget was used up before it began"}


async def test_fits_leave_them_time(run: Run) -> None:
    await run.plan()
    budget = 300.0
    spare = fitting.reserve_s(budget) + fitting.ensembling_s(budget)
    # a moment before fits are no longer begun, and a moment after
    await run.execute(
        "UPDATE trainyard.tasks SET started_at = now() - make_interval(secs => $2) WHERE id = $1",
        run.task_id,
        budget - spare,
    )
    await run.work(2)
    assert {(await run.statuses())[slug] for slug in FITS} == {"skipped"}
