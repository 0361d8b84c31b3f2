"""What every kind of the trainer's work stands on: leased results, steps in children, tables, watching."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog

from services.trainer.cache import TableCache
from services.trainer.child import ChildCancelled, ChildFailed, Children
from services.trainer.cluster import Cluster
from services.trainer.scratch import Scratch
from services.trainer.table_limits import table_limits
from shared import needs
from shared.check_request import LEAST_MEMBERS
from shared.contracts.states import JobKind, Stage
from shared.db import candidates, jobs, tasks
from shared.db.jobs import Job
from shared.db.pool import Connection
from shared.errors import LeaseLost, NoRoom, StorageUnavailable, TrainyardError
from shared.metrics import FIT_SECONDS
from shared.queue import announce, hint
from shared.resources import Resources
from shared.settings import Tables
from shared.signing import KeyRing
from shared.worker import backoff_s, end

log = structlog.get_logger(__name__)
T = TypeVar("T")

UNBUDGETED = {"decode": "reading the table", "profile": "profiling the table", "plan": "planning the run"}
"""Steps that have `PROFILE_S` each, and what a user calls them."""
TICK_S = 0.5
"""How often running work's progress is written, and whether it is to stop is looked up."""


Asked = tuple[JobKind, uuid.UUID]
"""A job that was asked for: its kind and its id."""


def too_few_members(done: int) -> str:
    """Why an ensemble is skipped, in words for its user."""
    return f"an ensemble is made of {LEAST_MEMBERS} other models or more, and {done or 'none'} could be used"


class Stopped(TrainyardError):
    """Stopped: the run was cancelled"""

    slug = "cancelled"


