"""A full disk under a trainer's cache and under Postgres: survived, said, and over once there is room."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog

from deploy.embedded import Credentials, postgres
from deploy.ports import free as free_ports
from deploy.processes import Running
from services.trainer.cache import TableCache
from services.trainer.room import telling
from services.trainer.scratch import Scratch
from shared.contracts.states import JobKind
from shared.db import files, jobs
from shared.db.jobs import Job
from shared.db.migrate import migrate
from shared.db.pool import Database
from shared.errors import NoRoom
from shared.resources import Resources
from shared.settings import Postgres, Worker, load
from shared.storage import Store, Stored, dataset_key
from shared.worker import Handler, Slots
from tests.integration import api_client
from tests.integration.small_disk import fill, small_disk
from tests.integration.test_db import add_file

MIB = 2**20
TABLE = b"x" * (3 * MIB)
SHA256 = hashlib.sha256(TABLE).hexdigest()


class Disk:
    """8 MiB under a trainer's cache. Where nothing may be mounted, writing over that is refused by hand."""

    def __init__(self, folder: Path, real: bool) -> None:
        self.folder, self.real = folder, real
        self.ballast = 0

    def fill(self) -> None:
        self.ballast = fill(self.folder / "ballast") if self.real else 8 * MIB

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)
        self.ballast = 0

    def refuse(self, more: int) -> None:
        """Raise what a full disk raises, where there is none that would."""
        if self.real:
            return
        used = sum(
            {p.stat().st_ino: p.stat().st_size for p in self.folder.rglob("*") if p.is_file()}.values()
        )
        if used + self.ballast + more > 8 * MIB:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "cache"
    with small_disk(folder, 8 * MIB) as real:
        yield Disk(folder, real)


class LimitedStore:
    """The store, writing to the disk under test."""

    def __init__(self, store: Store, disk: Disk) -> None:
        self.datasets = store.datasets
        self._store, self._disk = store, disk

    async def get_file(self, bucket: str, key: str, path: Path, *, sha256: str | None = None) -> Stored:
        self._disk.refuse(len(TABLE))
        return await self._store.get_file(bucket, key, path, sha256=sha256)


@pytest.fixture
def cache(disk: Disk, worker_resources: Resources) -> Iterator[TableCache]:
    with Scratch(disk.folder) as scratch:
        store: Any = LimitedStore(worker_resources.store, disk)
        yield TableCache(disk.folder, 10**9, store, scratch)


async def read(cache: TableCache, disk: Disk, user: uuid.UUID, file_id: uuid.UUID) -> bytes:
    async def decode(raw: Path, _name: str, scratch: Path) -> None:
        disk.refuse(len(TABLE))
        await asyncio.to_thread((scratch / "table.arrow").write_bytes, raw.read_bytes())

    async with cache.table(file_id=file_id, user_id=user, name="t.csv", sha256=SHA256, decode=decode) as path:
        return path.read_bytes()


async def uploaded(resources: Resources, user: uuid.UUID) -> uuid.UUID:
    file_id = uuid.uuid4()
    key = dataset_key(user, file_id)
    await resources.store.put_bytes(resources.store.datasets, key, TABLE, content_type="text/csv")
    return file_id


async def test_tables_that_nobody_reads_make_room(
    worker_resources: Resources, disk: Disk, cache: TableCache
) -> None:
    """A table takes twice its size while it is decoded, so that one of two has to go."""
    user = uuid.uuid4()
    for _ in range(3):
        assert await read(cache, disk, user, await uploaded(worker_resources, user)) == TABLE
        assert len(list(disk.folder.glob("*.arrow"))) == 1


