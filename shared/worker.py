"""The worker that trainer and packager both run: arq's Worker for messages, Postgres for the work.

A message wakes a slot; the slot claims from `trainyard.jobs` until there is nothing left, holds a
short lease on what it runs, renews it, and ends each job in one of four ways: done (the handler's
own transaction), given up with a reason, retried later, or handed over to another worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

import arq.worker
import msgspec
import structlog
from arq.worker import func
from redis.exceptions import RedisError

from shared import observing
from shared.contracts.states import JobKind
from shared.db import backlog, jobs
from shared.db.jobs import Job
from shared.errors import (
    ClusterFailed,
    ClusterUnavailable,
    DatabaseUnavailable,
    LeaseLost,
    NoRoom,
    StorageCorrupt,
    StorageUnavailable,
    TrainyardError,
)
from shared.metrics import GAVE_UP, SLOTS, SWEPT, begin_at_zero, show_backlog
from shared.queue import decode, encode, hint, listen, wake_channel
from shared.resources import Resources
from shared.settings import Worker as WorkerSettings

log = structlog.get_logger(__name__)

SWEEP_LOCK = 0x73776565
RESEND_S = 10.0
"""A message whose job still waits after this long may be lost, and is sent again."""
NET_EVERY_S = 30.0
"""How often rows that wait for work nobody was asked for are looked for. There should be none."""
CALLED = 16
"""Workers that look for a job they are told of, some; a larger fleet has others, and the sweeps of all."""
COUNT_EVERY_S = 10.0
"""How often a worker counts who else is told."""
ROOM_S = 0.1
"""How often a job that has to be alone looks whether it is."""
ENDING_S = 0.5
"""What a job whose row is gone has for its end, before it is taken for another's."""


class Handler(msgspec.Struct, frozen=True):
    """How one kind of job is done. `run` records its result and calls `jobs.done` in one transaction;
    `give_up` records the reason for which it never will be, and calls `jobs.done` too."""

    run: Callable[[Job], Awaitable[None]]
    give_up: Callable[[Job, TrainyardError], Awaitable[None]]
    heavy: bool = False
    """Takes a core for as long as it runs. Light work never waits for a slot behind heavy work."""


def backoff_s(tries: int) -> float:
    """Exponential with full jitter, a quarter of a second to half a minute."""
    return random.uniform(0.25, min(30.0, 2.0**tries))  # noqa: S311 - no secret


def worker_name(settings: WorkerSettings) -> str:
    """What this worker is called: in leases, logs and traces."""
    return settings.worker_name or f"{socket.gethostname()}:{os.getpid()}"


