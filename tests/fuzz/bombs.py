"""Small uploads that unpack to much, and what they come to: `python -m tests.fuzz.bombs [name …]`.

Each is read in a child as the trainer reads it, with the default limits and a guard of 2 GiB: the answer,
the seconds, the peak of the child's memory and of the disk are printed as a table.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from msgspec import Struct

from services.trainer.child import Children
from services.trainer.steps import STEPS
from services.trainer.table_limits import TableLimits
from shared.errors import TrainyardError

GUARD = 2 * 2**30
PATIENCE_S = 600.0
MEBI = 2**20
GIGA = 10**9

Bomb = Callable[[float, Path], None]
"""(scale, file): written to the file; at scale 1 as large as its name says."""


class Blown(Struct, kw_only=True):
    """Bytes throughout. `answer`: what the user is told, or "read"."""

    sent: int
    answer: str
    kind: str
    seconds: float
    memory: int
    disk: int


def _gz(path: Path, pieces: Iterator[bytes]) -> None:
    with gzip.open(path, "wb", compresslevel=6) as file:
        for piece in pieces:
            file.write(piece)


def _many(head: bytes, piece: bytes, total: float, tail: bytes = b"\n") -> Iterator[bytes]:
    yield head
    block = piece * max(1, MEBI // len(piece))
    for _ in range(int(total / len(block)) + 1):
        yield block
    yield tail


def one_line_of_2_gb(scale: float, path: Path) -> None:
    _gz(path, _many(b"a,b\n1,", b"x", 2 * GIGA * scale))


def a_million_columns(scale: float, path: Path) -> None:
    names = [f"column {i}" for i in range(int(1e6 * scale))]
    cells = ",".join("1" * len(names))
    path.write_text("\n".join([",".join(names), cells, cells, ""]))


def a_quoted_cell_of_1_gb(scale: float, path: Path) -> None:
    _gz(path, _many(b'a,b\n1,"', b'""', GIGA * scale, b'"\n'))


def a_quoted_cell_of_short_lines(scale: float, path: Path) -> None:
    _gz(path, _many(b'a,b\n1,"', b'""\n', GIGA * scale, b'"\n'))


def a_record_of_a_million_quoted_lines(scale: float, path: Path) -> None:
    _gz(path, _many(b"a,b\n", b'"\n",', GIGA * scale))


def gzip_of_10_gb_of_zeros(scale: float, path: Path) -> None:
    _gz(path, _many(b"", b"\0", 10 * GIGA * scale))


def gzip_of_10_gb_of_rows(scale: float, path: Path) -> None:
    _gz(path, _many(b"a,b\n", b"1,2\n", 10 * GIGA * scale))


def gzip_in_gzip(scale: float, path: Path) -> None:
    _gz(path, _many(b"", b"\0", 10 * GIGA * scale))
    path.write_bytes(gzip.compress(path.read_bytes()))


def _zstd(path: Path, window_log: int, total: float) -> None:
    """One frame of runs, 128 KiB in four bytes (RFC 8878, 3.1.1), made by hand."""
    run = 128 * 1024
    block = (1 << 1 | run << 3).to_bytes(3, "little") + b"1"
    last = (1 | 1 << 1 | 1 << 3).to_bytes(3, "little") + b"\n"
    head = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    path.write_bytes(head + block * int(total / run) + last)


def zstd_of_10_gb(scale: float, path: Path) -> None:
    _zstd(path, 20, 10 * GIGA * scale)


def zstd_with_a_window_of_2_gib(scale: float, path: Path) -> None:
    _zstd(path, 31, 10 * GIGA * scale)


def parquet_of_a_megabyte_a_million_times(scale: float, path: Path) -> None:
    rows = int(1e6 * scale)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * MEBI]))
    pq.write_table(pa.table({"a": column}), path, compression="zstd")


def parquet_of_2_billion_rows(scale: float, path: Path) -> None:
    """Runs of one value, in one row group a hundred million."""
    group = pa.table({"a": pa.repeat(pa.scalar(1, pa.int8()), int(1e8 * scale))})
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(group, row_group_size=len(group))


def parquet_with_a_text_of_2_gib(scale: float, path: Path) -> None:
    text = pa.array(["x" * int((2**31 - MEBI) * scale)], pa.large_string())
    pq.write_table(
        pa.table({"a": text}), path, compression="zstd", use_dictionary=False, write_statistics=False
    )


def parquet_with_a_page_of_750_mb(scale: float, path: Path) -> None:
    zeros = pa.array(bytearray(int(GIGA * scale)), pa.uint8()).cast(pa.float64(), safe=False)[
        : int(0.75 * GIGA * scale / 8)
    ]
    pq.write_table(
        pa.table({"a": zeros}),
        path,
        compression="zstd",
        use_dictionary=False,
        data_page_size=2 * GIGA,
        write_batch_size=len(zeros),
        row_group_size=len(zeros),
    )


def parquet_of_100_000_row_groups(scale: float, path: Path) -> None:
    one = pa.table({"a": [1]})
    with pq.ParquetWriter(path, one.schema) as writer:
        for _ in range(int(1e5 * scale)):
            writer.write_table(one)


def two_thousand_columns_of_long_texts(scale: float, path: Path) -> None:
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(2_000)) + "\n")
        for row in range(int(500 * scale) + 10):
            file.write(",".join(f"{row}-{i}-{'x' * 200}" for i in range(2_000)) + "\n")


BOMBS: dict[str, Bomb] = {
    made.__name__: made
    for made in (
        one_line_of_2_gb,
        a_million_columns,
        a_quoted_cell_of_1_gb,
        a_quoted_cell_of_short_lines,
        a_record_of_a_million_quoted_lines,
        gzip_of_10_gb_of_zeros,
        gzip_of_10_gb_of_rows,
        gzip_in_gzip,
        zstd_of_10_gb,
        zstd_with_a_window_of_2_gib,
        parquet_of_a_megabyte_a_million_times,
        parquet_of_2_billion_rows,
        parquet_with_a_text_of_2_gib,
        parquet_with_a_page_of_750_mb,
        parquet_of_100_000_row_groups,
        two_thousand_columns_of_long_texts,
    )
}


async def blow(children: Children, path: Path, folder: Path, limits: TableLimits) -> Blown:
    """Decode and profile the upload `path` in children; `folder` is theirs."""
    began = time.monotonic()
    answer, kind = "read", ""
    with _disk_peak(folder) as disk, structlog.testing.capture_logs() as logs:
        try:
            options = {"scratch": folder, "timeout_s": PATIENCE_S, "memory_bytes": GUARD}
            payload = {"source": str(path), "name": path.name, "limits": limits}
            await children.run("decode", payload, reads=[path], **options)
            await children.run("profile", {"table": str(folder / "table.arrow")}, **options)
        except TrainyardError as error:
            answer, kind = error.detail, getattr(error, "kind", error.slug)
    return Blown(
        sent=path.stat().st_size,
        answer=answer,
        kind=kind,
        seconds=time.monotonic() - began,
        memory=max(entry["max_rss_kib"] * 1024 for entry in logs if entry["event"] == "child_ended"),
        disk=disk.peak,
    )


class _disk_peak:
    """How much a folder held at most while the block ran, looked at twenty times a second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak = folder, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _disk_peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            size = 0
            for entry in self.folder.glob("*"):
                try:
                    size += entry.stat().st_size
                except FileNotFoundError:
                    continue
            self.peak = max(self.peak, size)


async def main(names: list[str]) -> None:
    print("| bomb | sent | told | seconds | memory | disk |\n| --- | --- | --- | --- | --- | --- |")
    async with Children(STEPS) as children:
        await children.ready()
        for name in names or BOMBS:
            with tempfile.TemporaryDirectory() as made:
                path = Path(made, "upload" + (".parquet" if "parquet" in name else ".csv"))
                BOMBS[name](1.0, path)
                blown = await blow(children, path, Path(made, "scratch"), TableLimits())
                print(
                    f"| {name.replace('_', ' ')} | {blown.sent:,} B | {blown.answer[:160]} "
                    f"| {blown.seconds:.1f} | {blown.memory // MEBI:,} MiB | {blown.disk // MEBI:,} MiB |",
                    flush=True,
                )


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(main(sys.argv[1:]))
