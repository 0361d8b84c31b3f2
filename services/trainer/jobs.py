"""The trainer's kinds of work around the fits: profile → plan → (fit, in `fitting`) → finish.

Orchestration only: tables are read and models fitted in child processes (`steps`), and every result
is recorded in one transaction that also removes the job and fails where the lease is another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from msgspec import UNSET

from services.trainer import cluster, finish
from services.trainer.child_outcome import ChildFailed
from services.trainer.converting import ConvertJobs
from services.trainer.fitting import FitJobs
from services.trainer.room import telling
from services.trainer.workbench import Asked, Stopped, Workbench
from shared import needs
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.files import Profile
from shared.contracts.problems import Fault, Problem
from shared.contracts.states import JobKind, Stage
from shared.contracts.training import Plan
from shared.db import bundles, candidates, files, jobs, tasks
from shared.db.jobs import Job
from shared.db.pool import Connection
from shared.errors import CannotTrain, InvalidRequest, LeaseLost, TableUnreadable, TrainyardError
from shared.worker import Handler

log = structlog.get_logger(__name__)


def problem(error: TrainyardError) -> Problem:
    """What a failed task shows; the user's own faults are 422s, ours 500s."""
    theirs = isinstance(error, InvalidRequest | CannotTrain | TableUnreadable)
    return Problem(
        type=error.slug,
        title=type(error).title(),
        status=422 if theirs else 500,
        detail=error.detail,
        errors=[Fault(*fault) for fault in error.errors] if isinstance(error, InvalidRequest) else UNSET,
    )


