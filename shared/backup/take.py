"""Making a backup: the rows of one moment, then every object that those rows need.

The order is what keeps the two consistent (`shared.db.backups`): deletions are held up, one snapshot gives
the rows and the list of objects, then the objects are fetched, each with its digest checked, while everything
else goes on. What comes into being after the snapshot is not in the backup, rows and objects alike.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import asyncpg
import msgspec
import stamina

from shared.backup import inventory, tables
from shared.backup.archive import OBJECTS, Archive, Manifest, Stored, sync
from shared.backup.inventory import Needed, bucket_name
from shared.backup.owner import owner
from shared.db import backups
from shared.errors import ConfigurationError, StorageCorrupt, StorageUnavailable
from shared.settings import Postgres
from shared.storage import ObjectMissing, Store

AT_A_TIME = 8
BATCH = 200
WANTED = "wanted.jsonl"
MOST_FAULTS = 1000
"""Beyond so many the store is another one, or broken: each further fault would say the same."""

Say = Callable[[str], None]


async def take(postgres: Postgres, store: Store, folder: Path, *, say: Say) -> Manifest:
    """A backup of everything in `folder`; its manifest names what rows needed and was not there.

    Raises ConfigurationError, StorageUnavailable and OSError (no room left): there is then no backup of this
    moment, and those before it are as they were."""
    began = time.monotonic()
    with Archive.held(folder) as archive:
        async with owner(postgres) as c:
            if not await _hold_deletions(c):
                raise ConfigurationError("another backup of this database is being made")
            migrated = await tables.migrations(c)
            with archive.draft(dt.datetime.now(dt.UTC)) as draft:
                written, at, wanted = await _snapshot(c, draft)
                say(f"{sum(table.rows for table in written)} rows, which need {wanted} objects")
                fetching = _Fetching(store, archive, say)
                await fetching.run(draft, wanted)
                # a session that is gone has let go of the lock: its question fails, and there is no backup
                manifest = Manifest(
                    name=draft.name.removeprefix(".").removesuffix(".part"),
                    snapshot_at=at,
                    seconds=round(time.monotonic() - began, 3),
                    postgres=await c.fetchval("SHOW server_version"),
                    migrations=migrated,
                    tables=written,
                    objects=fetching.kept,
                    objects_bytes=fetching.kept_bytes,
                    objects_sha256=tables.sha256_of(draft / OBJECTS),
                    fetched=fetching.fetched,
                    fetched_bytes=fetching.fetched_bytes,
                    faults=fetching.faults,
                )
                (draft / WANTED).unlink()
                archive.write_manifest(draft, manifest)
    return manifest


async def _hold_deletions(c: asyncpg.Connection) -> bool:
    """From here to the end of this session nothing is deleted; False where another backup is being made."""
    taken = await c.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database"
        " WHERE datname = current_database()) AND classid = 0 AND objid = $1)",
        backups.LOCK,
    )
    if taken:
        return False
    # waits for transactions that delete, and comes before those that would begin to
    await c.execute("SELECT pg_advisory_lock($1)", backups.LOCK)
    return True


async def _snapshot(c: asyncpg.Connection, draft: Path) -> tuple[list[tables.TableFile], dt.datetime, int]:
    """Rows and list of objects of one moment; how many objects there are to fetch."""
    count = 0
    async with c.transaction(isolation="repeatable_read", readonly=True):
        at = await c.fetchval("SELECT now()")
        written = [await tables.write(c, table, draft) for table in await tables.tables(c)]
        with (draft / WANTED).open("wb") as file:
            for user in await inventory.users(c):
                for needed in await inventory.of_user(c, user):
                    file.write(msgspec.json.encode(needed) + b"\n")
                    count += 1
    return written, at, count


class _Fetching:
    """Every object into the pool, unless it is there from an earlier backup."""

    def __init__(self, store: Store, archive: Archive, say: Say) -> None:
        self.store = store
        self.archive = archive
        self.say = say
        self.kept = self.kept_bytes = self.fetched = self.fetched_bytes = 0
        self.faults: list[str] = []
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._locks: dict[str, asyncio.Lock] = {}

    async def run(self, draft: Path, count: int) -> None:
        done, told = 0, time.monotonic()
        with gzip.open(draft / OBJECTS, "xb") as objects:
            for batch in _batches(_wanted(draft / WANTED)):
                for stored in await asyncio.gather(*map(self._keep, batch)):
                    if stored is not None:
                        objects.write(msgspec.json.encode(stored) + b"\n")
                        self.kept += 1
                        self.kept_bytes += stored.size_bytes
                self._locks.clear()
                done += len(batch)
                if len(self.faults) > MOST_FAULTS:
                    raise StorageCorrupt(f"more than {MOST_FAULTS} objects are not there: {self.faults[0]} …")
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    self.say(f"{done} of {count} objects")

    async def _keep(self, needed: Needed) -> Stored | None:
        """None, and a fault, where the store does not hold what the row says."""
        async with self._slots:
            try:
                async for attempt in stamina.retry_context(on=StorageUnavailable, attempts=6, timeout=300):
                    with attempt:
                        return await self._kept(needed)
            except ObjectMissing:
                self.faults.append(f"{needed.bucket}/{needed.key} is missing")
            except StorageCorrupt as error:
                self.faults.append(f"{needed.bucket}/{needed.key}: {error.detail}")
        return None

    async def _kept(self, needed: Needed) -> Stored:
        bucket = bucket_name(self.store, needed.bucket)
        head = await self.store.head(bucket, needed.key)
        if head is None:
            raise ObjectMissing
        if needed.size_bytes not in (None, head.size_bytes):
            raise StorageCorrupt(f"it has {head.size_bytes} bytes, and should have {needed.size_bytes}")
        sha256 = needed.sha256
        if sha256 is None:
            sha256 = await self._fetch(bucket, needed.key, None)
        else:
            # two that have the same bytes are fetched once
            async with self._locks.setdefault(sha256, asyncio.Lock()):
                if not self.archive.holds(sha256, head.size_bytes):
                    await self._fetch(bucket, needed.key, sha256)
        return Stored(
            bucket=needed.bucket,
            key=needed.key,
            size_bytes=head.size_bytes,
            sha256=sha256,
            content_type=head.content_type,
            filename=head.filename,
        )

    async def _fetch(self, bucket: str, key: str, sha256: str | None) -> str:
        """Into the pool, where it appears whole; its digest."""
        draft = self.archive.folder / "objects" / "new" / f".{uuid.uuid4().hex}.part"
        draft.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            got = await self.store.get_file(bucket, key, draft, sha256=sha256)
            path = self.archive.bytes_of(got.sha256)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            await asyncio.to_thread(sync, draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.fetched += 1
        self.fetched_bytes += got.size_bytes
        return got.sha256


def _wanted(path: Path) -> Iterator[Needed]:
    with path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line, type=Needed)


def _batches(items: Iterable[Needed]) -> Iterator[list[Needed]]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH)):
        yield batch
