"""Slots and arq's worker over a real Postgres and a real Valkey; only the handlers are the test's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from arq.connections import ArqRedis
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.contracts.states import JobKind, uuid7
from shared.db import files, jobs
from shared.db.jobs import Job
from shared.db.pool import Database
from shared.errors import CannotTrain, StorageCorrupt, StorageUnavailable, TrainyardError
from shared.queue import TRAINER_QUEUE, hint, open_queue, wake_channel
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, Worker, load
from shared.worker import Handler, Slots, run_worker
from shared.worker import Worker as ArqWorker

QUICK = Worker(lease_s=3, sweep_every_s=0.1, drain_s=0.1)


class Recorder:
    """Handlers that note what they are asked to do; `script` says what `run` does with a job."""

    def __init__(self, db: Database, script: Callable[[Job], Awaitable[None]] | None = None) -> None:
        self.db = db
        self.script = script
        self.runs: asyncio.Queue[Job] = asyncio.Queue()
        self.ended: asyncio.Queue[tuple[Job, str]] = asyncio.Queue()

    async def run(self, job: Job) -> None:
        await self.runs.put(job)
        if self.script is not None:
            await self.script(job)
        await self._end(job, "done")

    async def give_up(self, job: Job, error: TrainyardError) -> None:
        await self._end(job, error.detail)

    async def _end(self, job: Job, how: str) -> None:
        async with self.db.transaction() as c:
            assert await jobs.holds(c, job)
            await jobs.done(c, job)
        await self.ended.put((job, how))

    @property
    def handlers(self) -> dict[JobKind, Handler]:
        return {JobKind.PROFILE: Handler(self.run, self.give_up)}


@pytest.fixture
async def resources(env: dict[str, str]) -> AsyncIterator[Resources]:
    redis_db = env["REDIS_URL"]
    async with open_resources(
        env["WORKER_DATABASE_URL"],
        postgres=load(Postgres, env),
        redis=Redis(redis_url=redis_db),
        s3=load(S3, env),
        application="test",
        patient=True,
    ) as opened:
        await opened.redis.flushall()
        yield opened


async def add_job(api_db: Database, user: uuid.UUID) -> uuid.UUID:
    file_id = uuid7()
    async with api_db.transaction(user) as c:
        await files.insert(c, file_id=file_id, user_id=user, name="t.csv", size_bytes=3, sha256="ab")
        return await jobs.insert(c, JobKind.PROFILE, file_id, user)


async def running(
    resources: Resources, recorder: Recorder, settings: Worker = QUICK
) -> tuple[Slots, asyncio.Task[None]]:
    slots = Slots(resources, settings, recorder.handlers, lanes=2)
    return slots, asyncio.create_task(run_worker(slots, asyncio.Event(), queue=TRAINER_QUEUE))


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def soon(queue: asyncio.Queue) -> object:  # type: ignore[type-arg]
    return await asyncio.wait_for(queue.get(), 20)


async def test_a_hinted_job_runs_once_and_its_row_goes(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    recorder = Recorder(resources.db)
    _, task = await running(resources, recorder)
    job_id = await add_job(api_db, user_id)
    assert await hint(resources.redis, [(JobKind.PROFILE, job_id)])
    job, how = await soon(recorder.ended)
    assert (job.id, how, job.attempt) == (job_id, "done", 1)
    # by its id: the sweep may have missed a job for the file by now, and added one
    async with resources.db.connection() as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.jobs WHERE id = $1", job_id) == 0
    await stop(task)


async def test_without_any_message_the_sweep_finds_it(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    recorder = Recorder(resources.db)
    job_id = await add_job(api_db, user_id)
    _, task = await running(resources, recorder)
    job, _ = await soon(recorder.ended)
    assert job.id == job_id
    await stop(task)


async def test_a_users_fault_is_final_and_recorded(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    async def fail(_job: Job) -> None:
        raise CannotTrain("the target is constant")

    recorder = Recorder(resources.db, fail)
    _, task = await running(resources, recorder)
    await add_job(api_db, user_id)
    job, how = await soon(recorder.ended)
    assert (job.tries, how) == (1, "the target is constant")
    await stop(task)


async def test_a_crash_is_retried_a_bounded_number_of_times(
    resources: Resources, api_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.worker.backoff_s", lambda _tries: 0.01)

    async def fail(_job: Job) -> None:
        raise ZeroDivisionError

    recorder = Recorder(resources.db, fail)
    _, task = await running(resources, recorder)
    await add_job(api_db, user_id)
    job, how = await soon(recorder.ended)
    assert (job.tries, how) == (jobs.MAX_TRIES, f"ZeroDivisionError after {jobs.MAX_TRIES} tries")
    assert recorder.runs.qsize() == jobs.MAX_TRIES
    await stop(task)


async def test_a_dependency_that_is_away_costs_no_try(
    resources: Resources, api_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.worker.backoff_s", lambda _tries: 0.01)
    seen = 0

    async def away_at_first(_job: Job) -> None:
        nonlocal seen
        seen += 1
        if seen <= jobs.MAX_TRIES + 1:
            raise StorageUnavailable

    recorder = Recorder(resources.db, away_at_first)
    _, task = await running(resources, recorder)
    await add_job(api_db, user_id)
    job, how = await soon(recorder.ended)
    assert (how, job.tries, job.attempt) == ("done", 1, jobs.MAX_TRIES + 2)
    await stop(task)


async def test_the_lease_is_renewed_while_the_work_goes_on(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    release = asyncio.Event()

    async def wait(_job: Job) -> None:
        await release.wait()

    recorder = Recorder(resources.db, wait)
    slots, task = await running(resources, recorder)
    job_id = await add_job(api_db, user_id)
    await soon(recorder.runs)
    async with resources.db.connection() as c:
        first = await c.fetchval("SELECT lease_until FROM trainyard.jobs WHERE id = $1", job_id)
        deadline = time.monotonic() + 20
        while await c.fetchval("SELECT lease_until FROM trainyard.jobs WHERE id = $1", job_id) <= first:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    assert job_id in slots.held
    release.set()
    job, _ = await soon(recorder.ended)
    assert job.attempt == 1
    await stop(task)


async def test_a_lost_lease_stops_the_work_and_writes_nothing(
    resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    stopped = asyncio.Event()

    async def wait(job: Job) -> None:
        if job.attempt > 1:
            return
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    recorder = Recorder(resources.db, wait)
    _, task = await running(resources, recorder)
    job_id = await add_job(api_db, user_id)
    await soon(recorder.runs)
    async with resources.db.connection() as c:  # another worker takes it over, and dies at once
        await c.execute(
            "UPDATE trainyard.jobs SET attempt = attempt + 1, owner = 'other',"
            " lease_until = now() + interval '1 second' WHERE id = $1",
            job_id,
        )
    await asyncio.wait_for(stopped.wait(), 20)
    job, how = await soon(recorder.ended)
    assert (job.attempt, how) == (3, "done")
    await stop(task)


async def test_light_work_does_not_wait_behind_heavy_work(resources: Resources, user_id: uuid.UUID) -> None:
    release = asyncio.Event()

    async def wait(_job: Job) -> None:
        await release.wait()

    heavy, light = Recorder(resources.db, wait), Recorder(resources.db)
    handlers = {
        JobKind.FIT: Handler(heavy.run, heavy.give_up, heavy=True),
        JobKind.FINISH: Handler(light.run, light.give_up),
    }
    slots = Slots(resources, QUICK, handlers, lanes=2, heavy_slots=1)
    task = asyncio.create_task(run_worker(slots, asyncio.Event(), queue=TRAINER_QUEUE))
    async with resources.db.transaction() as c:
        for _ in range(2):
            await jobs.insert(c, JobKind.FIT, uuid7(), user_id)
    await soon(heavy.runs)
    async with resources.db.transaction() as c:
        await jobs.insert(c, JobKind.FINISH, uuid7(), user_id)
    await soon(light.ended)
    assert heavy.runs.empty()
    release.set()
    await soon(heavy.ended)
    await soon(heavy.ended)
    await stop(task)
    assert slots.heavy_free == 1


async def test_the_last_try_of_heavy_work_is_alone(resources: Resources, user_id: uuid.UUID) -> None:
    release, running_now, most = asyncio.Event(), 0, 0

    async def count(job: Job) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now * (job.tries == jobs.MAX_TRIES))
        if job.tries < jobs.MAX_TRIES:
            await release.wait()
        running_now -= 1

    recorder = Recorder(resources.db, count)
    handlers = {JobKind.FIT: Handler(recorder.run, recorder.give_up, heavy=True)}
    slots = Slots(resources, QUICK, handlers, lanes=2, heavy_slots=2)
    async with resources.db.transaction() as c:
        first = await jobs.insert(c, JobKind.FIT, uuid7(), user_id)
    task = asyncio.create_task(run_worker(slots, asyncio.Event(), queue=TRAINER_QUEUE))
    await soon(recorder.runs)
    async with resources.db.transaction() as c:
        last = await jobs.insert(c, JobKind.FIT, uuid7(), user_id)
        # two workers died with it
        await c.execute("UPDATE trainyard.jobs SET tries = $1 WHERE id = $2", jobs.MAX_TRIES - 1, last)
    async with asyncio.timeout(20):
        while last not in slots.held:
            await asyncio.sleep(0.02)
    assert recorder.runs.empty()
    release.set()
    ended = [(await soon(recorder.ended))[0].id for _ in range(2)]  # type: ignore[index]
    assert (ended, most) == ([first, last], 1)
    await stop(task)
    assert (slots.heavy_running, slots.alone, slots.heavy_free) == (0, 0, 2)


async def test_a_damaged_object_is_fetched_again(
    resources: Resources, api_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.worker.backoff_s", lambda _tries: 0.01)

    async def damaged_at_first(job: Job) -> None:
        if job.tries == 1:
            raise StorageCorrupt

    recorder = Recorder(resources.db, damaged_at_first)
    _, task = await running(resources, recorder)
    await add_job(api_db, user_id)
    job, how = await soon(recorder.ended)
    assert (how, job.tries) == ("done", 2)
    await stop(task)


async def test_a_redis_that_hangs_ends_no_worker(
    resources: Resources, api_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Event()

    async def hangs(_worker: object) -> None:
        looked.set()
        raise RedisTimeoutError("Timeout reading from Redis")

    monkeypatch.setattr("shared.worker.Worker._poll_iteration", hangs)
    recorder = Recorder(resources.db)
    _, task = await running(resources, recorder)
    await asyncio.wait_for(looked.wait(), 20)
    await add_job(api_db, user_id)
    await soon(recorder.ended)
    assert not task.done()
    await stop(task)


async def test_a_worker_knows_how_many_are_told_of_a_job(resources: Resources) -> None:
    slots = Slots(resources, QUICK, Recorder(resources.db).handlers, lanes=1)
    worker = ArqWorker(slots, queue=TRAINER_QUEUE)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            told = await stack.enter_async_context(resources.redis.pubsub())
            await told.subscribe(wake_channel(TRAINER_QUEUE))
        await worker._count_listeners()
    assert worker.listeners == 20


async def test_redis_away_is_no_error_for_whoever_hints(env: dict[str, str]) -> None:
    async with open_queue(Redis(redis_url="redis://127.0.0.1:1/0")) as redis:
        assert isinstance(redis, ArqRedis)
        began = time.monotonic()
        assert await hint(redis, [(JobKind.PLAN, uuid.uuid4())]) is False
        assert time.monotonic() - began < 10


DRAINING = """
import asyncio, os, sys, uvloop
from shared.contracts.states import JobKind
from shared.logging import configure
from shared.queue import TRAINER_QUEUE
from shared.resources import open_resources
from shared.settings import *
from shared.worker import Handler, Slots, run_worker, stop_on_signals

