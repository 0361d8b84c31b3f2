"""Entries → the content of a ZIP, in constant memory. No I/O but on the streams it is handed.

What is large stands in the archive as it is stored: compressing a pickle is many times slower than a store
reads and writes, and what is not changed need not even be read. An entry that says where its object is, how
large it is and what its CRC-32 is, is handed on as a whole, for the store to copy; small ones are read, and
texts among them squeezed. Only what is large and of unknown CRC-32 is written with its sizes behind it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from services.packager.zip_records import DEFLATED, OLDEST, STORED, Record, directory
from shared.errors import StorageCorrupt

S = TypeVar("S")

SUMS = "SHA256SUMS"
SMALL_BYTES = 5 * 2**20
"""Below this a member is read before its header is written; S3 copies no part that is smaller."""

_TEXT_LEVEL = 6
_TEXTS = frozenset({"csv", "json", "md", "py", "svg", "txt"})

_WIDE_BYTES = 2**32 - 2**24
"""From here on what is written in deflate's stored blocks may need more than 32 bits: they take five bytes
every 64 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[S]):
    """One member: `size` in bytes, `sha256` hexadecimal and `crc32` where they are known beforehand.

    `chunks` is asked for bytes only when the member's turn comes, and not at all where all three are known
    and `source` says which object of the store it is.
    """

    name: str
    size: int | None
    mtime: dt.datetime
    chunks: AsyncIterator[bytes]
    sha256: str | None = None
    crc32: int | None = None
    source: S | None = None
    squeeze: bool = True
    """False: as it is, although its name is a text's."""


async def zip_contents(entries: AsyncIterable[Entry[S]]) -> AsyncGenerator[bytes | S, None]:
    """The ZIP (ZIP64 where a number needs it): bytes, and in their place between them the sources of large
    members.

    The same entries give the same content. The last member is SHA256SUMS, as `sha256sum -c` reads it, with
    the digests of what went into the archive; a source's is the one announced, which whoever copies it has
    to hold it to. Raises StorageCorrupt where a member's bytes are not those announced, ValueError for names
    that are taken or lead out of the folder they are unpacked in; what the streams raise passes through.
    """
    archive = _Archive()
    try:
        async for entry in entries:
            member = archive.member(entry)
            async with aclosing(member):
                async for content in member:
                    yield content
        for block in archive.end():
            yield block
    finally:
        if close := getattr(entries, "aclose", None):
            await close()


