"""`fit`: one candidate of one task, from its claim to its row."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from services.trainer.child import ChildFailed
from services.trainer.elsewhere import Elsewhere
from services.trainer.ensembling import Combining, NotWorthwhile
from services.trainer.outcome import (
    MAX_PREDICTIONS_BYTES,
    MODEL_FILE,
    PREDICTIONS_FILE,
    FitOutcome,
    Kept,
)
from services.trainer.workbench import Patience, Stopped, Workbench
from shared import needs
from shared.contracts.catalogue import ENSEMBLES, METRICS
from shared.contracts.training import Plan
from shared.db import candidates, files, jobs, tasks
from shared.db.candidates import Standing
from shared.db.jobs import Job
from shared.errors import CannotTrain, LeaseLost, TrainyardError
from shared.metrics import CANDIDATES
from shared.signing import Artifact
from shared.storage import model_key, plot_key, predictions_key

WORTHWHILE_S = 0.5
"""With less than this left a fit is not begun."""

ENSEMBLE_SHARE = 0.08
"""Of the budget, what the fits leave to the ensembles, which are made of them and of nothing else."""

STORE_AWAY_S = 60.0
"""How long a fit that is done waits with its result for a store that is away, at the least."""


def reserve_s(budget_s: float) -> float:
    """What the end of a budget is kept free for: storing the last artifact and the report."""
    return min(max(0.04 * budget_s, 0.6), 10.0)


def ensembling_s(budget_s: float) -> float:
    """What is kept free before that where ensembles are to come: they read what the fits predicted, which
    takes seconds however long the fits took."""
    return min(max(ENSEMBLE_SHARE * budget_s, 0.8), 60.0)


def best_so_far(plan: Plan, scores: list[float]) -> float | None:
    """Of what is done, in the sense of the plan's metric."""
    greater_is_better = METRICS[plan.task_type][plan.metric]
    return (max if greater_is_better else min)(scores, default=None)


def _too_late(seconds: float) -> ChildFailed:
    return ChildFailed(
        f"not done when the time budget ended, {seconds:.1f} s after it began", kind="deadline"
    )


