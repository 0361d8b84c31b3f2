"""Putting a backup into an empty installation: its objects first, then all of its rows in one transaction.

Whoever looks meanwhile sees objects that no row speaks of yet, never a row without its objects. A restore
that was interrupted is simply begun anew: what it has put is put again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import asyncpg
import stamina

from shared.backup import tables
from shared.backup.archive import Archive, Manifest, Stored
from shared.backup.inventory import Bucket, bucket_name
from shared.backup.owner import owner
from shared.db import migrate
from shared.errors import ConfigurationError, StorageCorrupt, StorageUnavailable
from shared.settings import Postgres
from shared.storage import PROBE_PREFIX, Store

AT_A_TIME = 4
CHUNK_BYTES = 512 * 1024
BUCKETS: tuple[Bucket, ...] = ("datasets", "artifacts", "bundles", "models")

Say = Callable[[str], None]

# Work that was under way is held by nobody here, and was not given up by anybody.
_FREE = """
    UPDATE trainyard.jobs SET tries = greatest(tries - 1, 0), owner = NULL, lease_until = NULL, sent_at = NULL
    WHERE lease_until IS NOT NULL
"""
# The time between the backup and now is no part of a run's budget.
_GO_ON = "UPDATE trainyard.tasks SET started_at = started_at + (now() - $1) WHERE status = 'running'"


async def restore(
    postgres: Postgres, store: Store, folder: Path, *, name: str | None = None, say: Say
) -> Manifest:
    """The backup `name` of `folder`, or the latest, into a database and a store.

    Raises ConfigurationError where that is not an empty installation or the backup is not one that this
    version can read, StorageCorrupt for a backup that is damaged; nothing was put then.
    """
    archive = Archive(folder)
    manifest = archive.manifest(name)
    _known(manifest)
    if faults := archive.check_files(manifest, digests=False):
        raise StorageCorrupt(f"the backup is damaged: {'; '.join(faults[:5])}")
    await _migrate_up_to(postgres, manifest)
    async with owner(postgres) as c:
        await store.ensure_buckets()
        await _refuse_rows(c)
        await _refuse_objects(store, archive, manifest)
        await _put_objects(store, archive, manifest, say)
        await _put_rows(c, folder / manifest.name, manifest)
        say(f"{manifest.rows} rows are there")
    await migrate.migrate(postgres)
    async with owner(postgres) as c:
        await c.execute("ANALYZE")
    return manifest


def _known(manifest: Manifest) -> None:
    """Raise ConfigurationError where the rows were written by a later version, or by another one."""
    ours = {number: sql for number, _, sql in migrate.migrations()}
    for applied in manifest.migrations:
        sql = ours.get(applied.number)
        if sql is None:
            raise ConfigurationError(
                f"the backup was made by a later version (migration {applied.name}): restore it with that one"
            )
        if hashlib.sha256(sql.encode()).hexdigest() != applied.sha256:
            raise ConfigurationError(f"the backup was made with another migration {applied.name}")


async def _migrate_up_to(postgres: Postgres, manifest: Manifest) -> None:
    """The schema that the rows were written under; what came after it is applied to them later."""
    last = max(migration.number for migration in manifest.migrations)
    await migrate.migrate(postgres, up_to=last)
    async with owner(postgres) as c:
        applied = await tables.migrations(c)
    if applied[-1].number > last:
        raise ConfigurationError(
            f"the database is at migration {applied[-1].name} already, the backup is from before it:"
            " restore into a new database"
        )


async def _refuse_rows(c: asyncpg.Connection) -> None:
    if there := await tables.rows_in(c, await tables.tables(c)):
        raise ConfigurationError(f"the database is not empty: there are rows in {', '.join(there)}")


async def _refuse_objects(store: Store, archive: Archive, manifest: Manifest) -> None:
    """What is there may only be what an interrupted restore of this backup has put."""
    there = {
        (bucket, item.key)
        for bucket in dict.fromkeys(bucket_name(store, b) for b in BUCKETS)
        async for item in store.list(bucket, "")
        if not item.key.startswith(PROBE_PREFIX)
    }
    if there:
        there -= {(bucket_name(store, o.bucket), o.key) for o in archive.objects(manifest.name)}
    if there:
        bucket, key = min(there)
        raise ConfigurationError(
            f"the store is not empty: there are {len(there)} objects that are not of this backup,"
            f" such as {bucket}/{key}"
        )


async def _put_objects(store: Store, archive: Archive, manifest: Manifest, say: Say) -> None:
    slots = asyncio.Semaphore(AT_A_TIME)
    count = 0

    async def put(stored: Stored) -> None:
        nonlocal count
        try:
            async for attempt in stamina.retry_context(on=StorageUnavailable, attempts=6, timeout=300):
                with attempt:
                    await _put(store, archive.bytes_of(stored.sha256), stored)
        finally:
            slots.release()
        count += 1
        if count % 1000 == 0:
            say(f"{count} of {manifest.objects} objects")

    try:
        async with asyncio.TaskGroup() as group:
            for stored in archive.objects(manifest.name):
                await slots.acquire()  # so that there are no more tasks than are at work
                group.create_task(put(stored))
    except* (StorageCorrupt, StorageUnavailable) as failed:
        raise failed.exceptions[0] from None
    say(f"{count} objects are there")


async def _put(store: Store, path: Path, stored: Stored) -> None:
    put = await store.put_stream(
        bucket_name(store, stored.bucket),
        stored.key,
        _checked(path, stored),
        content_type=stored.content_type,
        filename=stored.filename,
    )
    assert put.sha256 == stored.sha256, "what was read is what was sent"


async def _checked(path: Path, stored: Stored) -> AsyncGenerator[bytes, None]:
    """A file's bytes; raises StorageCorrupt at its end where they are not those that were backed up, so that
    nothing of them stays in the store."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != stored.sha256:
        raise StorageCorrupt(f"the backup is damaged: {path.name} does not have the bytes of {stored.key}")


async def _put_rows(c: asyncpg.Connection, folder: Path, manifest: Manifest) -> None:
    """All of them or none."""
    stored = {table.table: table for table in manifest.tables}
    try:
        async with c.transaction():
            there = await tables.tables(c)
            if missing := stored.keys() - {table.full_name for table in there}:
                raise ConfigurationError(f"the database has no {', '.join(sorted(missing))}")
            for table in there:
                if table.full_name in stored:
                    await tables.read(c, table, stored[table.full_name], folder)
            await c.execute(_FREE)
            await c.execute(_GO_ON, manifest.snapshot_at)
    except asyncpg.ForeignKeyViolationError as error:
        if 'in table "users"' not in str(error.detail):
            raise
        raise ConfigurationError(
            f"auth.users belongs to somebody else here and lacks a user ({error.detail}):"
            " restore the identity provider's users first"
        ) from None
