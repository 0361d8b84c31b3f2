"""Backups in a folder: one folder each, and every object's bytes once for all of them.

    FOLDER/objects/3f/3fa9…              an object's bytes, named by their SHA-256
    FOLDER/20261123T184501Z/             one backup
        manifest.json                    written last: without it, it is none
        objects.jsonl.gz                 which bytes lie where: bucket, key, size, digest, type, file name
        trainyard.tasks.gz …             the rows of a table (shared/backup/tables.py)

An object is never changed once it is stored, so the second backup fetches what is new since the first. All of
it is plain files: copy the folder elsewhere with whatever copies files, `objects` first.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import gzip
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from shared.backup.inventory import Bucket
from shared.backup.tables import Migration, TableFile, sha256_of
from shared.errors import ConfigurationError

FORMAT = 1
MANIFEST = "manifest.json"
OBJECTS = "objects.jsonl.gz"
POOL = "objects"
_NAME = re.compile(r"\d{8}T\d{6}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Stored(Struct, frozen=True, kw_only=True):
    """One object of a backup: its place in the store, its bytes in the pool, and what it was put with."""

    bucket: Bucket
    key: str
    size_bytes: int
    sha256: str
    content_type: str
    filename: str | None


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup holds. `snapshot_at`: every row is as it was then. `faults`: what rows needed and the
    store did not hold, in words."""

    format: int = FORMAT
    name: str
    snapshot_at: dt.datetime
    seconds: float
    postgres: str
    migrations: list[Migration]
    tables: list[TableFile]
    objects: int
    objects_bytes: int
    objects_sha256: str
    fetched: int
    fetched_bytes: int
    faults: list[str]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class Archive:
    """A folder of backups, held by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def held(cls, folder: Path) -> Iterator[Self]:
        """Raises ConfigurationError where it cannot be written, or another process holds it."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / POOL).mkdir(mode=0o700, exist_ok=True)
            lock = (folder / "lock").open("a")
        except OSError as error:
            raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(f"another process is at work in {folder}") from None
            yield cls(folder)

    def names(self) -> list[str]:
        """Of the backups that are whole, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.folder.iterdir()
            if _NAME.fullmatch(entry.name) and (entry / MANIFEST).is_file()
        )

    def manifest(self, name: str | None = None) -> Manifest:
        """Of the backup `name`, or of the latest. Raises ConfigurationError where there is none like it."""
        names = self.names()
        if not names or (name is not None and name not in names):
            there = f"there are {', '.join(names)}" if names else "there is none"
            raise ConfigurationError(f"no backup {name or ''} in {self.folder}: {there}".replace("  ", " "))
        try:
            found = msgspec.json.decode(
                (self.folder / (name or names[-1]) / MANIFEST).read_bytes(), type=Manifest
            )
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"the manifest of {name or names[-1]} is damaged: {error}") from None
        if found.format != FORMAT:
            raise ConfigurationError(f"{found.name} was written by another version (format {found.format})")
        return found

    def bytes_of(self, sha256: str) -> Path:
        """Where an object's bytes are, or are to be."""
        if not _SHA256.fullmatch(sha256):
            raise ConfigurationError(f"not a SHA-256: {sha256!r}")
        return self.folder / POOL / sha256[:2] / sha256

    def holds(self, sha256: str, size_bytes: int) -> bool:
        path = self.bytes_of(sha256)
        return path.is_file() and path.stat().st_size == size_bytes

    # --- writing ---

    @contextlib.contextmanager
    def draft(self, at: dt.datetime) -> Iterator[Path]:
        """A folder for a backup of this moment, which has its name once the block is left without an error;
        the manifest is to be written in it last."""
        self._remove_drafts()
        final = self.folder / at.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        if final.exists():
            raise ConfigurationError(f"there is a backup {final.name} already")
        folder = self.folder / f".{final.name}.part"
        folder.mkdir(mode=0o700)
        try:
            yield folder
            for path in (*folder.iterdir(), folder):  # on the disk before it counts
                sync(path)
            folder.rename(final)
            sync(self.folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def write_manifest(self, folder: Path, manifest: Manifest) -> None:
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")

    def prune(self, keep: int) -> list[str]:
        """Remove all but the latest `keep` backups, and then the bytes that none of those speaks of; the
        names of what is gone."""
        names = self.names()
        gone = names[: max(len(names) - keep, 0)]
        for name in gone:
            # without its manifest first: what is half removed is no backup
            (self.folder / name / MANIFEST).unlink()
            shutil.rmtree(self.folder / name)
        spoken_of = {stored.sha256 for name in self.names() for stored in self.objects(name)}
        for path in (self.folder / POOL).glob("*/*"):
            if path.name not in spoken_of:
                path.unlink()
        return gone

    def _remove_drafts(self) -> None:
        """What a process that was killed left: the folder is held, so nobody is at work there."""
        for path in self.folder.glob(".*.part"):
            shutil.rmtree(path)
        for path in (self.folder / POOL).glob("*/.*.part"):
            path.unlink()

    # --- reading ---

    def objects(self, name: str) -> Iterator[Stored]:
        """One by one, in the order in which they were written."""
        with gzip.open(self.folder / name / OBJECTS, "rb") as file:
            for line in file:
                yield msgspec.json.decode(line, type=Stored)

    def check_files(self, manifest: Manifest, *, digests: bool) -> list[str]:
        """What is wrong with the files of a backup, in words. `digests`: every object's bytes are read, not
        only looked for."""
        folder = self.folder / manifest.name
        expected = {table.file: table.sha256 for table in manifest.tables}
        expected[OBJECTS] = manifest.objects_sha256
        faults = []
        for file, sha256 in expected.items():
            if not (folder / file).is_file():
                faults.append(f"{manifest.name}/{file} is missing")
            elif sha256_of(folder / file) != sha256:
                faults.append(f"{manifest.name}/{file} is damaged")
        if faults:
            return faults
        seen: set[str] = set()
        for stored in self.objects(manifest.name):
            if stored.sha256 in seen:
                continue
            seen.add(stored.sha256)
            path = self.bytes_of(stored.sha256)
            if not self.holds(stored.sha256, stored.size_bytes):
                faults.append(f"{path.relative_to(self.folder)} is missing or cut short ({stored.key})")
            elif digests and sha256_of(path) != stored.sha256:
                faults.append(f"{path.relative_to(self.folder)} is damaged ({stored.key})")
        return faults


def sync(path: Path) -> None:
    """Have a file, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