class FitJobs:
    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.ensembles = Combining(bench)
        self.elsewhere = Elsewhere(bench)

    async def fit(self, job: Job) -> None:
        bench = self.bench
        async with bench.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            candidate = await candidates.begin(c, job.subject_id, job.user_id, job.attempt)
            if candidate is None:  # ended by somebody else meanwhile, or deleted
                await jobs.done(c, job)
                return
            task = await tasks.for_work(c, candidate["task_id"], job.user_id)
            standing = await candidates.standing(c, candidate["task_id"])
            file = await files.for_work(c, task["file_id"], job.user_id)
        await bench.changed(task["id"])
        if task["cancel_requested"] or task["deleted_at"] is not None:
            raise Stopped
        if file is None:
            raise CannotTrain("the file was deleted while it was being trained on")
        ensemble = candidate["model_name"] in ENSEMBLES
        request = needs.stored(task["request"])
        left = task["remaining_s"] - reserve_s(request.time_budget_s)
        if standing.ensembles and not ensemble:
            left -= ensembling_s(request.time_budget_s)
        if left < WORTHWHILE_S:
            await self._ended(job, candidate, "skipped", "the time budget was used up before it began")
            return
        ends = asyncio.get_running_loop().time() + left
        async with contextlib.AsyncExitStack() as stack:
            on_progress, stop = await stack.enter_async_context(bench.watch(job, task["id"]))
            scratch = await stack.enter_async_context(bench.scratch_folder())
            try:
                async with asyncio.timeout(left):
                    table = await stack.enter_async_context(bench.table(file, stop))
            except TimeoutError:
                raise _too_late(left) from None
            options = {"on_progress": on_progress, "cancelled": stop, "reads": [table]}
            plan = msgspec.convert(task["plan"], Plan)
            try:
                if ensemble:
                    combine = self.ensembles.combine(job, candidate, plan, table, scratch, ends, options)
                    outcome = await combine
                else:
                    outcome = await self._fitted(
                        job, candidate, plan, table, scratch, ends, standing, options
                    )
            except ChildFailed as error:
                if error.kind != "deadline":
                    raise
                raise _too_late(left) from None
            # a fit is dear: while the store is away its result waits here instead of being fitted again
            ends = max(ends, asyncio.get_running_loop().time() + STORE_AWAY_S)
            await self._store(job, candidate, outcome, scratch, Patience(until=ends, stop=stop))

    async def _fitted(
        self,
        job: Job,
        candidate: Any,
        plan: Plan,
        table: Path,
        scratch: Path,
        ends: float,
        standing: Standing,
        options: dict[str, Any],
    ) -> FitOutcome:
        bench = self.bench
        # what fetching the table took is gone
        left = max(ends - asyncio.get_running_loop().time(), WORTHWHILE_S)
        payload = {
            "table": str(table),
            "plan": plan,
            "model_name": candidate["model_name"],
            # twice its even share: candidates differ, and what one leaves over the next may use
            "soft_deadline_s": min(left, 2 * left * bench.slots / max(standing.fits, 1)),
            "threads": bench.threads,
            "best_so_far": best_so_far(plan, standing.scores),
        }
        if self.elsewhere.takes(plan, candidate["model_name"]):
            answer = await self.elsewhere.fit(job, candidate, plan, payload, scratch, ends, options)
        else:
            answer = await bench.step("fit", payload, scratch, timeout_s=left, **options)
        return msgspec.json.decode(answer, type=FitOutcome)

    async def _store(
        self, job: Job, candidate: Any, outcome: FitOutcome, scratch: Path, patience: Patience
    ) -> None:
        """Put the artifacts under this attempt's keys, then finish the row."""
        bench, store = self.bench, self.bench.store
        user_id, task_id, slug = job.user_id, candidate["task_id"], candidate["model_name"]
        stored = await patience(
            store.put_file,
            store.artifacts,
            model_key(user_id, task_id, slug, job.attempt),
            scratch / MODEL_FILE,
            content_type="application/octet-stream",
            filename=f"{slug}_{task_id}.pkl",
        )
        # its SHA-256 is that of the bytes that were sent, not of what the store says it has
        signature = bench.keys.sign(
            Artifact(sha256=stored.sha256, user_id=user_id, task_id=task_id, slug=slug, attempt=job.attempt)
        )
        outcome.predictions = None  # whatever the child says of them
        told = scratch / PREDICTIONS_FILE
        if slug not in ENSEMBLES and told.exists() and told.stat().st_size <= MAX_PREDICTIONS_BYTES:
            kept = await patience(
                store.put_file,
                store.artifacts,
                predictions_key(user_id, task_id, slug, job.attempt),
                told,
                content_type="application/octet-stream",
                filename=f"{slug}_{PREDICTIONS_FILE}",
            )
            outcome.predictions = Kept(kept.size_bytes, kept.sha256)
        for plot in outcome.plots:
            drawn = await patience(
                store.put_bytes,
                store.artifacts,
                plot_key(user_id, task_id, slug, job.attempt, plot.kind),
                plot.svg.encode(),
                content_type="image/svg+xml",
                filename=f"{slug}_{plot.kind}.svg",
            )
            # the store has the drawing; the row keeps its numbers
            plot.svg, plot.size_bytes, plot.sha256 = "", drawn.size_bytes, drawn.sha256
        async with bench.result(job) as c:
            recorded = await candidates.done(
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
                signature=signature,
                crc32=stored.crc32,
                etag=stored.etag,
                outcome=msgspec.to_builtins(outcome),
            )
            if not recorded:
                raise LeaseLost
            asked = await bench.go_on(c, task_id, user_id)
        CANDIDATES.labels(slug, "done").inc()
        await bench.changed(task_id, *asked)

    async def given_up(self, job: Job, error: TrainyardError) -> None:
        """One candidate's failure is its own row with a reason."""
        async with self.bench.db.transaction() as c:
            candidate = await candidates.get(c, job.subject_id, job.user_id)
        if candidate is None:
            async with self.bench.result(job):
                return
        # an ensemble that is late is left out: nobody waited for what the models alone don't have
        late = isinstance(error, ChildFailed) and error.kind == "deadline"
        left_out = late and candidate["model_name"] in ENSEMBLES
        skipped = left_out or isinstance(error, Stopped | NotWorthwhile)
        await self._ended(job, candidate, "skipped" if skipped else "failed", error.detail)

    async def _ended(self, job: Job, candidate: Any, status: str, reason: str) -> None:
        bench = self.bench
        async with bench.result(job) as c:
            await candidates.ended(c, candidate["id"], job.attempt, status, reason)
            asked = await bench.go_on(c, candidate["task_id"], job.user_id)
        CANDIDATES.labels(candidate["model_name"], status).inc()
        await bench.changed(candidate["task_id"], *asked)
