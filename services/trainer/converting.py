"""`convert`, `convert_onnx`: one model in another format, from its claim to its row. Whoever asked is
waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from services.trainer.child import ChildFailed
from services.trainer.outcome import ONNX_FILE, SKOPS_FILE, Converted, ConvertedOnnx, FitOutcome
from services.trainer.workbench import TICK_S, Patience, Stopped, Workbench
from shared.contracts.downloads import not_onnx, not_skops
from shared.contracts.states import ConversionFormat, JobKind, TaskType
from shared.contracts.training import Plan
from shared.db import candidates, conversions, files, jobs
from shared.db.jobs import Job
from shared.errors import ArtifactRefused, NotConvertible, TrainyardError
from shared.metrics import ARTIFACTS_REFUSED
from shared.storage import model_key, onnx_key, skops_key

log = structlog.get_logger(__name__)

FORMATS = {JobKind.CONVERT: ConversionFormat.SKOPS, JobKind.CONVERT_ONNX: ConversionFormat.ONNX}
CONVERT_S = 300.0
"""Seconds at most for reading, writing and reading again; large forests take some tens."""
STORE_AWAY_S = 30.0
"""How long a file that is made waits for a store that is away."""
BUSY_S = 0.25
"""How long a conversion is left to other trainers while this one has one under way."""


class Made(Struct):
    """A file that a child left, and what its row says of it."""

    path: Path
    facts: dict[str, Any]


class ConvertJobs:
    """One at a time in a trainer: beside its fits, whose share of the memory is not for this. A second one
    is given back at once, so that it neither waits for what another trainer could begin nor keeps reports
    from the lane that it would wait in."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.alone = asyncio.Lock()

    async def convert(self, job: Job) -> None:
        if self.alone.locked():
            async with self.bench.db.transaction() as c:
                await jobs.wait(c, job, delay_s=BUSY_S, error="its trainer had another to convert")
            return
        async with self.alone:
            await self._convert(job, FORMATS[job.kind])

    async def _convert(self, job: Job, form: ConversionFormat) -> None:
        bench, store = self.bench, self.bench.store
        async with bench.db.transaction() as c:
            row = await conversions.for_work(c, job.subject_id, job.user_id, form)
        if row is None:  # it is there already, or its run is going
            async with bench.result(job):
                return
        refusal = {ConversionFormat.SKOPS: not_skops, ConversionFormat.ONNX: not_onnx}[form]
        if reason := refusal(TaskType(row["task_type"]), row["model_name"]):
            raise NotConvertible(reason)
        bench.keys.verify(*candidates.artifact(row))
        user_id, task_id, slug, attempt = job.user_id, row["task_id"], row["model_name"], row["attempt"]
        outcome = msgspec.convert(row["outcome"], FitOutcome)
        async with self._watch(job, form) as stop, bench.scratch_folder() as scratch:
            source = scratch / "artifact"
            await store.get_file(
                store.artifacts, model_key(user_id, task_id, slug, attempt), source, sha256=row["sha256"]
            )
            given = {"source": source, "sha256": row["sha256"]}
            if form is ConversionFormat.SKOPS:
                made = await self._skops(given, outcome, scratch, stop)
            else:
                made = await self._onnx(given, job, row, scratch, stop)
            key_of = skops_key if form is ConversionFormat.SKOPS else onnx_key
            key = key_of(user_id, task_id, slug, attempt, job.attempt)
            patience = Patience(until=asyncio.get_running_loop().time() + STORE_AWAY_S, stop=stop)
            stored = await patience(
                store.put_file,
                store.artifacts,
                key,
                made.path,
                content_type="application/octet-stream",
                filename=f"{slug}_{task_id}.{form}",
            )
        async with bench.result(job) as c:
            await conversions.ready(
                c,
                job.subject_id,
                form,
                job.attempt,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                crc32=stored.crc32,
                etag=stored.etag,
                **made.facts,
            )
        log.info("converted", model_name=slug, format=form, size_bytes=stored.size_bytes)
        name = f"/{made.path.name}"
        async for old in store.list(store.artifacts, key.removesuffix(f"{job.attempt}{name}")):
            if old.key.endswith(name) and old.key != key:  # of an attempt that died before its row
                await store.delete(store.artifacts, old.key)

    async def _skops(
        self, given: dict[str, Any], outcome: FitOutcome, scratch: Path, stop: asyncio.Event
    ) -> Made:
        payload = {**given, "example": outcome.example}
        answer = await self.bench.step("convert", payload, scratch, timeout_s=CONVERT_S, cancelled=stop)
        made = msgspec.json.decode(answer, type=Converted)
        return Made(
            scratch / SKOPS_FILE,
            {"types": made.types, "facts": None, "requires": [*outcome.packages, *made.requires]},
        )

    async def _onnx(
        self, given: dict[str, Any], job: Job, row: Any, scratch: Path, stop: asyncio.Event
    ) -> Made:
        """With the run's table, of whose held-out rows both have to predict the same."""
        async with self.bench.db.transaction() as c:
            file = row["file_id"] and await files.for_work(c, row["file_id"], job.user_id)
        if file is None or file["deleted_at"] is not None:
            raise NotConvertible(
                "its table was deleted, so that there is nothing to compare its predictions on"
            )
        async with self.bench.table(file, stop) as table:
            payload = {**given, "table": str(table), "plan": msgspec.convert(row["plan"], Plan)}
            answer = await self.bench.step(
                "convert_onnx", payload, scratch, reads=[table], timeout_s=CONVERT_S, cancelled=stop
            )
        made = msgspec.json.decode(answer, type=ConvertedOnnx)
        return Made(
            scratch / ONNX_FILE,
            {"types": None, "facts": msgspec.to_builtins(made.facts), "requires": made.requires},
        )

    @contextlib.asynccontextmanager
    async def _watch(self, job: Job, form: ConversionFormat) -> AsyncIterator[asyncio.Event]:
        """Set as soon as nobody wants it any more. Not the run's cancellation: what a cancelled run has done
        is there to be taken home."""
        stop = asyncio.Event()

        async def tick() -> None:
            while not stop.is_set():
                await asyncio.sleep(TICK_S)
                with contextlib.suppress(TrainyardError):  # Postgres away: the work goes on
                    async with self.bench.db.transaction() as c:
                        if not await conversions.wanted(c, job.subject_id, job.user_id, form):
                            stop.set()

        ticking = asyncio.create_task(tick())
        try:
            yield stop
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def given_up(self, job: Job, error: TrainyardError) -> None:
        if isinstance(error, Stopped):
            async with self.bench.result(job):
                return
        refused = isinstance(error, ArtifactRefused)
        if refused:
            ARTIFACTS_REFUSED.labels(job.kind).inc()
            log.error("artifact refused", candidate=str(job.subject_id), reason=error.detail)
        # with a key that is missing now it may be opened later
        final = isinstance(error, NotConvertible) or (refused and not error.context.get("key_missing"))
        async with self.bench.result(job) as c:
            reason = (
                f"The conversion failed: {error.detail}" if isinstance(error, ChildFailed) else error.detail
            )
            await conversions.failed(
                c, job.subject_id, job.user_id, FORMATS[job.kind], job.attempt, reason, final=final
            )
