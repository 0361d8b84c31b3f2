"""The ZIP: what other programs read in it, what is refused, and that leaving early leaves nothing behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from services.packager.bundle import SUMS, Entry, zip_stream
from shared.errors import StorageCorrupt, StorageUnavailable

AT = dt.datetime(2026, 3, 4, 5, 6, 8, tzinfo=dt.UTC)
MIB = 2**20


def entry(name: str, data: bytes, *, sha256: str | None = "right", size: int | None = None) -> Entry:
    return Entry(
        name=name,
        size=len(data) if size is None else size,
        mtime=AT,
        chunks=pieces(data),
        sha256=hashlib.sha256(data).hexdigest() if sha256 == "right" else sha256,
    )


async def pieces(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def each(entries: Iterable[Entry]) -> AsyncIterator[Entry]:
    for item in entries:
        yield item


async def zipped(*entries: Entry) -> bytes:
    return b"".join([block async for block in zip_stream(each(entries))])


FILES = {
    "best_model.pkl": bytes(range(256)) * 5000,
    "leaderboard.csv": b"rank,model_name\n" + b"1,ridge\n" * 1000,
    "plots/ridge_résidus.svg": b"<svg/>" * 3000,
    "empty.txt": b"",
}


async def test_python_reads_what_was_put_in() -> None:
    archive = zipfile.ZipFile(io.BytesIO(await zipped(*(entry(n, d) for n, d in FILES.items()))))
    assert archive.testzip() is None
    assert archive.namelist() == [*FILES, SUMS]
    for name, data in FILES.items():
        assert archive.read(name) == data
        assert archive.getinfo(name).date_time == (2026, 3, 4, 5, 6, 8)
        assert archive.getinfo(name).external_attr >> 16 == 0o100644
    sums = "".join(f"{hashlib.sha256(d).hexdigest()}  {n}\n" for n, d in FILES.items())
    assert archive.read(SUMS).decode() == sums


async def test_pickles_are_stored_and_texts_are_squeezed() -> None:
    archive = zipfile.ZipFile(io.BytesIO(await zipped(*(entry(n, d) for n, d in FILES.items()))))
    pickle, text = archive.getinfo("best_model.pkl"), archive.getinfo("leaderboard.csv")
    assert pickle.file_size < pickle.compress_size < pickle.file_size * 1.001
    assert text.compress_size < text.file_size / 10


async def test_other_programs_read_it(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    path.write_bytes(await zipped(*(entry(n, d) for n, d in FILES.items())))
    testers = [[sys.executable, "-m", "zipfile", "-t"], ["unzip", "-t"], ["7z", "t"], ["bsdtar", "-tf"]]
    found = [tester for tester in testers if shutil.which(tester[0])]
    assert found
    for tester in found:
        done = subprocess.run([*tester, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_the_same_entries_give_the_same_bytes() -> None:
    first = await zipped(*(entry(n, d) for n, d in FILES.items()))
    assert first == await zipped(*(entry(n, d) for n, d in FILES.items()))


async def test_nothing_to_pack_is_a_zip_with_its_sums() -> None:
    archive = zipfile.ZipFile(io.BytesIO(await zipped()))
    assert archive.namelist() == [SUMS]
    assert archive.read(SUMS) == b""


@pytest.mark.parametrize("year", [1970, 2107])
async def test_times_a_zip_cannot_hold_are_moved_to_the_nearest(year: int) -> None:
    item = Entry(name="a", size=1, mtime=AT.replace(year=year), chunks=pieces(b"x"))
    archive = zipfile.ZipFile(io.BytesIO(await zipped(item)))
    assert archive.getinfo("a").date_time[0] in (1980, 2038)


async def test_members_over_four_gib_are_zip64() -> None:
    """The bytes pass by; only the end is kept, which is where readers look for the directory."""
    size, zeros = 2**32 + 5, bytes(4 * MIB)

    async def many() -> AsyncIterator[bytes]:
        for start in range(0, size, len(zeros)):
            yield zeros[: size - start]

    entries = [Entry(name="big.pkl", size=size, mtime=AT, chunks=many()), entry("after.txt", b"behind")]
    total, tail = 0, b""
    async for block in zip_stream(each(entries)):
        total += len(block)
        tail = (tail + block)[-2 * MIB :]
    archive = zipfile.ZipFile(Tail(tail, total))
    assert archive.getinfo("big.pkl").file_size == size
    assert archive.getinfo("after.txt").header_offset > 2**32
    assert archive.read("after.txt") == b"behind"


class Tail(io.RawIOBase):
    """A seekable file of which only the end can be read."""

    def __init__(self, tail: bytes, total: int) -> None:
        self.tail, self.total, self.position = tail, total, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.total}[whence]
        return self.position

    def read(self, size: int = -1) -> bytes:
        start = self.position - (self.total - len(self.tail))
        assert start >= 0, "asked for bytes that were not kept"
        data = self.tail[start:] if size < 0 else self.tail[start : start + size]
        self.position += len(data)
        return data


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: entry("a.pkl", b"x" * 100, sha256="0" * 64),
        lambda: entry("a.pkl", b"x" * 100, size=99),
        lambda: entry("a.pkl", b"x" * 100, size=101),
        lambda: entry("a.pkl", b"x" * MIB, size=5),
    ],
)
async def test_a_member_that_is_not_what_was_announced_is_refused(wrong: object) -> None:
    with pytest.raises(StorageCorrupt) as caught:
        await zipped(entry("fine.txt", b"fine"), wrong())  # type: ignore[operator]
    assert caught.value.context["member"] == "a.pkl"


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "C:x", "a\nb", "\u202egpj.exe", "./a", "a/", SUMS],
)
async def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await zipped(entry(name, b"x"))


async def test_a_second_member_of_a_name_is_refused_whatever_its_case() -> None:
    with pytest.raises(ValueError, match="second member"):
        await zipped(entry("Ridge.pkl", b"x"), entry("ridge.pkl", b"y"))


async def test_what_a_stream_raises_passes_through() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable, match="gone"):
        await zipped(Entry(name="a", size=9, mtime=AT, chunks=broken()))


class Endless:
    """An entry that never stops giving, or never gives, and says when it was closed."""

    def __init__(self, *, stuck: bool) -> None:
        self.stuck, self.waiting, self.closed = stuck, asyncio.Event(), asyncio.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(MIB)
                if self.stuck:
                    self.waiting.set()
                    await asyncio.Event().wait()
        finally:
            self.closed.set()

    def entry(self) -> Entry:
        return Entry(name="endless.pkl", size=2**40, mtime=AT, chunks=self.chunks())


def zip_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("zip")]


async def no_zip_threads() -> None:
    for thread in zip_threads():
        await asyncio.to_thread(thread.join, 10)
    assert not zip_threads()


async def test_leaving_early_closes_the_streams_and_the_thread() -> None:
    endless = Endless(stuck=False)
    async with aclosing(zip_stream(each([endless.entry()]))) as blocks:
        async for block in blocks:
            if len(block) == MIB:  # the first one is only the member's header
                break
    assert endless.closed.is_set()
    await no_zip_threads()


async def test_a_cancellation_while_waiting_for_bytes_closes_the_streams_and_the_thread() -> None:
    endless = Endless(stuck=True)

    async def consume() -> None:
        async with aclosing(zip_stream(each([endless.entry()]))) as blocks:
            async for _ in blocks:
                pass

    consumer = asyncio.create_task(consume())
    await asyncio.wait_for(endless.waiting.wait(), 10)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(consumer, 10)
    assert endless.closed.is_set()
    await no_zip_threads()


async def test_many_archives_at_once_do_not_starve_each_other() -> None:
    """Each waits for work in the loop's own thread pool, as name resolution is."""

    async def through_the_pool() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield await asyncio.to_thread(bytes, 1000)

    async def one() -> bytes:
        return await zipped(Entry(name="a.pkl", size=3000, mtime=AT, chunks=through_the_pool()))

    archives = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(60))), 20)
    assert {zipfile.ZipFile(io.BytesIO(data)).testzip() for data in archives} == {None}