async def test_a_job_that_meets_a_full_disk_waits_and_is_done_once_there_is_room(
    worker_resources: Resources, disk: Disk, cache: TableCache, api_db: Database, user_id: uuid.UUID
) -> None:
    file_id = await uploaded(worker_resources, user_id)
    subject = await add_file(api_db, user_id)
    done = asyncio.Event()

    async def profile(job: Job) -> None:
        await read(cache, disk, job.user_id, file_id)
        async with worker_resources.db.transaction() as c:
            await jobs.done(c, job)
        done.set()

    async def never(_job: Job, error: Exception) -> None:
        raise AssertionError(f"given up: {error}")

    handlers = {JobKind.PROFILE: Handler(telling(profile, disk.folder), never)}
    slots = Slots(worker_resources, Worker(), handlers, lanes=1)

    async def claimed() -> Job:
        async with worker_resources.db.transaction() as c:
            await c.execute("UPDATE trainyard.jobs SET run_after = now() WHERE subject_id = $1", subject)
            job = await jobs.claim(c, [JobKind.PROFILE], slots.owner, 60)
        assert job is not None
        return job

    disk.fill()
    with structlog.testing.capture_logs() as said:
        for _ in range(jobs.MAX_TRIES + 1):
            job = await claimed()
            assert job.tries == 1
            await slots.run(job)
            assert not done.is_set()
    assert [line["log_level"] for line in said if line["event"] == "no room left on the disk"] == [
        "error"
    ] * 4
    async with worker_resources.db.connection() as c:
        assert "disk" in await c.fetchval("SELECT last_error FROM trainyard.jobs WHERE id = $1", job.id)
    assert [path.name for path in disk.folder.rglob("*") if path.suffix in (".part", ".arrow")] == []

    disk.free()
    await slots.run(await claimed())
    assert done.is_set()


async def test_other_errors_of_the_disk_are_not_taken_for_a_full_one(tmp_path: Path) -> None:
    async def broken(_job: Job) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def full(_job: Job) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    job: Any = None
    with pytest.raises(OSError, match="Input/output"):
        await telling(broken, tmp_path)(job)
    with pytest.raises(NoRoom):
        await telling(full, tmp_path)(job)


# --- Postgres -----------------------------------------------------------------------------------

DATABASE_BYTES = 176 * MIB


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str], bool]]:
    """A Postgres of its own on a small disk: the disk, its variables, and whether it is small indeed."""
    disk = tmp_path / "disk"
    with small_disk(disk, DATABASE_BYTES) as real:
        credentials = Credentials()
        (port,) = free_ports(1)
        server = Running(postgres.program(disk / "data", credentials, port, durable=True), tmp_path / "logs")
        try:
            server.prepare()
            server.start()
            server.wait_ready()
            yield disk, postgres.variables(credentials, port), real
        finally:
            server.stop()


@pytest.fixture
async def api(
    database: tuple[Path, dict[str, str], bool], servers: Mapping[str, str], buckets: None
) -> AsyncIterator[api_client.Api]:
    env = {**servers, **database[1]}
    await migrate(load(Postgres, env))
    async with api_client.running(env) as running:
        yield running


async def test_a_full_disk_under_postgres_is_a_503_in_words_and_nothing_is_lost(
    database: tuple[Path, dict[str, str], bool], api: api_client.Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, _, real = database
    person = api.user()
    before = await api_client.upload(person)
    if real:
        fill(disk / "ballast")
    else:

        async def refuse(*_: object, **__: object) -> None:
            raise asyncpg.DiskFullError("could not extend file: No space left on device")

        monkeypatch.setattr(files, "insert", refuse)

    refused = None
    with structlog.testing.capture_logs() as said:
        for _ in range(2000):  # pages that are there already take some rows more
            answer = await person.post("/files", files={"file": (f"{'t' * 240}.csv", api_client.CSV)})
            if answer.status_code != 201:
                refused = answer
                break
    assert refused is not None
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) > 0
    assert any(line["event"] == "the database has no room left" for line in said)
    assert "no room left" in refused.json()["detail"]
    assert "Traceback" not in refused.text

    monkeypatch.undo()
    (disk / "ballast").unlink(missing_ok=True)
    after = await api_client.upload(person)
    for kept in (before, after):
        assert (await person.get(f"/files/{kept['file_id']}")).json()["sha256"] == kept["sha256"]
