"""Whether rows and objects fit together, while everything goes on.

Objects are listed first and the rows of each user read after that, so what is written meanwhile is not taken
for lost; and since nothing is deleted before its row says so, an object that a row still needs when it is
looked for a second time, and that is not there, is missing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import asyncpg
from msgspec import Struct, field

from shared.backup import inventory
from shared.backup.inventory import Bucket, Needed, bucket_name
from shared.backup.owner import owner
from shared.backup.tables import migrations
from shared.db import orphans
from shared.errors import StorageCorrupt
from shared.settings import Postgres
from shared.storage import PROBE_PREFIX, Listed, ObjectMissing, Store

AT_A_TIME = 4
BUCKETS: tuple[Bucket, ...] = ("datasets", "artifacts", "bundles", "models")
Say = Callable[[str], None]


class Amount(Struct):
    objects: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.objects += 1
        self.size_bytes += size_bytes

    def __str__(self) -> str:
        return f"{self.objects} objects, {self.size_bytes} bytes"


class Report(Struct):
    """`missing`: rows without objects. `wrong`: another size or digest than the row says. `orphans`: objects
    that no row knows, which the packager removes. The rest is as it should be: `beside` are objects of runs,
    files and accounts that are there or going, which no row needs (attempts that were taken over, ZIPs past
    their time), `new` what may still get its row."""

    needed: Amount = field(default_factory=Amount)
    missing: list[str] = []
    wrong: list[str] = []
    orphans: list[str] = []
    orphaned: Amount = field(default_factory=Amount)
    beside: Amount = field(default_factory=Amount)
    new: Amount = field(default_factory=Amount)
    digests: bool = True

    @property
    def whole(self) -> bool:
        """Whether nothing is lost."""
        return not self.missing and not self.wrong

    def lines(self) -> list[str]:
        looked = "sizes and digests" if self.digests else "sizes"
        return [
            f"needed by rows      {self.needed} ({looked} looked at)",
            f"rows without object {len(self.missing)}",
            *(f"  {key}" for key in self.missing),
            f"another content     {len(self.wrong)}",
            *(f"  {said}" for said in self.wrong),
            f"objects without row {self.orphaned}",
            *(f"  {key}" for key in self.orphans),
            f"of other attempts   {self.beside}",
            f"not yet recorded    {self.new}",
        ]


MOST_NAMED = 100
"""Orphans that are named one by one."""


async def check(postgres: Postgres, store: Store, *, new_s: float, digests: bool = True, say: Say) -> Report:
    """Compare every row with every object; `digests` reads each of them. What is younger than `new_s` may
    still get its row. Raises what the parts raise."""
    async with owner(postgres) as c:
        await migrations(c)
        looking = _Looking(store, c, new_s, digests, say)
        await looking.run()
    return looking.report


class _Looking:
    def __init__(self, store: Store, c: asyncpg.Connection, new_s: float, digests: bool, say: Say) -> None:
        self.store = store
        self.c = c
        self.digests = digests
        self.say = say
        self.report = Report(digests=digests)
        self.old = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=new_s)
        self._slots = asyncio.Semaphore(AT_A_TIME)

    async def run(self) -> None:
        roles: dict[str, list[Bucket]] = defaultdict(list)
        for role in BUCKETS:  # two may be one bucket
            roles[bucket_name(self.store, role)].append(role)
        for bucket, of in roles.items():
            seen: set[uuid.UUID] = set()
            async for user, listed in _by_user(self.store, bucket):
                if user is None:
                    self._strangers(bucket, listed)
                    continue
                seen.add(user)
                await self._user(bucket, of, user, listed)
            for user in await inventory.users(self.c):
                if user not in seen:
                    await self._user(bucket, of, user, [])
            self.say(f"{bucket}: {self.report.needed} so far")

    async def _user(self, bucket: str, roles: list[Bucket], user: uuid.UUID, listed: list[Listed]) -> None:
        needed = await self._needed(roles, user)
        there = {item.key: item for item in listed}
        suspects = [n for n in needed.values() if _is_off(n, there.get(n.key))]
        for n in suspects:
            await self._look_again(bucket, roles, user, n)
        sound = [n for n in needed.values() if n not in suspects]
        for n in sound:
            self.report.needed.add(there[n.key].size_bytes)
        if self.digests:
            await asyncio.gather(*(self._digest(bucket, roles, user, n) for n in sound))
        await self._without_rows(bucket, user, [i for i in listed if i.key not in needed])

    async def _needed(self, roles: list[Bucket], user: uuid.UUID) -> dict[str, Needed]:
        return {n.key: n for n in await inventory.of_user(self.c, user) if n.bucket in roles}

    async def _look_again(self, bucket: str, roles: list[Bucket], user: uuid.UUID, needed: Needed) -> None:
        """It was written after the listing, or is going: the object first, then whether its row needs it."""
        head = await self.store.head(bucket, needed.key)
        if head is not None and needed.size_bytes in (None, head.size_bytes):
            self.report.needed.add(head.size_bytes)
            if self.digests:
                await self._digest(bucket, roles, user, needed)
        elif (await self._needed(roles, user)).get(needed.key) != needed:
            return
        elif head is None:
            self.report.missing.append(f"{bucket}/{needed.key}")
        else:
            self.report.wrong.append(
                f"{bucket}/{needed.key} has {head.size_bytes} bytes, and should have {needed.size_bytes}"
            )

    async def _digest(self, bucket: str, roles: list[Bucket], user: uuid.UUID, needed: Needed) -> None:
        if needed.sha256 is None:
            return
        digest = hashlib.sha256()
        try:
            async with self._slots, aclosing(self.store.stream(bucket, needed.key)) as chunks:
                async for chunk in chunks:
                    digest.update(chunk)
        except ObjectMissing:  # since it was listed
            await self._look_again(bucket, roles, user, needed)
            return
        except StorageCorrupt as error:
            self.report.wrong.append(f"{bucket}/{needed.key}: {error.detail}")
            return
        if digest.hexdigest() != needed.sha256:
            self.report.wrong.append(
                f"{bucket}/{needed.key} has the SHA-256 {digest.hexdigest()}, and should have {needed.sha256}"
            )

    async def _without_rows(self, bucket: str, user: uuid.UUID, rest: list[Listed]) -> None:
        """An object that no row needs: its file, run, export or model may be known all the same."""
        if not rest:
            return
        subjects = {item.key: _subject(item.key) for item in rest}
        ids = list({s for s in subjects.values() if s is not None})
        known = await orphans.known_files(self.c, ids) | await orphans.known_tasks(self.c, ids)
        paths = await orphans.known_paths(self.c, list(subjects))
        exported = bool(await orphans.known_exports(self.c, [user]))
        for item in rest:
            subject = subjects[item.key]
            if subject in known or item.key in paths or (exported and f"{user}/export/" in item.key):
                self.report.beside.add(item.size_bytes)
            elif item.last_modified >= self.old:
                self.report.new.add(item.size_bytes)
            else:
                self._orphan(bucket, item)

    def _strangers(self, bucket: str, listed: list[Listed]) -> None:
        for item in listed:
            if not item.key.startswith(PROBE_PREFIX):
                self._orphan(bucket, item)

    def _orphan(self, bucket: str, item: Listed) -> None:
        self.report.orphaned.add(item.size_bytes)
        if len(self.report.orphans) < MOST_NAMED:
            self.report.orphans.append(f"{bucket}/{item.key}")


def _is_off(needed: Needed, listed: Listed | None) -> bool:
    return listed is None or needed.size_bytes not in (None, listed.size_bytes)


async def _by_user(store: Store, bucket: str) -> AsyncIterator[tuple[uuid.UUID | None, list[Listed]]]:
    """A bucket's objects, one user's at a time, since that is what keys begin with; None: nobody's."""
    gathered: list[Listed] = []
    whose: uuid.UUID | None = None
    async for item in store.list(bucket, ""):
        user = _id(item.key.partition("/")[0])
        if gathered and user != whose:
            yield whose, gathered
            gathered = []
        whose = user
        gathered.append(item)
    if gathered:
        yield whose, gathered


def _subject(key: str) -> uuid.UUID | None:
    """The file or run that a key is of: `{user_id}/{subject_id}/…`, as the packager's sweep reads it."""
    parts = key.split("/")
    return _id(parts[1]) if len(parts) > 2 else None


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
