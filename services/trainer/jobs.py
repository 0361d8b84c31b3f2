"""The trainer's four kinds of work: profile → plan → fit (one a candidate) → finish.

Orchestration only: tables are read and models fitted in child processes (`steps`), and every result
is recorded in one transaction that also removes the job and fails where the lease is another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from services.trainer import finish
from services.trainer.cache import TableCache
from services.trainer.child import ChildCancelled, ChildFailed, Children
from services.trainer.outcome import MODEL_FILE, FitOutcome
from shared.contracts import MODELS, JobKind, Plan, Problem, Profile, Stage, TrainRequest
from shared.db import candidates, files, jobs, tasks
from shared.db.jobs import Job
from shared.db.pool import Connection
from shared.errors import CannotTrain, InvalidRequest, LeaseLost, TableUnreadable, TrainyardError
from shared.metrics import CANDIDATES
from shared.queue import hint
from shared.resources import Resources
from shared.storage import model_key, plot_key
from shared.worker import Handler

log = structlog.get_logger(__name__)

PROFILE_S = 600.0
"""Reading and profiling a table is not part of any budget, but it may not hang either."""
TICK_S = 0.5
"""How often a running fit's progress is written, and whether it is to stop is looked up."""


def problem(error: TrainyardError) -> Problem:
    """What a failed task shows; the user's own faults are 422s, ours 500s."""
    theirs = isinstance(error, InvalidRequest | CannotTrain | TableUnreadable)
    return Problem(
        type=error.slug,
        title=(type(error).__doc__ or "").strip().split("\n")[0],
        status=422 if theirs else 500,
        detail=error.detail,
    )


def reserve_s(budget_s: float) -> float:
    """What the end of a budget is kept free for: storing the last artifact and the report."""
    return min(max(0.04 * budget_s, 0.6), 10.0)


class Stopped(TrainyardError):
    """Stopped: the run was cancelled"""

    slug = "cancelled"


