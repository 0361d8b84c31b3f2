"""Decoded tables shared by the trainers of one machine."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.trainer.cache import TableCache
from services.trainer.scratch import Scratch
from services.trainer.sweep import Sweep
from shared.db.pool import Database
from shared.settings import S3, load
from shared.storage import Store, dataset_key, open_store
from tests.integration.test_db import add_file

TABLE = b"decoded " * 1000


class Decoding:
    """Counts how often a table is decoded."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, raw: Path, _name: str, scratch: Path) -> None:
        self.times += 1
        (scratch / "table.arrow").write_bytes(raw.read_bytes())


@pytest.fixture
async def store(env: dict[str, str]) -> AsyncIterator[Store]:
    async with open_store(load(S3, env)) as opened:
        await opened.ensure_buckets()
        yield opened


class Machine:
    """Two trainers that share a folder with room for `tables` tables, and uploads to read."""

    def __init__(self, folder: Path, store: Store, tables: float) -> None:
        self.folder, self.store, self.user = folder, store, uuid.uuid4()
        self.decoding = Decoding()
        self.scratches = [Scratch(folder).__enter__() for _ in range(2)]
        self.caches = [TableCache(folder, int(tables * len(TABLE)), store, own) for own in self.scratches]

    async def upload(self) -> uuid.UUID:
        file_id = uuid.uuid4()
        key = dataset_key(self.user, file_id)
        await self.store.put_bytes(self.store.datasets, key, TABLE, content_type="text/csv")
        return file_id

    def table(self, trainer: int, file_id: uuid.UUID) -> AbstractAsyncContextManager[Path]:
        return self.caches[trainer].table(
            file_id=file_id,
            user_id=self.user,
            name="t.csv",
            sha256=hashlib.sha256(TABLE).hexdigest(),
            decode=self.decoding,
        )


async def test_a_table_is_decoded_once_for_all_trainers_of_a_machine(tmp_path: Path, store: Store) -> None:
    machine = Machine(tmp_path, store, tables=2)
    file_id = await machine.upload()
    for trainer in (0, 0, 1):
        async with machine.table(trainer, file_id) as path:
            assert path.read_bytes() == TABLE
    assert machine.decoding.times == 1


async def test_fits_that_begin_at_once_wait_for_one_decoding(tmp_path: Path, store: Store) -> None:
    machine = Machine(tmp_path, store, tables=2)
    file_id = await machine.upload()
    inodes = set()

    async def fit() -> None:
        async with machine.table(0, file_id) as path:
            assert path.read_bytes() == TABLE
            inodes.add(path.stat().st_ino)

    await asyncio.gather(*(fit() for _ in range(9)))
    assert machine.decoding.times == 1
    assert len(inodes) == 1  # one file on the disk, whose pages the fits share


async def test_what_another_trainer_evicts_stays_for_who_uses_it(tmp_path: Path, store: Store) -> None:
    machine = Machine(tmp_path, store, tables=1.5)
    mine, theirs = await machine.upload(), await machine.upload()
    async with machine.table(0, mine) as path:
        async with machine.table(1, theirs):
            pass
        assert [p.name for p in tmp_path.glob("*.arrow")] == [f"{theirs}-{_digest()}.arrow"]
        assert path.read_bytes() == TABLE  # evicted by the other trainer, and still here
    async with machine.table(0, mine) as path:
        assert path.read_bytes() == TABLE
    assert machine.decoding.times == 3


async def test_trainers_that_evict_one_another_all_go_on(tmp_path: Path, store: Store) -> None:
    machine = Machine(tmp_path, store, tables=1)
    uploads = [await machine.upload() for _ in range(3)]

    async def fit(trainer: int, file_id: uuid.UUID) -> None:
        for _ in range(5):
            async with machine.table(trainer, file_id) as path:
                assert path.read_bytes() == TABLE

    await asyncio.gather(*(fit(trainer, file_id) for trainer in (0, 1) for file_id in uploads))
    assert len(list(tmp_path.glob("*.arrow"))) <= 1
    assert [p for own in machine.scratches for p in own._root.glob("*/")] == []


async def test_tables_of_deleted_files_leave_the_disk(
    tmp_path: Path, store: Store, api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    machine = Machine(tmp_path, store, tables=9)
    kept = await add_file(api_db, user_id)
    key = dataset_key(machine.user, kept)
    await machine.store.put_bytes(store.datasets, key, TABLE, content_type="text/csv")
    deleted = await machine.upload()
    (tmp_path / "not-ours.arrow").write_bytes(b"")
    bench: Any = SimpleNamespace(db=worker_db, cache=machine.caches[0])
    async with machine.table(0, kept), machine.table(1, deleted) as path:
        assert machine.caches[0].held() == {kept, deleted}
        await Sweep(bench).forget_deleted()
        assert machine.caches[0].held() == {kept}
        assert path.read_bytes() == TABLE  # until it is done with
    assert sorted(p.name for p in tmp_path.glob("*.arrow")) == sorted(
        ["not-ours.arrow", f"{kept}-{_digest()}.arrow"]
    )


def _digest() -> str:
    return hashlib.sha256(TABLE).hexdigest()[:16]
