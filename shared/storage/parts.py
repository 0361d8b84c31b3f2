"""Cutting what is to be stored into the parts of an upload: bytes that pass through here, and spans of
objects that are in the store already and that it copies itself.

S3 takes parts of 5 MiB to 5 GiB, only the last may be smaller, and 10,000 of them
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html). So what comes between two copied
objects is rarely a part by itself: it borrows the beginning of the object that follows until there are
5 MiB of it, and the store copies the rest.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from contextlib import aclosing

from msgspec import Struct

from shared.errors import StorageCorrupt, TooLarge

MIB = 2**20
PART_BYTES = 8 * MIB
SMALLEST_PART_BYTES = 5 * MIB
LARGEST_PART_BYTES = 5 * 2**30
MOST_PARTS = 10_000
PARTS_OF_FIRST_SIZE = 5_000
PARTS_BETWEEN_DOUBLINGS = 500
COPIED_PER_SENT = 16
"""A copied part is so many times a sent one (128 MiB at first): it costs no memory here, and several that
are copied side by side are faster than one."""


class ObjectRef(Struct, frozen=True, kw_only=True):
    """An object that is in the store already, as part of another's content.

    `etag` is what the store called it by when its digest was taken: as long as it still does, its bytes need
    not be looked at again. None: they do.
    """

    bucket: str
    key: str
    size_bytes: int
    sha256: str
    etag: str | None = None


Content = bytes | ObjectRef


class Span(Struct, frozen=True):
    """Bytes `start` up to (not including) `end` of an object, to be copied by the store."""

    source: ObjectRef
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Sources(Struct, frozen=True):
    """How objects that are content are come by: `copied` says whether the store is to copy one of them,
    `read` gives its bytes from the start up to an end, or all."""

    copied: Callable[[ObjectRef], Awaitable[bool]]
    read: Callable[[ObjectRef, int | None], AsyncGenerator[bytes, None]]


Told = Callable[[int], Awaitable[None]]
"""Is called with how many bytes there are by now, as they come."""


def part_bytes(number: int) -> int:
    """Size of the `number`-th part (from 1): 8 MiB for the first 40 GiB, then doubling by steps.

    So memory stays the same for any body one meets, and the 10,000 parts S3 allows still hold
    more than the 5 TiB it allows.
    """
    doublings = max(0, number - PARTS_OF_FIRST_SIZE + PARTS_BETWEEN_DOUBLINGS - 1) // PARTS_BETWEEN_DOUBLINGS
    return min(PART_BYTES << doublings, LARGEST_PART_BYTES)


def least_part(number: int) -> int:
    """What the `number`-th part has at least: what S3 asks, and, once many parts are used up, a whole one."""
    return SMALLEST_PART_BYTES if number <= PARTS_OF_FIRST_SIZE else part_bytes(number)


def borrowed(number: int, filled: int, size: int) -> int | None:
    """How much of an object of `size` bytes goes into the `number`-th part, which holds `filled` bytes, so
    that the store can copy the rest; None where that leaves too little to copy."""
    take = max(0, least_part(number) - filled) if filled else 0
    after = number + 1 if filled else number
    return take if size - take >= least_part(after) else None


def spans(source: ObjectRef, start: int, number: int) -> list[Span]:
    """An object from `start` on as parts of nearly equal size, the first of which is the `number`-th."""
    rest = source.size_bytes - start
    most = min(COPIED_PER_SENT * part_bytes(number), LARGEST_PART_BYTES)
    size = -(-rest // -(-rest // most))
    return [
        Span(source, at, min(at + size, source.size_bytes)) for at in range(start, source.size_bytes, size)
    ]


async def cut(
    contents: AsyncIterable[Content],
    *,
    sources: Sources | None = None,
    max_bytes: int | None = None,
    told: Told | None = None,
) -> AsyncGenerator[tuple[io.BytesIO | Span, bool], None]:
    """The parts in order; the flag says that nothing follows, and is always on a body.

    Raises TooLarge, and StorageCorrupt where an object that is read has another digest than it is said to
    have; what `contents` raises passes through. `contents` is closed.
    """
    filling, total = _Filling(), 0
    try:
        async for content in contents:
            end: int | None = None
            if isinstance(content, ObjectRef):
                assert sources is not None
                if await sources.copied(content):
                    end = borrowed(filling.number, filling.body.tell(), content.size_bytes)
                chunks = _read(sources, content, end)
            else:
                chunks = _once(content)
            async with aclosing(chunks):
                async for chunk in chunks:
                    total += len(chunk)
                    if max_bytes is not None and total > max_bytes:
                        raise TooLarge(max_bytes=max_bytes)
                    for body in filling.add(chunk):
                        yield body, False
                    if told is not None:
                        await told(total)
            if isinstance(content, ObjectRef) and end is not None:
                if filling.body.tell():
                    yield filling.take(), False
                for span in spans(content, end, filling.number):
                    filling.number += 1
                    total += span.size
                    yield span, False
                    if told is not None:
                        await told(total)
        yield filling.body, True
    finally:
        # a source left half-read would hold on to its connection until it is collected
        if close := getattr(contents, "aclose", None):
            await close()


async def _once(chunk: bytes) -> AsyncGenerator[bytes, None]:
    yield chunk


async def _read(sources: Sources, ref: ObjectRef, end: int | None) -> AsyncGenerator[bytes, None]:
    """The beginning of an object whose rest is copied; or all of it, compared with its digest."""
    if end == 0:
        return
    digest, size = hashlib.sha256(), 0
    async with aclosing(sources.read(ref, end)) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if end is None:
                digest.update(chunk)
                if size > ref.size_bytes:
                    break
            yield chunk
    if end is None and (size, digest.hexdigest()) != (ref.size_bytes, ref.sha256):
        raise StorageCorrupt(
            bucket=ref.bucket, key=ref.key, expected=ref.sha256, found=(size, digest.hexdigest())
        )


class _Filling:
    """The part that is being filled, and its number."""

    def __init__(self) -> None:
        self.number, self.body = 1, io.BytesIO()

    def add(self, chunk: bytes) -> Iterator[io.BytesIO]:
        """The parts that get full."""
        rest = memoryview(chunk)
        while rest:
            if self.number > 1 and not self.body.tell():
                # not before: while the one that was taken waits to be sent, this one holds no memory
                self.body = _reserved(part_bytes(self.number))
            room = part_bytes(self.number) - self.body.tell()
            if not room:
                yield self.take()
                continue
            self.body.write(rest[:room])
            rest = rest[room:]

    def take(self) -> io.BytesIO:
        """What is filled; the next one begins."""
        taken, self.number = self.body, self.number + 1
        self.body = io.BytesIO()
        return taken


def _reserved(size: int) -> io.BytesIO:
    """A buffer that has its memory at once: grown by and by, buffers of this size leave the heap in
    pieces, and a long upload takes half as much again."""
    body = io.BytesIO()
    body.seek(size - 1)
    body.write(b"\0")
    body.seek(0)
    return body
