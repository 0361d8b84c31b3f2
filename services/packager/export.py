"""`export`: everything in an account as one ZIP, from the store through here into the store."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import structlog

from services.packager.account_json import DOCUMENTS_AT_A_TIME, ROWS_AT_A_TIME, account_json, each
from services.packager.bundle import SMALL_BYTES, Entry, zip_contents
from services.packager.contents import entries, stored_entry
from shared.contracts.accounts import AuditAction
from shared.contracts.states import BEST_MODEL, ConversionFormat
from shared.db import account, audit, backups, candidates, jobs
from shared.db.jobs import Job
from shared.errors import LeaseLost, StorageCorrupt, TrainyardError
from shared.metrics import BUNDLE_BYTES
from shared.resources import Resources
from shared.storage import (
    ObjectMissing,
    ObjectRef,
    Told,
    belongs_to,
    dataset_key,
    export_key,
    export_prefix,
    onnx_key,
    safe_filename,
    safe_name,
    skops_key,
)

log = structlog.get_logger(__name__)

LEFT_OUT = "LEFT_OUT.txt"
GONE = "deleted while the export was made, or lost"
MOST_DAMAGED = 20
"""Beyond so many objects that are not what was stored, something else is wrong."""

README = """Everything that Trainyard keeps in one account, as of {at}.

account.json                files with their profiles, runs with their requests, plans and results,
                            saved models, API keys (their names, never the keys), the audit trail
files/{{id}}/{{name}}           the tables as they were uploaded
runs/{{id}}/{{model}}.pkl       the models of a run; open them with joblib.load, with the versions that
                            the run's requirements.txt names, and only where you trust their source