class TrainerJobs:
    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.fits = FitJobs(bench)
        self.conversions = ConvertJobs(bench)

    def handlers(self) -> dict[JobKind, Handler]:
        handlers = {
            JobKind.PROFILE: Handler(self.profile, self.profile_given_up, heavy=True),
            JobKind.PLAN: Handler(self.plan, self.task_given_up, heavy=True),
            JobKind.FIT: Handler(self.fits.fit, self.fits.given_up, heavy=True),
            JobKind.FINISH: Handler(self.finish, self.task_given_up),
            # light: whoever wants the file is waiting, and it takes seconds
            JobKind.CONVERT: Handler(self.conversions.convert, self.conversions.given_up),
            JobKind.CONVERT_ONNX: Handler(self.conversions.convert, self.conversions.given_up),
        }
        folder = self.bench.cache.folder
        return {
            kind: msgspec.structs.replace(handler, run=telling(handler.run, folder))
            for kind, handler in handlers.items()
        }

    # --- profile --------------------------------------------------------------------------------

    async def profile(self, job: Job) -> None:
        async with self.bench.db.transaction() as c:
            file = await files.for_work(c, job.subject_id, job.user_id)
        if file is None or file["deleted_at"] is not None or file["status"] != "queued":
            async with self.bench.result(job):
                return
        made = await self._profile(file, asyncio.Event())
        preview = await self._preview(file)
        async with self.bench.result(job) as c:
            await files.profile_ready(
                c, file["id"], msgspec.to_builtins(made), made.rows, len(made.columns), preview
            )

    async def _profile(self, file: Any, stop: asyncio.Event) -> Profile:
        async with self.bench.table(file, stop) as table, self.bench.scratch_folder() as scratch:
            answer = await self.bench.step(
                "profile", {"table": str(table)}, scratch, reads=[table], cancelled=stop
            )
            return msgspec.json.decode(answer, type=Profile)

    async def _preview(self, file: Any) -> Any:
        """The first rows, as plain JSON; None where they cannot be had, which is no reason for a table that
        was profiled to count as unreadable."""
        stop = asyncio.Event()
        try:
            async with self.bench.table(file, stop) as table, self.bench.scratch_folder() as scratch:
                answer = await self.bench.step(
                    "preview", {"table": str(table)}, scratch, reads=[table], cancelled=stop
                )
                return msgspec.json.decode(answer)
        except ChildFailed as error:
            log.warning("no preview", error=error.detail)
            return None

    async def profile_given_up(self, job: Job, error: TrainyardError) -> None:
        async with self.bench.result(job) as c:
            await files.profile_failed(c, job.subject_id, job.user_id, error.detail)

    # --- plan -----------------------------------------------------------------------------------

    async def plan(self, job: Job) -> None:
        async with self.bench.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            started = task is not None and await tasks.begin(
                c, task["id"], Stage.PROFILING, "Reading the table"
            )
            file = await files.for_work(c, task["file_id"], job.user_id) if started else None
            if not started:
                # cancelled or deleted while it waited; decided and ended in one transaction, or a resume
                # in between would find this job there and lose it
                await tasks.cancelled_unplanned(c, job.subject_id, job.user_id)
                await jobs.done(c, job)
        if not started:
            return
        await self.bench.changed(task["id"])
        if task["plan"] is not None:
            await self._resume(job, task)
            return
        if file is None or file["deleted_at"] is not None:
            raise CannotTrain("the file was deleted before training began")
        if file["status"] == "failed":
            raise TableUnreadable(file["error"])
        plan = await self._plan(job, task, file)
        asked: list[Asked] = []
        async with self.bench.result(job) as c:
            if await tasks.planned(c, task["id"], plan, plan.warnings):
                models = [MODELS[plan.task_type][slug] for slug in plan.models]
                await candidates.insert_all(c, task["id"], job.user_id, models)
                asked = await self._fits(c, job, plan, await candidates.waiting(c, task["id"]))
            else:
                await tasks.cancelled_unplanned(c, task["id"], job.user_id)
        log.info("planned", task_type=plan.task_type, models=len(plan.models))
        await self.bench.changed(task["id"], *asked)

    async def _plan(self, job: Job, task: Any, file: Any) -> Plan:
        """In children that a cancel stops, and the end of the time budget. A task that overtakes its
        file's profile makes one itself."""
        request = needs.stored(task["request"])
        left = request.time_budget_s if task["remaining_s"] is None else task["remaining_s"]
        try:
            async with asyncio.timeout(left), self.bench.watch(job, task["id"]) as (_, stop):
                if file["status"] == "ready":
                    profile = msgspec.convert(file["profile"], Profile)
                else:
                    profile = await self._profile(file, stop)
                async with self.bench.table(file, stop) as table, self.bench.scratch_folder() as scratch:
                    payload = {
                        "table": str(table),
                        "request": request,
                        "profile": profile,
                        "memory_bytes": cluster.room(self.bench.memory, self.bench.cluster),
                        "cluster": self.bench.cluster is not None,
                    }
                    answer = await self.bench.step("plan", payload, scratch, reads=[table], cancelled=stop)
                    return msgspec.json.decode(answer, type=Plan)
        except TimeoutError:
            raise CannotTrain(
                f"the time budget of {request.time_budget_s:g} s ended while the table was still being read: "
                "allow more time or upload fewer rows"
            ) from None

    async def _resume(self, job: Job, task: Any) -> None:
        """Go on from what is done: everything else is queued again, with attempts that go on counting."""
        asked: list[Asked] = []
        async with self.bench.result(job) as c:
            if await tasks.goes_on(c, task["id"]):
                plan = msgspec.convert(task["plan"], Plan)
                asked = await self._fits(c, job, plan, await candidates.requeue(c, task["id"]))
                asked += await self.bench.go_on(c, task["id"], job.user_id)
        log.info("resumed", models=len(asked))
        await self.bench.changed(task["id"], *asked)

    async def _fits(self, c: Connection, job: Job, plan: Plan, rows: Sequence[Any]) -> list[Asked]:
        """A job for each candidate (`id, attempt, model_name, task_type`), with the place of the plan's `job`
        in the queue. Ensembles wait without one until there is all that they can be made of."""
        return [
            (
                JobKind.FIT,
                await jobs.insert(
                    c,
                    JobKind.FIT,
                    row["id"],
                    job.user_id,
                    attempt=row["attempt"],
                    queued_at=job.queued_at,
                    needs=[
                        needs.of_model(row["task_type"], row["model_name"]),
                        *([needs.CLUSTER] if cluster.spreads(plan.details, row["model_name"]) else []),
                    ],
                ),
            )
            for row in rows
            if row["model_name"] not in ENSEMBLES
        ]

    async def task_given_up(self, job: Job, error: TrainyardError) -> None:
        async with self.bench.result(job) as c:
            if isinstance(error, Stopped):
                await tasks.cancelled_unplanned(c, job.subject_id, job.user_id)
            elif await tasks.for_work(c, job.subject_id, job.user_id) is not None:  # the user's own
                await candidates.skip_queued(c, job.subject_id, error.detail)
                await tasks.failed(c, job.subject_id, problem(error))
        await self.bench.changed(job.subject_id)

    # --- finish ---------------------------------------------------------------------------------

    async def finish(self, job: Job) -> None:
        """Write the report and end the task. Asked for by a cancel, it first takes back what waits;
        what runs stops within a second, and the last of it asks for `finish` again."""
        bench = self.bench
        async with bench.db.transaction() as c:
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            if task is not None and task["cancel_requested"]:
                await candidates.skip_queued(c, task["id"], Stopped().detail)
            rows = await candidates.of_task(c, job.subject_id, job.user_id)
            file = await files.for_work(c, task["file_id"], job.user_id) if task else None
        if task is None or task["deleted_at"] is not None or task["plan"] is None:
            async with bench.result(job):
                return  # deleted; or cancelled while it was planned, which the plan notices
        if any(row["status"] in ("queued", "running") for row in rows):
            await self._still_running(job)
            return
        report = finish.report_of(task, rows, file)
        # a resumed task has a report already, under attempts that were counted then
        attempt = (task["report_attempt"] or 0) + job.attempt
        stored = await finish.store_report(bench.store, job.user_id, task["id"], attempt, report)
        status, message, error = finish.verdict(task, rows)
        async with bench.result(job) as c:
            await tasks.finished(
                c,
                task["id"],
                status=status,
                message=message,
                warnings=finish.warnings_of(task, rows),
                report=stored,
                report_attempt=attempt,
                error=error,
            )
            await bundles.outdated(c, task["id"])
        log.info("finished", status=status, message=message)
        await bench.changed(task["id"])

    async def _still_running(self, job: Job) -> None:
        """End this job; whoever ends the last candidate asks for another. Had that happened already, it
        would have found this one, which then is to be done again."""
        async with self.bench.db.transaction() as c:
            await tasks.lock(c, job.subject_id)
            if not await jobs.holds(c, job):
                raise LeaseLost
            standing = await candidates.standing(c, job.subject_id)
            if standing.fits or standing.ensembles:
                await jobs.done(c, job)
            else:
                await jobs.wait(c, job, delay_s=0, error="")
