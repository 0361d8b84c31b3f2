"""Backup, restore and check on real servers: what comes back is what there was, and what is lost is said."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from services.packager.sweep import Sweep
from shared.backup.__main__ import FAILED, FAULTY, main
from shared.backup.archive import MANIFEST, Archive, Manifest
from shared.backup.check import Report, check
from shared.backup.restore import restore
from shared.backup.take import take
from shared.contracts.states import JobKind
from shared.db import backups, jobs
from shared.db.migrate import migrate, migrations
from shared.errors import ConfigurationError, StorageCorrupt
from shared.settings import Postgres, Retention, load
from shared.storage import Store, bundle_key, dataset_key, model_key
from tests.databases import execute
from tests.integration.installation import (
    TABLE,
    Inhabited,
    Place,
    inhabited,
    installation,
    opened,
)
from tests.integration.test_packager import PICKLES, finished_run


@pytest.fixture
def migrated(servers: Mapping[str, str], template: str) -> Iterator[dict[str, str]]:
    with installation(servers, template) as env:
        yield env


@pytest.fixture
def bare(servers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    with installation(servers) as env:
        yield env


@pytest.fixture
def nothing(servers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    with installation(servers) as env:
        yield env


@pytest.fixture
async def older(nothing: dict[str, str]) -> AsyncIterator[Place]:
    async with opened(nothing) as there:
        yield there


@pytest.fixture
async def place(migrated: dict[str, str]) -> AsyncIterator[Place]:
    async with opened(migrated) as there:
        yield there


@pytest.fixture
async def empty(bare: dict[str, str]) -> AsyncIterator[Place]:
    async with opened(bare) as there:
        yield there


@pytest.fixture
async def home(migrated: dict[str, str]) -> AsyncIterator[Inhabited]:
    async with inhabited(migrated) as there:
        yield there


def quiet(_line: str) -> None:
    """Nobody listens."""


async def back_up(at: Place, folder: Path) -> Manifest:
    return await take(load(Postgres, at.env), at.store, folder, say=quiet)


async def bring_back(at: Place, folder: Path, name: str | None = None) -> Manifest:
    return await restore(load(Postgres, at.env), at.store, folder, name=name, say=quiet)


async def look(at: Place, *, digests: bool = True, new_s: int = 3600) -> Report:
    return await check(load(Postgres, at.env), at.store, new_s=new_s, digests=digests, say=quiet)


# --- there and back -----------------------------------------------------------------------------


async def test_what_comes_back_is_what_there_was(home: Inhabited, empty: Place, tmp_path: Path) -> None:
    made = await back_up(home, tmp_path)
    assert made.faults == []
    # the registry's copy has the bytes of its model, and one plot those of the other
    assert (made.objects, made.fetched) == (9, 7)
    # every table, a new one without anybody thinking of it; what numbers itself would be another matter
    there = await home.value(
        "SELECT array_agg(schemaname || '.' || tablename) FROM pg_tables"
        " WHERE (schemaname IN ('trainyard', 'auth') OR tablename = 'trained_models')"
        # the rows of a partition are those of its table
        " AND NOT EXISTS (SELECT FROM pg_inherits"
        "   WHERE inhrelid = format('%I.%I', schemaname, tablename)::regclass)"
    )
    assert {t.table for t in made.tables} == set(there) - {"trainyard.migrations"}
    assert await home.value("SELECT count(*) FROM pg_sequences WHERE schemaname = 'trainyard'") == 0
    await bring_back(empty, tmp_path)
    assert await empty.rows() == await home.rows()
    objects = await home.objects()
    assert objects["datasets", dataset_key(home.user, home.file)][2] == "Größe “1”.csv"
    assert await empty.objects() == objects
    report = await look(empty)
    assert report.whole
    assert (report.needed.objects, report.orphaned.objects) == (9, 0)
    # and it is one that services can use: logins, rights, policies
    async with inhabited_by_services(empty.env) as seen:
        assert seen == home.task


@contextlib.asynccontextmanager
async def inhabited_by_services(env: dict[str, str]) -> AsyncIterator[uuid.UUID]:
    """What the workers' login sees of the tasks there."""
    connection = await asyncpg.connect(env["WORKER_DATABASE_URL"])
    try:
        yield await connection.fetchval("SELECT id FROM trainyard.tasks")
    finally:
        await connection.close()