class TrainerJobs:
    """Handlers over what the process has open."""

    def __init__(
        self,
        resources: Resources,
        children: Children,
        cache: TableCache,
        *,
        slots: int,
        threads: int,
        memory: int,
    ) -> None:
        self.db = resources.db
        self.redis = resources.redis
        self.store = resources.store
        self.children = children
        self.cache = cache
        self.slots = slots
        self.threads = threads
        self.memory = memory

    def handlers(self) -> dict[JobKind, Handler]:
        return {
            JobKind.PROFILE: Handler(self.profile, self.profile_given_up, heavy=True),
            JobKind.PLAN: Handler(self.plan, self.task_given_up, heavy=True),
            JobKind.FIT: Handler(self.fit, self.fit_given_up, heavy=True),
            JobKind.FINISH: Handler(self.finish, self.task_given_up),
        }

    @contextlib.asynccontextmanager
    async def _result(self, job: Job) -> AsyncIterator[Connection]:
        """The transaction that records a result and ends the job; raises LeaseLost, writing nothing,
        where another attempt has it."""
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            yield c
            await jobs.done(c, job)

    async def _step(self, step: str, payload: dict[str, Any], scratch: Path, **options: Any) -> bytes:
        """Run a step in a child. What is the machine's fault and not the step's is tried again."""
        options = {"timeout_s": PROFILE_S, **options}
        try:
            return await self.children.run(
                step, payload, scratch=scratch, memory_bytes=self.memory, **options
            )
        except ChildCancelled:
            raise Stopped from None
        except ChildFailed as error:
            if error.kind == "lost":
                raise RuntimeError(error.detail) from error
            raise

    # --- profile --------------------------------------------------------------------------------

    async def profile(self, job: Job) -> None:
        async with self.db.transaction() as c:
            file = await files.for_work(c, job.subject_id, job.user_id)
        if file is None or file["deleted_at"] is not None or file["status"] != "queued":
            async with self._result(job):
                return
        made = await self._profile(file)
        async with self._result(job) as c:
            await files.profile_ready(c, file["id"], msgspec.to_builtins(made), made.rows, len(made.columns))

    async def _profile(self, file: Any) -> Profile:
        async with self._table(file) as table, _scratch() as scratch:
            return msgspec.json.decode(
                await self._step("profile", {"table": str(table)}, scratch), type=Profile
            )

    def _table(self, file: Any) -> contextlib.AbstractAsyncContextManager[Path]:
        async def decode(raw: Path, name: str, scratch: Path) -> None:
            await self._step("decode", {"source": str(raw), "name": name}, scratch)

        return self.cache.table(
            file_id=file["id"],
            user_id=file["user_id"],
            name=file["name"],
            sha256=file["sha256"],
            decode=decode,
        )

    async def profile_given_up(self, job: Job, error: TrainyardError) -> None:
        async with self._result(job) as c:
            await files.profile_failed(c, job.subject_id, error.detail)

    # --- plan -----------------------------------------------------------------------------------

    async def plan(self, job: Job) -> None:
        async with self.db.transaction() as c:
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            started = task is not None and await tasks.begin(
                c, task["id"], Stage.PROFILING, "Reading the table"
            )
            file = await files.for_work(c, task["file_id"], job.user_id) if started else None
        if not started:
            async with self._result(job) as c:
                await tasks.cancel(c, job.subject_id)
                return
        if file is None or file["deleted_at"] is not None:
            raise CannotTrain("the file was deleted before training began")
        if file["status"] == "failed":
            raise TableUnreadable(file["error"])
        request = msgspec.convert(task["request"], TrainRequest)
        # a task that overtakes its file's profile job makes the profile itself
        profile = (
            msgspec.convert(file["profile"], Profile)
            if file["status"] == "ready"
            else await self._profile(file)
        )
        async with self._table(file) as table, _scratch() as scratch:
            payload = {"table": str(table), "request": request, "profile": profile}
            plan = msgspec.json.decode(await self._step("plan", payload, scratch), type=Plan)
        models = [MODELS[plan.task_type][slug] for slug in plan.models]
        async with self._result(job) as c:
            ids = await candidates.insert_all(c, task["id"], job.user_id, models)
            inserted = [await jobs.insert(c, JobKind.FIT, candidate, job.user_id) for candidate in ids]
            await tasks.planned(c, task["id"], plan, plan.warnings)
        log.info("planned", task_type=plan.task_type, models=len(models))
        await hint(self.redis, [(JobKind.FIT, job_id) for job_id in inserted])

    async def task_given_up(self, job: Job, error: TrainyardError) -> None:
        async with self._result(job) as c:
            await candidates.skip_queued(c, job.subject_id, error.detail)
            await tasks.failed(c, job.subject_id, problem(error))

    # --- fit ------------------------------------------------------------------------------------

    async def fit(self, job: Job) -> None:
        async with self.db.transaction() as c:
            candidate = await candidates.begin(c, job.subject_id, job.user_id, job.attempt)
            if candidate is None:  # ended by somebody else meanwhile, or deleted
                await jobs.done(c, job)
                return
            task = await tasks.for_work(c, candidate["task_id"], job.user_id)
            waiting = await candidates.open_count(c, candidate["task_id"])
            file = await files.for_work(c, task["file_id"], job.user_id)
        slug = candidate["model_name"]
        if task["cancel_requested"] or task["deleted_at"] is not None:
            raise Stopped
        if file is None:
            raise CannotTrain("the file was deleted while it was being trained on")
        plan = msgspec.convert(task["plan"], Plan)
        request = msgspec.convert(task["request"], TrainRequest)
        left = task["remaining_s"] - reserve_s(request.time_budget_s)
        if left <= 0:
            await self._ended(job, candidate, "skipped", "the time budget was used up before it began")
            return
        # twice its even share: candidates differ, and what one leaves over the next may use
        soft = min(left, 2 * left * self.slots / max(waiting, 1))
        async with self._table(file) as table, _scratch() as scratch:
            payload = {
                "table": str(table),
                "plan": plan,
                "model_name": slug,
                "soft_deadline_s": soft,
                "threads": self.threads,
            }
            async with self._watch(job, candidate["task_id"]) as (on_progress, stop):
                answer = await self._step(
                    "fit", payload, scratch, timeout_s=left, on_progress=on_progress, cancelled=stop
                )
            await self._store(job, candidate, msgspec.json.decode(answer, type=FitOutcome), scratch)

    @contextlib.asynccontextmanager
    async def _watch(self, job: Job, task_id: uuid.UUID) -> AsyncIterator[tuple[Any, asyncio.Event]]:
        """Writes a running fit's progress and looks whether it is to stop, beside it."""
        latest, written, stop = 0.0, 0.0, asyncio.Event()

        def on_progress(share: float, _message: str) -> None:
            nonlocal latest
            latest = min(max(share, latest), 1.0)

        async def tick() -> None:
            nonlocal written
            while not stop.is_set():
                await asyncio.sleep(TICK_S)
                with contextlib.suppress(TrainyardError):  # Postgres away: the fit goes on
                    async with self.db.transaction() as c:
                        if latest > written:
                            await candidates.progress(c, job.subject_id, job.attempt, latest)
                            written = latest
                        if await tasks.cancelled(c, [task_id]):
                            stop.set()

        ticking = asyncio.create_task(tick())
        try:
            yield on_progress, stop
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _store(self, job: Job, candidate: Any, outcome: FitOutcome, scratch: Path) -> None:
        """Put the artifacts under this attempt's keys, then finish the row."""
        user_id, task_id, slug = job.user_id, candidate["task_id"], candidate["model_name"]
        stored = await self.store.put_file(
            self.store.artifacts,
            model_key(user_id, task_id, slug, job.attempt),
            scratch / MODEL_FILE,
            content_type="application/octet-stream",
            filename=f"{slug}_{task_id}.pkl",
        )
        for plot in outcome.plots:
            drawn = await self.store.put_bytes(
                self.store.artifacts,
                plot_key(user_id, task_id, slug, job.attempt, plot.kind),
                plot.svg.encode(),
                content_type="image/svg+xml",
                filename=f"{slug}_{plot.kind}.svg",
            )
            # the store has the drawing; the row keeps its numbers
            plot.svg, plot.size_bytes, plot.sha256 = "", drawn.size_bytes, drawn.sha256
        async with self._result(job) as c:
            await candidates.done(
                c,
                candidate["id"],
                job.attempt,
                cv_mean=outcome.cv_mean,
                cv_std=outcome.cv_std,
                metrics=outcome.metrics,
                fit_seconds=outcome.fit_seconds,
                predict_ms_per_row=outcome.predict_ms_per_row,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                outcome=msgspec.to_builtins(outcome),
            )
            last = await self._finish_if_last(c, task_id, user_id)
        CANDIDATES.labels(slug, "done").inc()
        if last:
            await hint(self.redis, [(JobKind.FINISH, last)])

    async def _finish_if_last(
        self, c: Connection, task_id: uuid.UUID, user_id: uuid.UUID
    ) -> uuid.UUID | None:
        """Ask for `finish` in the transaction that ended the last candidate. The update before this
        holds the task's row (its version grew), so of two that end at once the second sees both."""
        if await candidates.open_count(c, task_id):
            return None
        await tasks.say(c, task_id, Stage.FINISHING, "Writing the report")
        return await jobs.insert(c, JobKind.FINISH, task_id, user_id)

    async def _ended(self, job: Job, candidate: Any, status: str, reason: str) -> None:
        async with self._result(job) as c:
            await candidates.ended(c, candidate["id"], job.attempt, status, reason)
            last = await self._finish_if_last(c, candidate["task_id"], job.user_id)
        CANDIDATES.labels(candidate["model_name"], status).inc()
        if last:
            await hint(self.redis, [(JobKind.FINISH, last)])

    async def fit_given_up(self, job: Job, error: TrainyardError) -> None:
        """One candidate's failure is its own row with a reason."""
        async with self.db.transaction() as c:
            candidate = await candidates.get(c, job.subject_id, job.user_id)
        if candidate is None:
            async with self._result(job):
                return
        await self._ended(job, candidate, "skipped" if isinstance(error, Stopped) else "failed", error.detail)

    # --- finish ---------------------------------------------------------------------------------

    async def finish(self, job: Job) -> None:
        async with self.db.transaction() as c:
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            rows = await candidates.of_task(c, job.subject_id, job.user_id)
            file = await files.for_work(c, task["file_id"], job.user_id) if task else None
        if task is None or task["deleted_at"] is not None:
            async with self._result(job):
                return
        report = finish.report_of(task, rows, file)
        stored = await finish.store_report(self.store, job.user_id, task["id"], job.attempt, report)
        status, message, error = finish.verdict(task, rows)
        async with self._result(job) as c:
            await tasks.finished(
                c,
                task["id"],
                status=status,
                message=message,
                warnings=finish.warnings_of(task, rows),
                report=stored,
                report_attempt=job.attempt,
                error=error,
            )
        log.info("finished", status=status, message=message)


@contextlib.asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="trainyard-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