async def forever(job):
    print("running", flush=True)
    await asyncio.Event().wait()

async def main():
    env = os.environ
    configure(load(Logging, env), service="test")  # to standard error
    async with open_resources(env["WORKER_DATABASE_URL"],
                              postgres=load(Postgres, env), redis=load(Redis, env),
                              s3=load(S3, env), application="t", patient=True) as r:
        slots = Slots(r, Worker(lease_s=30, drain_s=1), {JobKind.PROFILE: Handler(forever, forever)}, lanes=1)
        await run_worker(slots, stop_on_signals(), queue=TRAINER_QUEUE)
    print("drained", flush=True)

uvloop.run(main())
"""


async def test_sigterm_hands_over_without_costing_a_try(
    env: dict[str, str], resources: Resources, api_db: Database, user_id: uuid.UUID
) -> None:
    job_id = await add_job(api_db, user_id)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRAINING, env=dict(os.environ) | env, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"running\n"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"drained\n"
    assert await asyncio.wait_for(process.wait(), 30) == 0
    async with resources.db.connection() as c:
        row = await c.fetchrow("SELECT tries, lease_until, attempt FROM trainyard.jobs WHERE id = $1", job_id)
    assert (row["tries"], row["lease_until"], row["attempt"]) == (0, None, 1)