async def test_work_under_way_goes_on(place: Place, empty: Place, tmp_path: Path) -> None:
    user, task, job = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    await place.execute(
        f"INSERT INTO auth.users (id) VALUES ('{user}')",
        "INSERT INTO trainyard.tasks (id, user_id, name, request, status, started_at)"
        f" VALUES ('{task}', '{user}', 'n', '{{}}', 'running', now() - interval '50 s')",
        "INSERT INTO trainyard.jobs"
        " (id, kind, subject_id, user_id, attempt, tries, sent_at, owner, lease_until)"
        f" VALUES ('{job}', 'finish', '{task}', '{user}', 3, 1, now(), 'a worker', now() + interval '1 h')",
    )
    made = await back_up(place, tmp_path)
    await bring_back(empty, tmp_path)
    connection = await asyncpg.connect(empty.env["WORKER_DATABASE_URL"])
    try:
        again = await jobs.claim(connection, [JobKind.FINISH], "another", 9)
        ran = await connection.fetchval("SELECT now() - started_at FROM trainyard.tasks")
    finally:
        await connection.close()
    assert again is not None
    assert (again.id, again.tries, again.attempt) == (job, 1, 4)
    had_run = await place.value("SELECT $1 - started_at FROM trainyard.tasks", made.snapshot_at)
    since = dt.datetime.now(dt.UTC) - made.snapshot_at
    assert had_run <= ran < had_run + since, "the time in between is no part of a run's budget"


async def test_a_later_version_takes_an_earlier_ones_backup(
    older: Place, empty: Place, tmp_path: Path
) -> None:
    *_, (before, _, _), (latest, _, _) = migrations()
    user = uuid.uuid4()
    await migrate(load(Postgres, older.env), up_to=before)
    await older.execute(
        f"INSERT INTO auth.users (id, email) VALUES ('{user}', 'ann@example.org')",
        f"INSERT INTO trainyard.turns (user_id, last_claim) VALUES ('{user}', now())",
    )
    assert (await back_up(older, tmp_path)).migrations[-1].number == before
    await bring_back(empty, tmp_path)
    assert await empty.value("SELECT max(number) FROM trainyard.migrations") == latest
    assert await empty.value("SELECT email FROM auth.users WHERE id = $1", user) == "ann@example.org"


def _fields(manifest: Manifest) -> dict[str, object]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


# --- many backups in one folder -----------------------------------------------------------------


async def test_the_second_fetches_what_is_new_and_old_ones_leave(
    home: Inhabited, empty: Place, tmp_path: Path
) -> None:
    first = await renamed(tmp_path, await back_up(home, tmp_path), "20260101T000000Z")
    store = home.store
    await store.delete(store.bundles, await key_of_zip(home))
    await home.execute("DELETE FROM trainyard.bundles")
    await finished_run(home.resources, home.api_db, home.user)  # the same pickles: no new bytes
    await home.execute("UPDATE trainyard.files SET deleted_at = now() WHERE sha256 = 'ab'")
    second = await back_up(home, tmp_path)
    assert (second.faults, second.fetched) == ([], 0)
    assert second.objects > first.objects
    archive = Archive(tmp_path)
    zip_sha256 = next(o.sha256 for o in archive.objects(first.name) if o.bucket == "bundles")
    assert archive.bytes_of(zip_sha256).exists()
    assert archive.prune(1) == [first.name]
    assert archive.names() == [second.name]
    assert not archive.bytes_of(zip_sha256).exists(), "nothing else speaks of it"
    assert archive.check_files(second, digests=True) == []
    # one that was cut off is none, and what it had fetched is there for the next
    (tmp_path / second.name / MANIFEST).unlink()
    (tmp_path / ".20200101T000000Z.part").mkdir()
    with pytest.raises(ConfigurationError, match="there is none"):
        archive.manifest()
    shutil.rmtree(tmp_path / second.name)
    assert (await back_up(home, tmp_path)).fetched == 0
    assert not (tmp_path / ".20200101T000000Z.part").exists()


async def renamed(folder: Path, manifest: Manifest, name: str) -> Manifest:
    """As if it had been made at another second."""
    older = Manifest(**{**_fields(manifest), "name": name})  # type: ignore[arg-type]
    (folder / manifest.name).rename(folder / name)
    Archive(folder).write_manifest(folder / name, older)
    return older


async def key_of_zip(home: Inhabited) -> str:
    attempt = await home.value("SELECT attempt FROM trainyard.bundles")
    return bundle_key(home.user, home.task, attempt)


# --- what is damaged or in the way --------------------------------------------------------------