class Slots:
    """Claims and runs jobs; one instance a worker process.

    `lanes` loops at most claim at a time, `heavy_slots` of them heavy work; a loop goes on until there
    is nothing left for it. `knows`: words of `shared.needs`; work that needs others is left to others.
    """

    def __init__(
        self,
        resources: Resources,
        settings: WorkerSettings,
        handlers: Mapping[JobKind, Handler],
        *,
        lanes: int,
        heavy_slots: int = 0,
        knows: Sequence[str] | None = None,
    ) -> None:
        self.db = resources.db
        self.redis = resources.redis
        self.settings = settings
        self.handlers = handlers
        self.kinds = list(handlers)
        self.knows = knows
        self.light_kinds = [kind for kind, handler in handlers.items() if not handler.heavy]
        self.lanes = lanes
        self.heavy_free = heavy_slots
        self.heavy_running = 0
        self.alone = 0
        self.owner = worker_name(settings)
        self.held: dict[uuid.UUID, tuple[Job, asyncio.Task[str]]] = {}
        self.lost: set[uuid.UUID] = set()
        self.loops: set[asyncio.Task[None]] = set()
        self.kicked = False
        self.next_net = 0.0
        self.started = False
        self.draining = False

    def kick(self, count: int = 1) -> None:
        """There is work: start up to `count` loops. Called for every message, and may be called too often."""
        self.kicked = True
        if self.draining:
            return
        for _ in range(min(max(count, 1), self.lanes - len(self.loops))):
            # in a context of its own: whoever kicks may be at work on a job, whose ids are not the next one's
            loop = asyncio.create_task(self._work(), context=Context())
            self.loops.add(loop)
            loop.add_done_callback(self.loops.discard)

    async def drain(self) -> None:
        """Claim nothing more; wait `drain_s` for what runs, then hand it over. The heartbeat goes on."""
        self.draining = True
        log.info("draining", running=len(self.held))
        if self.loops:
            await asyncio.wait(self.loops, timeout=self.settings.drain_s)
        await end(*self.loops)
        log.info("drained")

    async def _work(self) -> None:
        while not self.draining:
            heavy = self.heavy_free > 0 and not self.alone
            kinds = self.kinds if heavy else self.light_kinds
            self.heavy_free -= heavy  # taken before the claim, which others make at the same time
            try:
                self.kicked = False
                job = await self._claim(kinds) if kinds else None
                if heavy and (job is None or not self.handlers[job.kind].heavy):
                    self.heavy_free += 1
                    heavy = False
                if job is not None:
                    await self.run(job)
                elif not self.kicked:  # otherwise work came after the claim had looked
                    return
            finally:
                self.heavy_free += heavy

    async def _claim(self, kinds: Sequence[JobKind]) -> Job | None:
        began_ns = time.time_ns()
        try:
            async with self.db.transaction() as c:
                job = await jobs.claim(
                    c,
                    kinds,
                    self.owner,
                    self.settings.lease_s,
                    user_cap=self.settings.user_cap,
                    knows=self.knows,
                )
        except DatabaseUnavailable as error:
            log.warning("cannot claim", reason=error.context.get("reason"))
            return None  # the sweep kicks again
        if job is not None:
            observing.claimed(job, began_ns)
        return job

    async def run(self, job: Job) -> None:
        """One claimed job to one of its ends; a cancellation (drain) hands it over."""
        with observing.attempt(job) as told:
            task = asyncio.create_task(self._attempt(job))
            self.held[job.id] = (job, task)
            try:
                told.outcome = await asyncio.shield(task)
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                if job.id in self.lost:
                    told.outcome = "lease_lost"
                    log.warning("lease lost: stopped, nothing written")
                else:
                    await self._free(job, jobs.hand_over)
                    log.info("handed over")
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
            finally:
                self.held.pop(job.id, None)
                self.lost.discard(job.id)

    async def _attempt(self, job: Job) -> str:
        """Do it; how that ended, of `observing.Attempt`'s words."""
        try:
            async with self._room(job):
                await self.handlers[job.kind].run(job)
        except LeaseLost:
            log.warning("lease lost: nothing written")
            return "lease_lost"
        except (ClusterUnavailable, DatabaseUnavailable, NoRoom, StorageUnavailable) as error:
            log.warning("waiting for a dependency", reason=str(error.context.get("reason") or error))
            await self._free(job, jobs.wait, delay_s=backoff_s(3), error=error.detail)
            return "waiting"
        except (ClusterFailed, StorageCorrupt) as error:  # as a rule it goes well the next time
            log.warning(error.slug.replace("-", " "), detail=error.detail, **error.context)
            return await self._again(job, error.detail)
        except TrainyardError as error:
            return await self._give_up(job, error)
        except Exception as error:
            log.exception("job failed")
            return await self._again(job, type(error).__name__)
        return "done"

    @contextlib.asynccontextmanager
    async def _room(self, job: Job) -> AsyncIterator[None]:
        """Heavy work runs side by side, but a job's last try by itself: where it is what kills its
        workers, the fits that happened to run beside it are not to run out of tries with it."""
        if not self.handlers[job.kind].heavy:
            yield
            return
        alone = job.tries >= jobs.MAX_TRIES
        self.alone += alone
        try:
            while self.heavy_running if alone else self.alone:  # noqa: ASYNC110 - rare, and simply right
                await asyncio.sleep(ROOM_S)
            self.heavy_running += 1
            try:
                yield
            finally:
                self.heavy_running -= 1
        finally:
            self.alone -= alone
            if alone:
                self.kick(self.lanes)  # what was not claimed meanwhile

    async def _again(self, job: Job, reason: str) -> str:
        """Try again later, unless it was tried often enough; how that ended."""
        if job.tries >= jobs.MAX_TRIES:
            return await self._give_up(job, TrainyardError(f"{reason} after {job.tries} tries"))
        await self._free(job, jobs.retry, delay_s=backoff_s(job.tries), error=reason)
        return "retried"

    async def _give_up(self, job: Job, error: TrainyardError) -> str:
        log.info("given up", reason=error.detail)
        GAVE_UP.labels(job.kind).inc()
        try:
            await self.handlers[job.kind].give_up(job, error)
        except LeaseLost:
            log.warning("lease lost: nothing written")
        except Exception as failure:
            # a reason that cannot be recorded now is recorded by the sweep, once the tries are used up
            log.exception("could not record why")
            await self._free(
                job, jobs.retry, delay_s=backoff_s(job.tries), error=f"{error.detail} ({failure})"
            )
            return "retried"
        return "given_up"

    async def _free(self, job: Job, how: Callable[..., Awaitable[None]], **arguments: Any) -> None:
        """Give a job back. Where even that fails its lease runs out by itself."""
        try:
            async with self.db.transaction() as c:
                await how(c, job, **arguments)
        except DatabaseUnavailable:
            log.warning("could not give the job back: its lease will run out")

    async def ready(self) -> bool:
        """Whether this worker can claim work: it has begun, Postgres answers, it is not draining."""
        try:
            await self.db.check()
        except DatabaseUnavailable:
            return False
        return self.started and not self.draining

    # --- beside the slots -----------------------------------------------------------------------

    async def heartbeat(self) -> None:
        """Renew every lease three times in its life, also while draining; stop what is another's."""
        while True:
            await asyncio.sleep(self.settings.lease_s / 3)
            held = [job for job, _ in self.held.values()]
            if not held:
                continue
            try:
                async with self.db.transaction() as c:
                    ours = await jobs.renew(c, held, self.owner, self.settings.lease_s)
            except DatabaseUnavailable as error:
                log.warning("cannot renew leases", reason=error.context.get("reason"))
                continue
            except Exception:  # a heart that stops would lose every job from here on
                log.exception("cannot renew leases")
                continue
            gone = {
                id_: self.held[id_][1] for job in held if (id_ := job.id) not in ours and id_ in self.held
            }
            if gone:
                # one that has just ended by itself has no row either, and a moment's work left
                await asyncio.wait(gone.values(), timeout=ENDING_S)
            for job_id, task in gone.items():
                if not task.done():
                    self.lost.add(job_id)
                    task.cancel()

    async def sweep(self, also: Callable[[], Awaitable[None]] | None = None) -> None:
        """Every second, one worker of this sort at a time: send what was never sent or may be lost,
        end what has used up its tries; `also` is the service's own cleaning."""
        while True:
            await asyncio.sleep(self.settings.sweep_every_s * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._measure()
                await self._end_exhausted()
                await self._restore_missing()
                if also is not None:
                    await also()
                await self._send_waiting()
                SWEPT.set_to_current_time()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                if isinstance(error, DatabaseUnavailable):
                    show_backlog(None)
                log.warning("sweep postponed", reason=str(error.context.get("reason") or error))
            except Exception:
                log.exception("sweep failed")

    async def _send_waiting(self) -> None:
        async with self.db.transaction() as c:
            if not await c.fetchval("SELECT pg_try_advisory_xact_lock($1)", SWEEP_LOCK):
                return
            waiting = await jobs.unsent(c, resend_after_s=RESEND_S)
            await jobs.mark_sent(c, [row["id"] for row in waiting])
        # after the commit; a message lost here is sent again in RESEND_S
        await hint(self.redis, [(JobKind(row["kind"]), f"{row['id']}:{row['attempt']}") for row in waiting])

    async def _restore_missing(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self.next_net:
            return
        self.next_net = now + NET_EVERY_S
        async with self.db.transaction() as c:
            found = await jobs.restore_missing(c)
        for row in found:
            log.error("a job was missing", kind=row["kind"], subject=str(row["subject_id"]))

    async def _measure(self) -> None:
        async with self.db.connection() as c:
            rows = await backlog.of_all(c)
        show_backlog(rows)
        # a slot that is taken looks by itself when it is free
        mine = self.kinds if self.heavy_free > 0 else self.light_kinds
        if waiting := sum(row["waiting"] for row in rows if row["kind"] in mine):
            self.kick(waiting)  # whatever became of its message

    async def _end_exhausted(self) -> None:
        async with self.db.transaction() as c:
            spent = await jobs.exhausted(c, self.kinds, self.owner, self.settings.lease_s)
        for job, reason in spent:
            with observing.attempt(job) as told:
                given_up = TrainyardError(f"given up after {job.tries} tries: {reason}")
                told.outcome = await self._give_up(job, given_up)


class Worker(arq.worker.Worker):
    """arq's worker for the messages: each only kicks the slots. It looks at its queue when woken, and
    every `poll_delay_s` in case a wake-up was lost."""

    def __init__(self, slots: Slots, *, queue: str) -> None:
        async def kick(_ctx: dict[str, Any]) -> None:
            slots.kick()

        work: Any = kick  # arq's protocol wants a function with *args, **kwargs
        super().__init__(
            functions=[func(work, name=str(kind), keep_result=0) for kind in slots.kinds],
            queue_name=queue,
            redis_pool=slots.redis,
            handle_signals=False,
            job_timeout=10,
            poll_delay=slots.settings.poll_delay_s,
            health_check_interval=15,
            health_check_key=f"{queue}:health:{slots.owner}",
            job_serializer=encode,
            job_deserializer=decode,
            log_results=False,
        )
        self.slots = slots
        self.woken = asyncio.Event()
        self.listeners = 1
        self._next_count = 0.0

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        while True:
            self.woken.clear()
            try:
                await self._poll_iteration()
                await self._count_listeners()
            except (RedisError, OSError) as error:  # not all of the client is patient: a login that hangs
                log.warning("cannot look for messages", reason=f"{type(error).__name__}: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_delay_s):
                    await self.woken.wait()

    async def _count_listeners(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_count:
            return
        self._next_count = now + COUNT_EVERY_S
        ((_, count),) = await self.pool.pubsub_numsub(wake_channel(self.queue_name))
        self.listeners = max(int(count), 1)

    async def be_woken(self) -> None:
        """Look for the jobs that are told of. Every worker hears of every job, and if all of a large fleet
        looked, Postgres would be asked for each as often as there are workers (docs/scaling.md)."""

        def heard(count: bytes) -> None:
            if is_called(int(count), self.listeners):
                self.slots.kick(int(count))
                self.woken.set()

        await listen(self.pool, wake_channel(self.queue_name), heard)


def is_called(jobs: int, listeners: int) -> bool:
    """Whether one of so many workers, who are all told of so many jobs, is to look for them."""
    return random.random() * listeners < CALLED * jobs  # noqa: S311 - no secret


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


async def run_worker(
    slots: Slots, stop: asyncio.Event, *, queue: str, also: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Run until `stop` is set, then drain. Raises what ended arq's loop."""
    worker = Worker(slots, queue=queue)
    log.info("worker started", owner=slots.owner, kinds=slots.kinds, lanes=slots.lanes)
    begin_at_zero(slots.kinds)
    SWEPT.set_to_current_time()  # how long it has not swept is counted from its start
    SLOTS.labels("heavy").set(slots.heavy_free)
    SLOTS.labels("any").set(slots.lanes)
    messages = asyncio.create_task(worker.main())
    stopping = asyncio.create_task(stop.wait())
    beside = [asyncio.create_task(work) for work in (slots.heartbeat(), slots.sweep(also), worker.be_woken())]
    slots.started = True
    try:
        slots.kick(slots.lanes)  # what waits already
        await asyncio.wait({messages, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await slots.drain()
        await end(messages, stopping, *beside)
    if not stop.is_set():
        await messages


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until they have ended: client libraries swallow a cancellation now and then."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.5)