runs/{{id}}/{{model}}.skops     the same without a pickle, where that was asked for
runs/{{id}}/{{model}}.onnx      the same as a graph for ONNX Runtime, where that was asked for
runs/{{id}}/plots/*.svg       their plots
runs/{{id}}/*                 the run's report: leaderboard.csv, README.md, predict.py ...
models/{{id}}/{{name}}.pkl      saved models, those in the trash too
SHA256SUMS                  the digest of every file here: sha256sum -c SHA256SUMS
LEFT_OUT.txt                what could not be packed and why; there only where something could not

The ids are those of account.json. What was deleted is not here.
"""


class AccountGoes(TrainyardError):
    """The account is being deleted"""

    slug = "account-goes"


class ExportJobs:
    """The handler and its reason, over what the process has open."""

    def __init__(self, resources: Resources, life_s: float) -> None:
        self.resources = resources
        self.db = resources.db
        self.store = resources.store
        self.life_s = life_s

    async def export(self, job: Job) -> None:
        """Build the ZIP, leaving out (and saying so) what is gone or damaged by the time it is its turn."""
        async with self.db.transaction() as c:
            total = await account.export_bytes(c, job.user_id) or 1
            wanted = await account.export_goes_on(c, job.user_id, 0.0)
        if not wanted:
            raise AccountGoes
        key = export_key(job.user_id, job.attempt)
        at = dt.datetime.now(dt.UTC)
        left_out: dict[str, str] = {}
        while True:
            contents = Contents(self.resources, job.user_id, at, left_out)
            archive = zip_contents(contents.entries())
            try:
                stored = await self.store.put_contents(
                    self.store.bundles,
                    key,
                    archive,
                    content_type="application/zip",
                    filename=f"trainyard_export_{at:%Y-%m-%d}.zip",
                    told=self._told(job.user_id, total),
                )
                break
            except (StorageCorrupt, ObjectMissing) as error:
                # found out in the middle of its member, where nothing can be taken back: once more without it
                member = contents.member_of(error)
                if member is None or member in left_out or len(left_out) >= MOST_DAMAGED:
                    raise
                left_out[member] = "the store does not hold what was put there"
                log.error("damaged object left out of an export", member=member, **_plain(error))
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            await account.export_ready(
                c, job.user_id, job.attempt, stored.size_bytes, stored.sha256, self.life_s
            )
            detail = {"size_bytes": stored.size_bytes, "left_out": len(contents.missing)}
            await audit.insert_by_worker(c, job.user_id, AuditAction.ACCOUNT_EXPORTED, detail)
            await jobs.done(c, job)
        BUNDLE_BYTES.inc(stored.size_bytes)
        log.info("account exported", size_bytes=stored.size_bytes, left_out=len(contents.missing))
        async with self.db.transaction() as c:
            if not await backups.may_delete(c):
                return  # the one before is in a backup that is being made; it goes with the next
        async for old in self.store.list(self.store.bundles, export_prefix(job.user_id)):
            if old.key != key:
                await self.store.delete(self.store.bundles, old.key)

    def _told(self, user_id: uuid.UUID, total: int) -> Told:
        """Records progress. Raises AccountGoes where the export is not wanted any more."""
        last_share = 0.0

        async def told(written: int) -> None:
            nonlocal last_share
            if (share := min(written / total, 0.99)) - last_share >= 0.02:
                last_share = share
                async with self.db.transaction() as c:
                    wanted = await account.export_goes_on(c, user_id, share)
                if not wanted:
                    raise AccountGoes

        return told

    async def given_up(self, job: Job, error: TrainyardError) -> None:
        async with self.db.transaction() as c:
            if not await jobs.holds(c, job):
                raise LeaseLost
            await account.export_failed(c, job.user_id, job.attempt, error.detail)
            await jobs.done(c, job)


class Contents:
    """The members of one account's ZIP, found and opened as their turn comes.

    `left_out`: members not to be packed, and why. `missing` is what was not, once all were asked for.
    """

    def __init__(
        self, resources: Resources, user_id: uuid.UUID, at: dt.datetime, left_out: dict[str, str]
    ) -> None:
        self.db = resources.db
        self.store = resources.store
        self.user_id = user_id
        self.at = at
        self.left_out = left_out
        self.missing: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}

    def member_of(self, error: TrainyardError) -> str | None:
        """The member that was being packed when the store said this of its object; None for another's."""
        where = (error.context.get("bucket", ""), error.context.get("key", ""))
        return error.context.get("member") or self._names.get(where)

    async def entries(self) -> AsyncIterator[Entry[ObjectRef]]:
        yield self._text("README.txt", README.format(at=f"{self.at:%Y-%m-%d %H:%M} UTC"))
        rows = account_json(self.db, self.user_id, self.at)
        yield Entry(name="account.json", size=None, mtime=self.at, chunks=rows)
        async for entry in self._stored():
            if entry.name in self.left_out:
                self.missing[entry.name] = self.left_out[entry.name]
                continue
            assert entry.source is not None
            self._names[entry.source.bucket, entry.source.key] = entry.name
            if entry.crc32 is not None and entry.source.size_bytes >= SMALL_BYTES:
                # before its name stands in the archive: what is gone can still be left out
                if await self.store.head(entry.source.bucket, entry.source.key) is None:
                    self.missing[entry.name] = GONE
                    continue
                yield entry
                continue
            chunks = _generator(entry.chunks)
            async with aclosing(chunks):
                try:
                    first = await anext(chunks, b"")
                except ObjectMissing:
                    self.missing[entry.name] = GONE
                    continue
                yield replace(entry, chunks=_rest(entry.name, first, chunks))
        if self.missing:
            lines = [f"{name}: {why}\n" for name, why in self.missing.items()]
            yield self._text(LEFT_OUT, "".join(lines))

    async def _stored(self) -> AsyncIterator[Entry[ObjectRef]]:
        """Whatever of the account is in the store."""
        store = self.store
        async for file in each(self.db, account.files, self.user_id, DOCUMENTS_AT_A_TIME):
            yield stored_entry(
                store,
                f"files/{file['id']}/{safe_filename(file['name'])}",
                file["created_at"],
                store.datasets,
                dataset_key(self.user_id, file["id"]),
                file,
                squeeze=False,  # an upload may be gigabytes, and the store is faster than that
            )
        async for run in each(self.db, account.runs, self.user_id, DOCUMENTS_AT_A_TIME):
            async with self.db.transaction() as c:
                rows = await candidates.of_task(c, run["id"], self.user_id)
                converted = await account.conversions(c, self.user_id, run["id"])
            for entry in entries(store, run, rows):
                if entry.name.partition(".")[0] != BEST_MODEL:  # account.json says which one that is
                    yield replace(entry, name=f"runs/{run['id']}/{entry.name}")
            for row in converted:
                slug, attempt = row["model_name"], row["attempt"]
                key_of = skops_key if row["format"] == ConversionFormat.SKOPS else onnx_key
                key = key_of(self.user_id, run["id"], slug, attempt, row["conversion"])
                name = f"runs/{run['id']}/{slug}.{row['format']}"
                yield stored_entry(store, name, run["created_at"], store.artifacts, key, row)
        async for model in each(self.db, account.saved_models, self.user_id, ROWS_AT_A_TIME):
            if model["status"] == "ready" and belongs_to(self.user_id, model["file_path"]):
                name = f"models/{model['id']}/{safe_name(model['model_name'])}.pkl"
                facts = dict(model) | {"size_bytes": model["file_size"]}
                yield stored_entry(store, name, model["created_at"], store.models, model["file_path"], facts)

    def _text(self, name: str, text: str) -> Entry[ObjectRef]:
        content = text.encode()

        async def once() -> AsyncIterator[bytes]:
            yield content

        return Entry(name=name, size=len(content), mtime=self.at, chunks=once())


async def _generator(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield chunk


async def _rest(name: str, first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An object that vanishes in the middle of its member is told by that member."""
    yield first
    try:
        async for chunk in chunks:
            yield chunk
    except (ObjectMissing, StorageCorrupt) as error:
        raise StorageCorrupt(member=name) from error


def _plain(error: TrainyardError) -> dict[str, str]:
    return {k: str(v) for k, v in error.context.items() if k != "member"}
