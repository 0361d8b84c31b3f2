"""Decoded tables on this machine's disk: each upload is fetched and read once, not once a candidate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

import structlog

from services.trainer import sandbox_disk
from services.trainer.room import to_keep_free
from services.trainer.scratch import Scratch
from shared.errors import NoRoom
from shared.storage import Store, dataset_key

log = structlog.get_logger(__name__)

Decode = Callable[[Path, str, Path], Awaitable[None]]
"""(raw upload, its name, scratch folder): leaves `table.arrow` in the scratch folder."""


class TableCache:
    """Arrow files named by the upload's digest, the least recently used removed over `max_bytes`, or where
    the disk they are on is nearly full.

    Several trainers may share the folder: a file appears by rename, whole or not at all.
    """

    def __init__(self, folder: Path, max_bytes: int, store: Store, scratch: Scratch) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.store = store
        self.scratch = scratch
        self._locks: dict[str, asyncio.Lock] = {}
        self._used: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.asynccontextmanager
    async def table(
        self, *, file_id: uuid.UUID, user_id: uuid.UUID, name: str, sha256: str, decode: Decode
    ) -> AsyncIterator[Path]:
        """The decoded table under a name of the caller's own, which no eviction takes away.
        Raises what `decode` and the store raise."""
        path = self.folder / f"{file_id}-{sha256[:16]}.arrow"
        with self.scratch.folder() as scratch:
            link = scratch / "table.arrow"
            async with self._locks.setdefault(path.name, asyncio.Lock()):
                while not _linked(path, link):  # not there, or gone again: others evict too
                    try:
                        await self._fetch(path, file_id, user_id, name, sha256, decode)
                    except (OSError, NoRoom) as error:
                        full = isinstance(error, NoRoom) or sandbox_disk.is_full(error)
                        if not full or not self._evict(all_unused=True):
                            raise
            self._used[path.name] += 1
            try:
                yield link
            finally:
                self._used[path.name] -= 1
                self._evict()

    async def _fetch(
        self, path: Path, file_id: uuid.UUID, user_id: uuid.UUID, name: str, sha256: str, decode: Decode
    ) -> None:
        with self.scratch.folder() as scratch:
            raw = scratch / "upload"
            await self.store.get_file(self.store.datasets, dataset_key(user_id, file_id), raw, sha256=sha256)
            await decode(raw, name, scratch)
            (scratch / "table.arrow").replace(path)

    def held(self) -> set[uuid.UUID]:
        """The files whose tables are here."""
        names = (path.name.rpartition("-")[0] for path in self.folder.glob("*.arrow"))
        return {file_id for name in names if (file_id := _id(name)) is not None}

    def drop(self, file_ids: Collection[uuid.UUID]) -> None:
        """Remove their tables; who uses one keeps it until then."""
        for file_id in file_ids:
            for path in self.folder.glob(f"{file_id}-*.arrow"):
                path.unlink(missing_ok=True)
                log.info("table dropped", table=path.name)

    def _evict(self, *, all_unused: bool = False) -> bool:
        """Remove tables that nobody here uses: as many as are too much, or all. Whether there were any."""
        found = []
        for path in self.folder.glob("*.arrow"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat(), path))
        total = sum(stat.st_size for stat, _ in found)
        over = max(total - self.max_bytes, to_keep_free(self.folder) - sandbox_disk.free(self.folder))
        evicted = False
        for stat, path in sorted(found, key=lambda entry: entry[0].st_mtime):
            if over <= 0 and not all_unused:
                break
            if not self._used[path.name]:
                over -= stat.st_size
                path.unlink(missing_ok=True)
                evicted = True
                log.info("table evicted", table=path.name)
        return evicted


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _linked(path: Path, link: Path) -> bool:
    """Give `path` a second name and mark it as just used; False where it is not there."""
    try:
        link.hardlink_to(path)
    except FileNotFoundError:
        return False
    os.utime(link)
    return True
