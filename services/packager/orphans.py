"""Objects that no row speaks of: what a process that died between the store and Postgres left behind."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog

from shared.db import orphans
from shared.db.pool import Connection, Database
from shared.storage import Store

log = structlog.get_logger(__name__)

BATCH = 500

Known = Callable[[Connection, Sequence[uuid.UUID]], Awaitable[set[uuid.UUID]]]


async def remove_orphans(db: Database, store: Store, older_than_s: float) -> int:
    """Delete objects older than `older_than_s` whose file, task or model is not there; how many.

    The age keeps away from uploads whose row is about to be written.
    """
    removed = 0
    for bucket, known in (
        (store.datasets, orphans.known_files),
        (store.artifacts, orphans.known_tasks),
        (store.bundles, orphans.known_bundles),
    ):
        removed += await _sweep(db, store, bucket, known, older_than_s)
    removed += await _sweep(db, store, store.bundles, orphans.known_exports, older_than_s, _exported)
    return removed + await _sweep_models(db, store, older_than_s)


async def _sweep(
    db: Database,
    store: Store,
    bucket: str,
    known: Known,
    older_than_s: float,
    subject_of: Callable[[str], uuid.UUID | None] | None = None,
) -> int:
    """Keys are `{user_id}/{subject_id}/…`; what has another form is not ours and stays."""
    subject_of = subject_of or _subject
    removed = 0
    batch: list[tuple[str, uuid.UUID]] = []
    async for key in _old_keys(store, bucket, older_than_s):
        if (subject := subject_of(key)) is not None:
            batch.append((key, subject))
        if len(batch) >= BATCH:
            removed += await _remove(db, store, bucket, known, batch)
            batch = []
    return removed + await _remove(db, store, bucket, known, batch)


async def _remove(
    db: Database, store: Store, bucket: str, known: Known, batch: Sequence[tuple[str, uuid.UUID]]
) -> int:
    if not batch:
        return 0
    async with db.connection() as c:
        there = await known(c, list({subject for _, subject in batch}))
    gone = [key for key, subject in batch if subject not in there]
    for key in gone:
        await store.delete(bucket, key)
        log.info("orphan removed", bucket=bucket, key=key)
    return len(gone)


async def _sweep_models(db: Database, store: Store, older_than_s: float) -> int:
    """Saved models are known by their path."""
    keys = [key async for key in _old_keys(store, store.models, older_than_s)]
    removed = 0
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        async with db.connection() as c:
            there = await orphans.known_paths(c, batch)
        for key in batch:
            if key not in there:
                await store.delete(store.models, key)
                log.info("orphan removed", bucket=store.models, key=key)
                removed += 1
    return removed


async def _old_keys(store: Store, bucket: str, older_than_s: float) -> AsyncIterator[str]:
    limit = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=older_than_s)
    async for item in store.list(bucket, ""):
        if item.last_modified < limit:
            yield item.key


def _exported(key: str) -> uuid.UUID | None:
    """Whose export it is; None for what is none. Keys are `{user_id}/export/…`."""
    owner, _, rest = key.partition("/")
    if not rest.startswith("export/"):
        return None
    try:
        return uuid.UUID(owner)
    except ValueError:
        return None


def _subject(key: str) -> uuid.UUID | None:
    parts = key.split("/")
    try:
        uuid.UUID(parts[0])
        return uuid.UUID(parts[1])
    except (ValueError, IndexError):
        return None