class Patience:
    """Calls to the store that are made again while it is away, until a time of the loop's clock; then
    the last StorageUnavailable is raised. Raises Stopped as soon as the work is to stop."""

    def __init__(self, *, until: float, stop: asyncio.Event) -> None:
        self.until = until
        self.stop = stop

    async def __call__(self, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        loop, tried = asyncio.get_running_loop(), 0
        while True:
            try:
                return await call(*args, **kwargs)
            except StorageUnavailable as error:
                tried += 1
                pause = backoff_s(tried)
                if loop.time() + pause > self.until:
                    raise
                log.warning("waiting for the store", reason=str(error.context.get("reason") or error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stop.wait()
            if self.stop.is_set():
                raise Stopped


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled, and Stopped raised, as soon as `stop` is set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Stopped
        return await working
    finally:
        await end(working, stopping)


@contextlib.contextmanager
def _timed(model_name: str | None) -> Iterator[None]:
    """Around a step for a candidate of this model: the metric of how long its steps take."""
    began, outcome = time.monotonic(), "failed"
    try:
        yield
        outcome = "done"
    except (ChildCancelled, asyncio.CancelledError):
        outcome = "cancelled"
        raise
    finally:
        if model_name is not None:
            FIT_SECONDS.labels(model_name, outcome).observe(time.monotonic() - began)


class Workbench:
    """What the process has open, and how results are recorded."""

    def __init__(
        self,
        resources: Resources,
        children: Children,
        cache: TableCache,
        scratch: Scratch,
        *,
        slots: int,
        threads: int,
        memory: int,
        keys: KeyRing,
        tables: Tables | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.db = resources.db
        self.redis = resources.redis
        self.store = resources.store
        self.children = children
        self.cache = cache
        self.scratch = scratch
        self.slots = slots
        self.threads = threads
        self.memory = memory
        self.keys = keys
        self.cluster = cluster
        tables = tables or Tables()
        self.limits = table_limits(tables, cache.folder)
        self.profile_s = tables.profile_s

    @contextlib.asynccontextmanager
    async def result(self, job: Job) -> AsyncIterator[Connection]:
        """The transaction that records a result and ends the job; raises LeaseLost, writing nothing,
        where another attempt has it."""
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            yield c
            await jobs.done(c, job)

    async def step(self, step: str, payload: dict[str, Any], scratch: Path, **options: Any) -> bytes:
        """Run a step in a child. What is the machine's fault and not the step's is tried again."""
        # reading and profiling a table is not part of any budget, but it may not hang either
        options = {"timeout_s": self.profile_s, **options}
        try:
            with _timed(payload.get("model_name")):
                return await self.children.run(
                    step, payload, scratch=scratch, memory_bytes=self.memory, **options
                )
        except ChildCancelled:
            raise Stopped from None
        except ChildFailed as error:
            if error.kind == "full":
                raise NoRoom from error
            if error.kind == "lost":
                raise RuntimeError(error.detail) from error
            if error.kind == "deadline" and options["timeout_s"] == self.profile_s:
                said = f"{UNBUDGETED.get(step, step)} took more than {self.profile_s:,g} s"
                raise ChildFailed(said, kind=error.kind) from error
            raise

    @contextlib.asynccontextmanager
    async def table(self, file: Any, stop: asyncio.Event) -> AsyncIterator[Path]:
        """The decoded table of a row of `files.for_work`, on this machine's disk. Raises Stopped as soon
        as `stop` is set, also while it is still fetched."""

        async def decode(raw: Path, name: str, scratch: Path) -> None:
            payload = {"source": str(raw), "name": name, "limits": self.limits}
            await self.step("decode", payload, scratch, cancelled=stop)

        cached = self.cache.table(
            file_id=file["id"],
            user_id=file["user_id"],
            name=file["name"],
            sha256=file["sha256"],
            decode=decode,
        )
        async with contextlib.AsyncExitStack() as stack:
            yield await unless(stop, stack.enter_async_context(cached))

    @contextlib.asynccontextmanager
    async def scratch_folder(self) -> AsyncIterator[Path]:
        """A fresh folder for a step, gone at the end of the block."""
        with self.scratch.folder() as folder:
            yield folder

    @contextlib.asynccontextmanager
    async def watch(
        self, job: Job, task_id: uuid.UUID
    ) -> AsyncIterator[tuple[Callable[[float, str], None], asyncio.Event]]:
        """Beside running work: writes a candidate's progress, and sets the event when it is to stop."""
        latest, stop = 0.0, asyncio.Event()

        def on_progress(share: float, _message: str) -> None:
            nonlocal latest
            latest = min(max(share, latest), 1.0)

        async def tick() -> None:
            written = 0.0
            while not stop.is_set():
                await asyncio.sleep(TICK_S)
                with contextlib.suppress(TrainyardError):  # Postgres away: the work goes on
                    async with self.db.transaction() as c:
                        if moved := latest > written:
                            await candidates.progress(c, job.subject_id, job.attempt, latest)
                            written = latest
                        if await tasks.cancelled(c, [task_id]):
                            stop.set()
                    if moved:
                        await announce(self.redis, task_id)

        ticking = asyncio.create_task(tick())
        try:
            yield on_progress, stop
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def go_on(self, c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> list[Asked]:
        """Ask for what can be done now, in the transaction that ended a candidate: the ensembles once there
        is all they can be made of, `finish` after the last. The update before this holds the task's row (its
        version grew), so of two that end at once the second sees both. Asking twice is asking once."""
        standing = await candidates.standing(c, task_id)
        if standing.fits:
            return []
        if standing.ensembles:
            if standing.done >= LEAST_MEMBERS:
                return await self._ensembles(c, task_id, user_id)
            # nothing else can be queued by now
            await candidates.skip_queued(c, task_id, too_few_members(standing.done))
            if (await candidates.standing(c, task_id)).ensembles:
                return []
        await tasks.say(c, task_id, Stage.FINISHING, "Writing the report")
        return [(JobKind.FINISH, await jobs.insert(c, JobKind.FINISH, task_id, user_id))]

    async def _ensembles(self, c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> list[Asked]:
        await tasks.say(c, task_id, Stage.ENSEMBLING, "Combining the models")
        asked = []
        for row in await candidates.waiting(c, task_id):
            # their place in the user's queue is the task's, as that of its other fits
            job_id = await jobs.insert(
                c,
                JobKind.FIT,
                row["id"],
                user_id,
                attempt=row["attempt"],
                queued_at=row["created_at"],
                needs=[needs.of_model(row["task_type"], row["model_name"])],
            )
            asked.append((JobKind.FIT, job_id))
        return asked

    async def changed(self, task_id: uuid.UUID, *asked: Asked) -> None:
        """After a commit: say that the task changed, and wake workers for the jobs it asked for."""
        await announce(self.redis, task_id)
        await hint(self.redis, asked)
