"""The packager's work on single things: build a ZIP, save a model, purge what was deleted. What it does with
whole accounts is in `export` and `erase`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import structlog

from services.packager.bundle import zip_contents
from services.packager.contents import entries, is_whole
from services.packager.erase import EraseJobs
from services.packager.export import ExportJobs
from shared.contracts.states import ConversionFormat, JobKind, TaskStatus
from shared.db import backups, bundles, candidates, conversions, files, jobs, models, tasks
from shared.db.jobs import Job
from shared.db.pool import Connection
from shared.errors import ArtifactRefused, LeaseLost, TrainyardError
from shared.metrics import ARTIFACTS_REFUSED, BUNDLE_BYTES
from shared.resources import Resources
from shared.settings import S3, Retention
from shared.signing import KeyRing
from shared.storage import bundle_key, dataset_key, model_key, safe_name, saved_model_path, task_prefix
from shared.worker import Handler

log = structlog.get_logger(__name__)

T = TypeVar("T")

PICKLE = "application/octet-stream"

BACKUP_S = 5.0
"""How soon a deletion that waits for a backup looks again."""

GRAPHS_S = 60.0
"""How long a ZIP waits at most for its models as ONNX."""
GRAPHS_BEGUN_S = 10.0
"""How long it waits for a trainer to begin."""


class ArtifactGone(TrainyardError):
    """The run or this model of it was deleted before it had been saved"""

    slug = "artifact-gone"


class RunGoesOn(TrainyardError):
    """The run was resumed: ask for its ZIP again when it has ended"""

    slug = "run-goes-on"


class PackagerJobs:
    """Handlers over what the process has open."""

    def __init__(self, resources: Resources, s3: S3, retention: Retention, keys: KeyRing) -> None:
        self.keys = keys
        self.db = resources.db
        self.store = resources.store
        self.bundle_life_s = retention.bundle_ttl_s + s3.signed_url_ttl_s
        self.exports = ExportJobs(resources, self.bundle_life_s)
        self.erasures = EraseJobs(resources)

    def handlers(self) -> dict[JobKind, Handler]:
        return {
            JobKind.BUNDLE: Handler(self.bundle, self.bundle_given_up),
            JobKind.SAVE: Handler(self.save, self.save_given_up),
            JobKind.PURGE: Handler(self.purge, self.purge_given_up),
            JobKind.EXPORT: Handler(self.exports.export, self.exports.given_up),
            JobKind.ERASE: Handler(self.erasures.erase, self.erasures.given_up),
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

    # --- bundle ---------------------------------------------------------------------------------

    async def bundle(self, job: Job) -> None:
        """Stream every file of the run from the store through a ZIP into the store."""
        async with self.db.transaction() as c:
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            rows = await candidates.of_task(c, job.subject_id, job.user_id)
        if task is None or task["deleted_at"] is not None:
            async with self._result(job):
                return
        if task["status"] in (TaskStatus.QUEUED, TaskStatus.RUNNING):
            raise RunGoesOn
        if not is_whole(task):
            raise TrainyardError("the run has nothing to pack")
        if await self._waits_for_graphs(job, task):
            return
        async with self.db.transaction() as c:
            graphs = await conversions.of_task(c, task["id"], job.user_id, ConversionFormat.ONNX)
        packed = entries(self.store, task, rows, graphs)
        total = sum(entry.size or 0 for entry in packed) or 1
        last_share = 0.0

        async def told(written: int) -> None:
            nonlocal last_share
            if (share := min(written / total, 0.99)) - last_share >= 0.05:
                last_share = share
                async with self.db.transaction() as c:
                    await bundles.progress(c, task["id"], share)

        key = bundle_key(job.user_id, task["id"], job.attempt)
        archive = zip_contents(_each(packed))
        stored = await self.store.put_contents(
            self.store.bundles,
            key,
            archive,
            content_type="application/zip",
            filename=f"all_models_{task['id']}.zip",
            told=told,
        )
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            same = await bundles.packs(c, task["id"], task["report_attempt"])
            if same:
                await bundles.ready(
                    c, task["id"], job.attempt, stored.size_bytes, stored.sha256, self.bundle_life_s
                )
                await jobs.done(c, job)
            elif same is False:  # resumed and ended again meanwhile: what was packed is not that run
                await jobs.wait(c, job, delay_s=0, error="the run was resumed while it was packed")
                return
        if same is None:
            raise RunGoesOn
        BUNDLE_BYTES.inc(stored.size_bytes)
        log.info("bundle ready", size_bytes=stored.size_bytes, members=len(packed))
        async with self.db.transaction() as c:
            if not await backups.may_delete(c):
                return  # the one before is in a backup that is being made; it goes with the next, or the run
        async for old in self.store.list(self.store.bundles, task_prefix(job.user_id, task["id"])):
            if old.key != key:  # of an earlier attempt, or of a bundle that had expired
                await self.store.delete(self.store.bundles, old.key)

    async def _waits_for_graphs(self, job: Job, task: Any) -> bool:
        """Give the job back while trainers still make ONNX of the run's models, which were asked for with the
        ZIP; not for long: what takes its time, or has no trainer, is left out and said to be."""
        async with self.db.transaction() as c:
            waits = await conversions.worth_waiting_for(
                c,
                task["id"],
                job.user_id,
                ConversionFormat.ONNX,
                longest_s=GRAPHS_S,
                begun_within_s=GRAPHS_BEGUN_S,
            )
            if waits:
                await jobs.wait(c, job, delay_s=0.25, error="its models are still being converted")
        return waits

    async def bundle_given_up(self, job: Job, error: TrainyardError) -> None:
        async with self._result(job) as c:
            await bundles.failed(c, job.subject_id, job.user_id, job.attempt, error.detail)

    # --- save -----------------------------------------------------------------------------------

    async def save(self, job: Job) -> None:
        """Copy one candidate's pickle into the registry's bucket, then turn the row `ready`."""
        async with self.db.transaction() as c:
            model = await models.for_work(c, job.subject_id, job.user_id)
        if model is None or model["status"] != "saving":
            async with self._result(job):
                return
        if model["artifact_sha256"] is None:
            raise ArtifactGone
        artifact, signature = models.artifact(model)
        self.keys.verify(artifact, signature)
        assert signature is not None, "verified"
        # the path comes from the row's own time: an attempt that follows a dead one writes the same object
        path = saved_model_path(job.user_id, model["model_name"], model["created_at"])
        stored = await self.store.copy(
            self.store.artifacts,
            model_key(job.user_id, model["task_id"], model["candidate_slug"], model["candidate_attempt"]),
            self.store.models,
            path,
            content_type=PICKLE,
            # as the API names it, for stores that hand out the name given here and no other
            filename=f"{safe_name(model['model_name'])}.pkl",
            sha256=model["artifact_sha256"],
            exclusive=job.attempt == 1,
        )
        async with self._result(job) as c:
            await models.ready(
                c,
                model["id"],
                file_path=path,
                file_size=stored.size_bytes,
                sha256=stored.sha256,
                signature=signature,
                crc32=model["artifact_crc32"],  # the copy has the same bytes
                etag=stored.etag,
            )
        log.info("model saved", size_bytes=stored.size_bytes)

    async def save_given_up(self, job: Job, error: TrainyardError) -> None:
        if isinstance(error, ArtifactRefused):
            ARTIFACTS_REFUSED.labels(job.kind).inc()
            log.error("artifact refused", model_id=str(job.subject_id), reason=error.detail)
        async with self._result(job) as c:
            await models.failed(c, job.subject_id, job.user_id, error.detail)

    # --- purge ----------------------------------------------------------------------------------

    async def purge(self, job: Job) -> None:
        """Remove the objects, then the rows, of a deleted run or file."""
        async with self.db.transaction() as c:
            if not await backups.may_delete(c):
                await jobs.wait(c, job, delay_s=BACKUP_S, error="a backup is being made")
                return
            task = await tasks.for_work(c, job.subject_id, job.user_id)
            file = await files.for_work(c, job.subject_id, job.user_id) if task is None else None
            if task is not None:
                busy = await jobs.stop_task(c, task["id"]) + await models.saving_from(c, task["id"])
        if task is not None and task["deleted_at"] is not None:
            if busy:  # its workers stop within a second; models still being saved are copied first
                await self._later(job)
                return
            prefix = task_prefix(job.user_id, task["id"])
            await self.store.delete_prefix(self.store.artifacts, prefix)
            await self.store.delete_prefix(self.store.bundles, prefix)
        if file is not None and file["deleted_at"] is not None:
            await self.store.delete(self.store.datasets, dataset_key(job.user_id, file["id"]))
        async with self._result(job) as c:
            await tasks.delete_row(c, job.subject_id, job.user_id)
            await files.delete_row(c, job.subject_id, job.user_id)
        log.info("purged", what="run" if task is not None else "file")

    async def _later(self, job: Job) -> None:
        async with self.db.transaction() as c:
            await jobs.wait(c, job, delay_s=1.0, error="its work has not stopped yet")

    async def purge_given_up(self, job: Job, error: TrainyardError) -> None:
        """Deleting is never given up: it is tried again every few minutes until the store lets it."""
        log.error("purge postponed", reason=error.detail)
        async with self.db.transaction() as c:
            await jobs.start_over(c, job, delay_s=300.0, error=error.detail)


async def _each(items: list[T]) -> AsyncIterator[T]:
    for item in items:
        yield item