async def test_a_restore_is_whole_or_begun_anew_and_fills_only_what_is_empty(
    home: Inhabited, empty: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await back_up(home, tmp_path)
    archive = Archive(tmp_path)
    stored = next(o for o in archive.objects(made.name) if o.bucket == "datasets")
    path = archive.bytes_of(stored.sha256)
    path.write_bytes(TABLE[:-1])
    with pytest.raises(StorageCorrupt, match="cut short"):
        await bring_back(empty, tmp_path)
    path.write_bytes(b"?" + TABLE[1:])  # of the right size: found as it is read
    assert any("is damaged" in fault for fault in archive.check_files(made, digests=True))
    with pytest.raises(StorageCorrupt, match="the backup is damaged"):
        await bring_back(empty, tmp_path)
    assert ("datasets", stored.key) not in await empty.objects()
    path.write_bytes(TABLE)
    rows = tmp_path / made.name / "trainyard.tasks.gz"
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(StorageCorrupt, match=r"tasks\.gz is damaged"):
        await bring_back(empty, tmp_path)
    assert await empty.value("SELECT count(*) FROM trainyard.tasks") == 0
    shutil.rmtree(tmp_path / made.name)

    # one that is interrupted is begun anew
    await back_up(home, tmp_path)
    put, done = Store.put_stream, 0

    async def until_it_dies(*args: object, **kwargs: object) -> object:
        nonlocal done
        if done >= 3:
            raise StorageCorrupt("cut off")
        stored = await put(*args, **kwargs)  # type: ignore[arg-type]
        done += 1
        return stored

    with monkeypatch.context() as patched:
        patched.setattr(Store, "put_stream", until_it_dies)
        with pytest.raises(StorageCorrupt, match="cut off"):
            await bring_back(empty, tmp_path)
    assert not any((await empty.rows()).values())
    await bring_back(empty, tmp_path)
    assert await empty.rows() == await home.rows()
    assert (await look(empty)).whole

    # what it has become is none to be filled
    with pytest.raises(ConfigurationError, match=r"not empty: there are rows in .*trainyard\.tasks"):
        await bring_back(empty, tmp_path)
    await empty.execute("DELETE FROM auth.users")
    await empty.store.put_bytes(
        empty.store.models, "somebody/else", b"x", content_type="text/plain; charset=utf-8"
    )
    with pytest.raises(ConfigurationError, match=r"store is not empty.*somebody/else"):
        await bring_back(empty, tmp_path)
    # nor one whose tables have gone further than the backup's
    manifest = Archive(tmp_path).manifest()
    older = Manifest(**{**_fields(manifest), "migrations": manifest.migrations[:-1]})  # type: ignore[arg-type]
    Archive(tmp_path).write_manifest(tmp_path / manifest.name, older)
    with pytest.raises(ConfigurationError, match="restore into a new database"):
        await bring_back(empty, tmp_path)


async def test_who_cannot_see_every_row_makes_no_backup(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BYPASSRLS"):
        await back_up(
            Place(place.env | {"DATABASE_URL": place.env["WORKER_DATABASE_URL"]}, place.store), tmp_path
        )


async def test_two_at_once_are_one(place: Place, tmp_path: Path) -> None:
    connection = await asyncpg.connect(place.env["DATABASE_URL"])
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", backups.LOCK)
        with pytest.raises(ConfigurationError, match="another backup"):
            await back_up(place, tmp_path / "other")
    finally:
        await connection.close()
    with Archive.held(tmp_path):
        with pytest.raises(ConfigurationError, match="another process is at work"):
            await back_up(place, tmp_path)


# --- deletions meanwhile ------------------------------------------------------------------------


async def test_what_is_deleted_while_a_backup_is_made_is_in_it_whole(
    home: Inhabited, empty: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the snapshot and before the objects are fetched a user deletes the run, the ZIP's time is over,
    the trash is emptied."""
    expected = await home.rows()
    get_file = Store.get_file
    happened = asyncio.Event()
    packager, sweep = home.packager, Sweep(home.resources, Retention(trash_ttl_s=0))

    async def after_deletions(self: Store, *args: object, **kwargs: object) -> object:
        if not happened.is_set():
            happened.set()
            await home.execute("UPDATE trainyard.tasks SET deleted_at = now()")
            purge = await home.asked(JobKind.PURGE, home.task)
            await packager.purge(purge)
            await home.execute("UPDATE trainyard.bundles SET expires_at = now() - interval '1 s'")
            await home.execute(
                "UPDATE public.trained_models SET deleted = true, deleted_at = now() - interval '1 s'"
            )
            assert await sweep.expire_bundles() == await sweep.empty_trash() == 0
        return await get_file(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "get_file", after_deletions)
    made = await back_up(home, tmp_path)
    assert happened.is_set()
    assert made.faults == []
    await bring_back(empty, tmp_path)
    assert await empty.rows() == expected
    assert (await look(empty)).whole

    async with home.resources.db.transaction() as c:  # it waited, at the cost of no try
        await c.execute("UPDATE trainyard.jobs SET run_after = now()")
        purge = await jobs.claim(c, [JobKind.PURGE], "test", 60)
    assert purge is not None
    assert purge.tries == 1
    await packager.purge(purge)
    assert await sweep.empty_trash() == 1
    assert {role for role, _ in await home.objects()} == {"datasets"}


# --- check --------------------------------------------------------------------------------------


async def test_what_is_lost_damaged_or_left_over_is_said(
    home: Inhabited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, user = home.store, home.user
    assert (await look(home)).whole
    lost = dataset_key(user, home.file)
    await store.delete(store.datasets, lost)
    damaged = model_key(user, home.task, "random_forest", 1)
    binary = "application/octet-stream"
    same_size = b"x" * len(PICKLES["random_forest"])
    await store.put_bytes(store.artifacts, damaged, same_size, content_type=binary)
    cut = model_key(user, home.task, "logistic_regression", 1)
    await store.put_bytes(store.artifacts, cut, b"short", content_type=binary)
    of_a_dead_attempt = model_key(user, home.task, "random_forest", 7)
    await store.put_bytes(store.artifacts, of_a_dead_attempt, b"dead", content_type=binary)
    orphan = dataset_key(user, uuid.uuid4())
    await store.put_bytes(store.datasets, orphan, b"orphan", content_type="text/csv")
    stranger = dataset_key(uuid.uuid4(), uuid.uuid4())
    await store.put_bytes(store.datasets, stranger, b"stranger", content_type="text/csv")

    report = await look(home)
    assert report.missing == [f"{store.datasets}/{lost}"]
    assert sorted(line.split()[0] for line in report.wrong) == sorted(
        f"{store.artifacts}/{key}" for key in (damaged, cut)
    )
    assert (report.beside.objects, report.new.objects, report.orphans) == (1, 2, [])
    later = await look(home, new_s=-3600)
    assert sorted(later.orphans) == sorted(f"{store.datasets}/{key}" for key in (orphan, stranger))
    quick = await look(home, digests=False)
    assert len(quick.wrong) == 1, "what has the right size is not read"

    made = await back_up(home, tmp_path)
    assert len(made.faults) == 3
    assert any(f"datasets/{lost} is missing" in fault for fault in made.faults)


async def make_buckets(env: dict[str, str]) -> None:
    async with opened(env):
        pass


def test_the_command_says_how_it_ended(
    migrated: dict[str, str],
    bare: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # other tests log too
    monkeypatch.setattr("shared.backup.__main__.configure", lambda *_, **__: None)

    folder = str(tmp_path / "backups")
    assert main(bare, ["restore", folder]) == FAILED
    assert "there is none" in capsys.readouterr().err
    assert main(bare, ["take", folder]) == FAILED
    assert "without Trainyard's tables" in capsys.readouterr().err
    user = uuid.uuid4()
    lost = (
        "INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256)"
        f" VALUES (gen_random_uuid(), '{user}', 't.csv', 3, '{'ab' * 32}')"
    )
    asyncio.run(execute(migrated["DATABASE_URL"], f"INSERT INTO auth.users (id) VALUES ('{user}')", lost))
    asyncio.run(make_buckets(migrated))
    assert main(migrated, ["take", folder, "--keep", "3"]) == FAULTY
    assert "is missing" in capsys.readouterr().out
    assert main({}, ["verify", folder]) == 0
    assert main({}, ["list", folder]) == 0
    assert "1 objects lacking" in capsys.readouterr().out
    assert main(migrated, ["check", "--quick"]) == FAULTY
    assert "rows without object 1" in capsys.readouterr().out
    assert main(bare, ["restore", folder]) == FAULTY
    assert "not in it: datasets/" in capsys.readouterr().out
    assert main({"DATABASE_URL": "postgresql://a:hidden@127.0.0.1:1/x"}, ["check"]) == FAILED
    assert "hidden" not in capsys.readouterr().err