class _Archive:
    """What has been written so far."""

    def __init__(self) -> None:
        self.offset = 0
        self.records: list[Record] = []
        self.digests: dict[str, str] = {}
        self.taken = {SUMS.casefold()}
        self.newest = OLDEST

    async def member(self, entry: Entry[S]) -> AsyncGenerator[bytes | S, None]:
        _check_name(entry.name, self.taken)
        self.newest = max(self.newest, entry.mtime)
        if entry.source is not None and _is_copied(entry):
            assert entry.size is not None and entry.crc32 is not None and entry.sha256 is not None
            record = self._record(entry, STORED, size=entry.size, packed=entry.size, crc32=entry.crc32)
            yield self._add(record, record.header())
            self.offset += entry.size
            self.digests[entry.name] = entry.sha256
            yield entry.source
            return
        async with aclosing(_chunks(entry.chunks)) as chunks:
            read, ended = await _beginning(chunks, entry.size)
            if ended:
                yield await self._small(entry, b"".join(read))
                return
            async for block in self._streamed(entry, _again(read, chunks)):
                yield block

    async def _small(self, entry: Entry[S], data: bytes) -> bytes:
        """Header and bytes, squeezed where that is worth it."""
        digest, crc32, squeezed = await asyncio.to_thread(_pack, data, _is_text(entry))
        self._check(entry, len(data), digest)
        method, packed = (DEFLATED, squeezed) if len(squeezed) < len(data) else (STORED, data)
        record = self._record(entry, method, size=len(data), packed=len(packed), crc32=crc32)
        return self._add(record, record.header() + packed)

    async def _streamed(
        self, entry: Entry[S], chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """With its sizes behind it. What is not squeezed is deflate's stored blocks all the same: where the
        sizes follow, readers that only go forward need a method that knows its own end."""
        wide = entry.size is None or entry.size >= _WIDE_BYTES
        record = replace(self._record(entry, DEFLATED), follows=True, wide=wide)
        self.offset += len(header := record.header())
        yield header
        packing, packed = _Packing(_TEXT_LEVEL if _is_text(entry) else 0), 0
        async with aclosing(chunks):
            async for chunk in chunks:
                block = await asyncio.to_thread(packing.add, chunk)
                if entry.size is not None and packing.size > entry.size:
                    break
                packed += len(block)
                if block:
                    yield block
        self._check(entry, packing.size, packing.sha256.hexdigest())
        last = packing.end()
        packed += len(last)
        record = replace(record, size=packing.size, packed=packed, crc32=packing.crc32)
        self.offset += packed
        yield last + self._add(record, record.descriptor())

    def end(self) -> list[bytes]:
        """The digests, and the directory."""
        sums = "".join(f"{digest}  {name}\n" for name, digest in self.digests.items()).encode()
        _, crc32, squeezed = _pack(sums, True)
        method, packed = (DEFLATED, squeezed) if len(squeezed) < len(sums) else (STORED, sums)
        record = Record(
            name=SUMS,
            mtime=self.newest,
            method=method,
            offset=self.offset,
            size=len(sums),
            packed=len(packed),
            crc32=crc32,
        )
        return [self._add(record, record.header() + packed), directory(self.records, self.offset)]

    def _record(
        self, entry: Entry[S], method: int, *, size: int = 0, packed: int = 0, crc32: int = 0
    ) -> Record:
        return Record(
            name=entry.name,
            mtime=entry.mtime,
            method=method,
            offset=self.offset,
            size=size,
            packed=packed,
            crc32=crc32,
        )

    def _add(self, record: Record, content: bytes) -> bytes:
        """Note a member, and what is written of it now."""
        self.records.append(record)
        self.offset += len(content)
        return content

    def _check(self, entry: Entry[S], size: int, digest: str) -> None:
        """Raise StorageCorrupt unless the member is what was announced; note its digest."""
        if size != (size if entry.size is None else entry.size) or digest != (entry.sha256 or digest):
            raise StorageCorrupt(member=entry.name, expected=(entry.size, entry.sha256), found=(size, digest))
        self.digests[entry.name] = digest


class _Packing:
    """A deflate stream, and the size and digests of what went into it."""

    def __init__(self, level: int) -> None:
        self.sha256, self.crc32, self.size = hashlib.sha256(), 0, 0
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)

    def add(self, chunk: bytes) -> bytes:
        self.sha256.update(chunk)
        self.crc32 = zlib.crc32(chunk, self.crc32)
        self.size += len(chunk)
        return self._deflate.compress(chunk)

    def end(self) -> bytes:
        return self._deflate.flush()


def _pack(data: bytes, text: bool) -> tuple[str, int, bytes]:
    """SHA-256, CRC-32, and it squeezed if it is a text; else as it is."""
    squeezed = zlib.compress(data, _TEXT_LEVEL, -zlib.MAX_WBITS) if text else data
    return hashlib.sha256(data).hexdigest(), zlib.crc32(data), squeezed


def _is_copied(entry: Entry[S]) -> bool:
    known = None not in (entry.size, entry.sha256, entry.crc32)
    return known and (entry.size or 0) >= SMALL_BYTES


def _is_text(entry: Entry[S]) -> bool:
    return entry.squeeze and entry.name.rpartition(".")[2].lower() in _TEXTS


async def _beginning(chunks: AsyncIterator[bytes], size: int | None) -> tuple[list[bytes], bool]:
    """The first `SMALL_BYTES` or a little more, and whether that is all. No more than just over `size`."""
    read, total = [], 0
    async for chunk in chunks:
        read.append(chunk)
        total += len(chunk)
        if size is not None and total > size:
            return read, True  # too much: what is compared next says so
        if total >= SMALL_BYTES:
            return read, False
    return read, True


async def _again(read: list[bytes], chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    while read:
        yield read.pop(0)
    async for chunk in chunks:
        yield chunk


async def _chunks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What can be closed, and closes what it reads."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if close := getattr(chunks, "aclose", None):
            await close()


def _check_name(name: str, taken: set[str]) -> None:
    outside = any(part in ("", ".", "..") for part in name.split("/"))
    if outside or any(c in "\\:" or not c.isprintable() for c in name):
        raise ValueError(f"not a name for a member: {name!r}")
    # unpacked on Windows or macOS, names that differ in case alone overwrite each other
    if name.casefold() in taken:
        raise ValueError(f"a second member of the name {name!r}")
    taken.add(name.casefold())
