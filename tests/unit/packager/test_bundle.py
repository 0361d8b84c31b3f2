"""The ZIP: what other programs read in it, what is refused, and that leaving early leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
import io
import random
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from services.packager.bundle import SMALL_BYTES, SUMS, Entry, zip_contents
from services.packager.zip_records import DEFLATED, STORED, Record, directory
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


async def zipped(*entries: Entry[bytes]) -> bytes:
    """The archive; the source of an entry here is the very bytes."""
    return b"".join([content async for content in zip_contents(each(entries))])


def kept(name: str, data: bytes) -> Entry[bytes]:
    """A member of which everything is known beforehand."""
    return dataclasses.replace(entry(name, data), crc32=zlib.crc32(data), source=data)


DATA = random.Random(3).randbytes(SMALL_BYTES + 5)
FILES = {
    "best_model.pkl": random.Random(1).randbytes(1_300_000),
    "leaderboard.csv": b"rank,model_name\n" + b"1,ridge\n" * 1000,
    "plots/ridge_résidus.svg": b"<svg/>" * 3000,
    "empty.txt": b"",
}


class Kinds:
    """One entry of every way in which a member is written, made anew for each archive."""

    def __iter__(self) -> Iterator[Entry[bytes]]:
        yield from (entry(name, data) for name, data in FILES.items())
        yield kept("known.pkl", DATA)
        yield entry("of_unknown_crc.pkl", DATA)
        yield Entry(name="of_unknown_size.json", size=None, mtime=AT, chunks=pieces(DATA))


EVERY_KIND = Kinds()


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
    assert (pickle.compress_type, pickle.compress_size) == (zipfile.ZIP_STORED, pickle.file_size)
    assert text.compress_size < text.file_size / 10


async def test_other_programs_read_it(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    path.write_bytes(await zipped(*EVERY_KIND))
    testers = [[sys.executable, "-m", "zipfile", "-t"], ["unzip", "-t"], ["zip", "-T"], ["7z", "t"]]
    testers += [["7zz", "t"], ["bsdtar", "-tf"]]
    for tester in (tester for tester in testers if shutil.which(tester[0])):
        done = subprocess.run([*tester, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_whoever_only_goes_forward_reads_it_too() -> None:
    """As from a pipe: sizes stand before the bytes, or the method knows its own end."""
    data, at, names = await zipped(*EVERY_KIND), 0, []
    while data[at : at + 4] == b"PK\3\4":
        _, flags, method, _, _, crc32, packed, size, name_length, extra_length = struct.unpack_from(
            "<HHHHHIIIHH", data, at + 4
        )
        name = data[at + 30 : at + 30 + name_length].decode()
        at += 30 + name_length + extra_length
        if flags & 8:
            assert method == zipfile.ZIP_DEFLATED
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            content = inflate.decompress(data[at:]) + inflate.flush()
            at = len(data) - len(inflate.unused_data)
            assert data[at : at + 4] == b"PK\7\x08"
            width = "<IQQ" if crc32 == 0 and size == 2**32 - 1 else "<III"
            crc32, _, size = struct.unpack_from(width, data, at + 4)
            at += 4 + struct.calcsize(width)
        else:
            content = data[at : at + packed]
            at += packed
            if method == zipfile.ZIP_DEFLATED:
                content = zlib.decompress(content, -zlib.MAX_WBITS)
        assert (zlib.crc32(content), len(content)) == (crc32, size)
        names.append(name)
    assert names == [*(item.name for item in EVERY_KIND), SUMS]
    assert data[at : at + 4] == b"PK\1\2"


async def test_names_say_that_they_are_utf8_only_where_they_are_more_than_ascii() -> None:
    archive = zipfile.ZipFile(io.BytesIO(await zipped(*(entry(n, d) for n, d in FILES.items()))))
    utf8 = {item.filename for item in archive.infolist() if item.flag_bits & 0x800}
    assert utf8 == {"plots/ridge_résidus.svg"}


async def test_what_is_large_and_known_is_handed_on_as_a_whole() -> None:
    large, small = bytes(SMALL_BYTES), bytes(SMALL_BYTES - 1)
    entries = [kept("large.pkl", large), kept("small.pkl", small)]
    contents = [content async for content in zip_contents(each(entries))]
    assert [content is large for content in contents].count(True) == 1
    archive = zipfile.ZipFile(io.BytesIO(b"".join(contents)))
    assert archive.testzip() is None
    assert [archive.read(item.name) for item in entries] == [large, small]
    sums = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {item.name}\n"
        for item, data in zip(entries, (large, small), strict=True)
    )
    assert archive.read(SUMS).decode() == sums


async def test_what_is_large_and_of_unknown_crc_is_read_with_its_sizes_behind_it() -> None:
    data = random.Random(2).randbytes(SMALL_BYTES + 1)
    unknown = Entry(name="account.json", size=None, mtime=AT, chunks=pieces(data))
    archive = zipfile.ZipFile(io.BytesIO(await zipped(entry("old.pkl", data), unknown)))
    assert archive.testzip() is None
    assert archive.read("old.pkl") == archive.read("account.json") == data
    assert all(archive.getinfo(name).flag_bits & 8 for name in ("old.pkl", "account.json"))
    assert archive.getinfo("old.pkl").compress_size < len(data) * 1.001


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
    """What is large is not there; only the end is kept, which is where readers look for the directory."""
    size = 2**32 + 5

    async def none() -> AsyncIterator[bytes]:
        raise AssertionError("a member that is known is not read")
        yield b""

    big: Entry[str] = Entry(
        name="big.pkl", size=size, mtime=AT, chunks=none(), sha256="0" * 64, crc32=7, source="big"
    )
    total, tail, header = 0, b"", b""
    async for content in zip_contents(each([big, entry("after.txt", b"behind")])):
        if isinstance(content, str):
            total, tail = total + size, b""
            continue
        header = header or content
        total, tail = total + len(content), tail + content
    assert struct.unpack_from("<HHQQ", header, 30 + len("big.pkl")) == (1, 16, size, size)
    archive = zipfile.ZipFile(Tail(tail, total))
    assert archive.getinfo("big.pkl").file_size == archive.getinfo("big.pkl").compress_size == size
    assert archive.getinfo("after.txt").header_offset > 2**32
    assert archive.read("after.txt") == b"behind"


def test_a_member_of_unknown_size_may_be_over_four_gib() -> None:
    """Its header says so beforehand, and a descriptor of the width behind it."""
    size, packed = 2**32 + 5, 2**32 + 700
    begun = Record(name="big.json", mtime=AT, method=DEFLATED, offset=0, follows=True, wide=True)
    header, ended = begun.header(), dataclasses.replace(begun, size=size, packed=packed, crc32=9)
    assert struct.unpack_from("<HHQQ", header, 30 + len("big.json")) == (1, 16, 0, 0)
    assert ended.descriptor() == struct.pack("<4sIQQ", b"PK\7\x08", 9, packed, size)
    assert len(ended.header()) == len(header)
    total = len(header) + packed + len(ended.descriptor())
    end = directory([ended], total)
    [info] = zipfile.ZipFile(Tail(end, total + len(end))).infolist()
    assert (info.file_size, info.compress_size, info.CRC) == (size, packed, 9)


def test_more_members_than_sixteen_bits_count_are_zip64() -> None:
    records = [
        Record(name=f"{number}", mtime=AT, method=STORED, offset=31 + number * 45) for number in range(65_536)
    ]
    before = records[0].header()
    archive = zipfile.ZipFile(io.BytesIO(before + directory(records, len(before))))
    assert len(archive.namelist()) == 65_536


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


async def test_leaving_early_closes_the_streams() -> None:
    endless = Endless(stuck=False)
    async with aclosing(zip_contents(each([endless.entry()]))) as blocks:
        async for block in blocks:
            if len(block) > 1000:  # the first one is only the member's header
                break
    assert endless.closed.is_set()


async def test_a_cancellation_while_waiting_for_bytes_closes_the_streams() -> None:
    endless = Endless(stuck=True)

    async def consume() -> None:
        async with aclosing(zip_contents(each([endless.entry()]))) as blocks:
            async for _ in blocks:
                pass

    consumer = asyncio.create_task(consume())
    await asyncio.wait_for(endless.waiting.wait(), 10)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(consumer, 10)
    assert endless.closed.is_set()
