"""Entries → the bytes of a ZIP, in constant memory. No I/O but on the streams it is handed.

Pickles are stored, not squeezed: compressing is many times slower than a store reads and writes.
"Stored" is written as deflate's stored blocks (level 0): the method "stored" wants a member's CRC-32
before its first byte, and that is known only after the last one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from stream_zip import ZIP_AUTO, Method, stream_zip

from shared.errors import StorageCorrupt

T = TypeVar("T")

SUMS = "SHA256SUMS"
BLOCK_BYTES = 2**20
_MODE = stat.S_IFREG | 0o644

_TEXT_LEVEL = 6
_TEXTS = frozenset({"csv", "json", "md", "py", "svg", "txt"})

_OLDEST = dt.datetime(1980, 1, 1, tzinfo=dt.UTC)
"""MS-DOS time, which every ZIP header holds, begins here."""

_UNKNOWN = 2**62
"""Bytes, for what is written as if it were too large for the plain format."""

_NEWEST = dt.datetime(2038, 1, 1, tzinfo=dt.UTC)
"""The Unix time beside it is 32 bits wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member: `size` in bytes and `sha256` hexadecimal where they are known beforehand.

    `chunks` is asked for bytes only when the member's turn comes.
    """

    name: str
    size: int | None
    mtime: dt.datetime
    chunks: AsyncIterator[bytes]
    sha256: str | None = None
    squeeze: bool = True
    """False: as it is, although its name is a text's."""


async def zip_stream(entries: AsyncIterable[Entry]) -> AsyncGenerator[bytes, None]:
    """The ZIP (ZIP64 where a size or an offset needs it), in blocks of one MiB.

    The same entries give the same bytes. The last member is SHA256SUMS, as `sha256sum -c` reads it,
    with the digests of what really went into the archive. Raises StorageCorrupt where a member's
    bytes are not those announced, ValueError for names that are taken or lead out of the folder
    they are unpacked in; what the streams raise passes through.
    """
    # stream-zip pulls, and its own async face pulls from threads of the loop's shared pool, all of
    # which a few archives at once could hold while they wait for work that needs one
    async with _Puller() as puller:
        archive = iter(stream_zip(_members(entries, puller), chunk_size=BLOCK_BYTES))
        while block := await puller.run(lambda: next(archive, b"")):
            yield block


Member = tuple[str, dt.datetime, int, Method, Iterator[bytes]]


def _members(entries: AsyncIterable[Entry], puller: _Puller) -> Iterator[Member]:
    digests: dict[str, str] = {}
    taken = {SUMS.casefold()}
    newest = _OLDEST
    for entry in puller.each(entries):
        _check_name(entry.name, taken)
        mtime = min(max(entry.mtime.astimezone(dt.UTC), _OLDEST), _NEWEST)
        newest = max(newest, mtime)
        method = _method(entry.name, entry.size, entry.squeeze)
        yield entry.name, mtime, _MODE, method, _bytes(entry, puller, digests)
    sums = "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()
    yield SUMS, newest, _MODE, _method("sums.txt", len(sums)), iter([sums])


def _bytes(entry: Entry, puller: _Puller, digests: dict[str, str]) -> Iterator[bytes]:
    """The member's chunks, counted and hashed on their way."""
    digest, size = hashlib.sha256(), 0
    for chunk in puller.each(entry.chunks):
        digest.update(chunk)
        size += len(chunk)
        if entry.size is not None and size > entry.size:
            break
        yield chunk
    found = digest.hexdigest()
    if size != (size if entry.size is None else entry.size) or found != (entry.sha256 or found):
        raise StorageCorrupt(member=entry.name, expected=(entry.size, entry.sha256), found=(size, found))
    digests[entry.name] = found


def _method(name: str, size: int | None, squeeze: bool = True) -> Method:
    text = squeeze and name.rpartition(".")[2].lower() in _TEXTS
    return ZIP_AUTO(_UNKNOWN if size is None else size, level=_TEXT_LEVEL if text else 0)


def _check_name(name: str, taken: set[str]) -> None:
    outside = any(part in ("", ".", "..") for part in name.split("/"))
    if outside or any(c in "\\:" or not c.isprintable() for c in name):
        raise ValueError(f"not a name for a member: {name!r}")
    # unpacked on Windows or macOS, names that differ in case alone overwrite each other
    if name.casefold() in taken:
        raise ValueError(f"a second member of the name {name!r}")
    taken.add(name.casefold())


class _Puller:
    """A thread of its own for synchronous code that pulls from asynchronous streams.

    The loop waits in `run` for the thread, the thread in `each` for the loop. Leaving, early or
    not, wakes the thread, waits until it is idle, and closes the streams left half-read.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "zip")
        self._running: asyncio.Future[Any] | None = None
        self._step: asyncio.Task[Any] | None = None
        self._open: list[AsyncIterator[Any]] = []
        self._left = False

    async def __aenter__(self) -> _Puller:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._left = True
        if self._step is not None:
            self._step.cancel()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        self._thread.shutdown(wait=False)
        for stream in reversed(self._open):
            if close := getattr(stream, "aclose", None):
                await close()

    async def run(self, step: Callable[[], T]) -> T:
        """Run a step in the thread."""
        running = self._loop.run_in_executor(self._thread, step)
        self._running = running
        # a cancellation must not lose the future: the thread goes on until `__aexit__` wakes it
        return await asyncio.shield(running)

    def each(self, stream: AsyncIterable[T]) -> Iterator[T]:
        """In the thread: the items of an asynchronous stream."""
        iterator = aiter(stream)
        self._open.append(iterator)

        async def step() -> T:
            # noted here, in the loop: the thread could be too late to note what it waits for
            self._step = asyncio.current_task()
            if self._left:
                raise asyncio.CancelledError
            return await anext(iterator)

        while True:
            try:
                item = asyncio.run_coroutine_threadsafe(step(), self._loop).result()
            except StopAsyncIteration:
                self._open.remove(iterator)
                return
            yield item
