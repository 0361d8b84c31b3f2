"""Parquet files whose parts contradict one another: types, footers, pages, lengths, offsets."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import random
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.fuzz.hostile import NASTY, ODD_NAMES, WORDS, Hostile, damaged

DAY = dt.date(2024, 1, 1)
Maker = Callable[[int, random.Random], pa.Array]


def _made(kind: pa.DataType, value: Callable[[int, random.Random], Any]) -> Maker:
    return lambda n, rng: pa.array([None if rng.random() < 0.05 else value(i, rng) for i in range(n)], kind)


def _times(unit: str, zone: str | None, most: int) -> Maker:
    return lambda n, rng: pa.array([rng.randrange(-most, most) for _ in range(n)], pa.int64()).cast(
        pa.timestamp(unit, zone)
    )


COLUMNS: dict[str, Maker] = {
    "int8": _made(pa.int8(), lambda i, rng: rng.randrange(-128, 128)),
    "int64": _made(pa.int64(), lambda i, rng: rng.choice([i, 2**63 - 1, -(2**63)])),
    "uint64": _made(pa.uint64(), lambda i, rng: rng.choice([i, 2**64 - 1])),
    "counting": lambda n, rng: pa.array(range(n)),
    "classes": lambda n, rng: pa.array([rng.choice("ab") for _ in range(n)]),
    "halves": _made(pa.float16(), lambda i, rng: rng.gauss(0, 1)),
    "floats": _made(pa.float32(), lambda i, rng: rng.choice([i, 3e38, float("inf"), float("nan")])),
    "doubles": _made(pa.float64(), lambda i, rng: rng.choice([i * 0.1, 1e308, -1e308, float("nan"), 5e-324])),
    "decimals": _made(pa.decimal128(38, 10), lambda i, rng: decimal.Decimal(rng.choice([i, 10**27]))),
    "wide decimals": _made(pa.decimal256(76, 0), lambda i, rng: decimal.Decimal(rng.choice([i, 10**75]))),
    "texts": _made(pa.string(), lambda i, rng: rng.choice([*WORDS, *NASTY, "\0", "x" * 5_000])),
    "large texts": _made(pa.large_string(), lambda i, rng: rng.choice(WORDS)),
    "text views": _made(pa.string_view(), lambda i, rng: rng.choice(WORDS)),
    "categories": lambda n, rng: pa.array([rng.choice([*WORDS, None]) for _ in range(n)]).dictionary_encode(),
    "number categories": lambda n, rng: pa.array([i % 3 for i in range(n)]).dictionary_encode(),
    "booleans": _made(pa.bool_(), lambda i, rng: rng.random() < 0.5),
    "nulls": lambda n, rng: pa.nulls(n),
    "dates": _made(pa.date32(), lambda i, rng: rng.choice([DAY, dt.date.max, dt.date.min])),
    "steady days": lambda n, rng: pa.array([DAY + dt.timedelta(i) for i in range(n)]),
    "far days": lambda n, rng: pa.array([rng.randrange(-(2**31), 2**31) for _ in range(n)], pa.int32()).cast(
        pa.date32()
    ),
    "milliseconds of days": _made(pa.date64(), lambda i, rng: DAY + dt.timedelta(i)),
    "nanoseconds": _times("ns", None, 2**63),
    "microseconds": _times("us", "Europe/Berlin", 2**55),
    "milliseconds": _times("ms", "UTC", 2**62),
    "seconds": _times("s", None, 2**40),
    "odd zone": _times("us", "+25:99", 2**50),
    "times of day": _made(pa.time64("us"), lambda i, rng: dt.time(i % 24)),
    "durations": _made(pa.duration("us"), lambda i, rng: dt.timedelta(i)),
    "bytes": _made(pa.binary(), lambda i, rng: rng.randbytes(5)),
    "fixed bytes": _made(pa.binary(16), lambda i, rng: rng.randbytes(16)),
    "lists": _made(pa.list_(pa.int32()), lambda i, rng: [i] * (i % 4)),
    "structs": _made(pa.struct([("a", pa.int8())]), lambda i, rng: {"a": 1}),
    "maps": _made(pa.map_(pa.string(), pa.int8()), lambda i, rng: [("a", 1)]),
    "deep": lambda n, rng: _nested(n, rng.choice([3, 30, 120])),
}
"""Those that a table may hold are drawn more often."""
PLAIN = ["int8", "int64", "counting", "classes", "floats", "doubles", "texts", "categories", "booleans"]
PLAIN += ["dates", "steady days", "nanoseconds"]


def _nested(n: int, depth: int) -> pa.Array:
    array = pa.array([1] * n)
    for _ in range(depth):
        array = pa.StructArray.from_arrays([array], ["in"])
    return array


def _footer(data: bytearray) -> int:
    """Where the footer begins, or the middle where it says nonsense."""
    (length,) = struct.unpack("<I", data[-8:-4])
    return max(4, len(data) - 8 - length) if 0 < length < len(data) else len(data) // 2


def _footer_bytes(data: bytearray, rng: random.Random) -> None:
    """Counts, types, offsets, sizes: nearly every byte of the footer is one of them."""
    at = _footer(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data[rng.randrange(at, len(data) - 8)] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])


def _footer_number(data: bytearray, rng: random.Random) -> None:
    """A varint becomes one of a billion and more."""
    at = rng.randrange(_footer(data), len(data) - 8)
    data[at : at + 5] = b"\xff\xff\xff\xff" + bytes([rng.randrange(1, 16)])


def _footer_longer(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(_footer(data), len(data) - 8)
    data[at:at] = rng.randbytes(rng.randrange(1, 9))
    if rng.random() < 0.7:
        data[-8:-4] = struct.pack("<I", len(data) - 8 - _footer(data) + 1)


def _footer_length(data: bytearray, rng: random.Random) -> None:
    data[-8:-4] = struct.pack(
        "<I", rng.choice([0, 1, 7, len(data), 2**31 - 1, 2**32 - 1, rng.randrange(len(data))])
    )


def _pages(data: bytearray, rng: random.Random) -> None:
    """In the page headers and what they head."""
    for _ in range(rng.choice([1, 1, 3, 30])):
        data[rng.randrange(4, max(5, _footer(data)))] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])


def _first_page(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(4, min(60, len(data) - 8))] = rng.randrange(256)


def _other_end(data: bytearray, rng: random.Random) -> None:
    data[-4:] = rng.choice([b"PARE", b"PAR2", b"\0\0\0\0"])


def _twice(data: bytearray, rng: random.Random) -> None:
    data += bytes(data)


LIES = [
    *(_footer_bytes,) * 6,
    _footer_number,
    _footer_longer,
    _footer_length,
    *(_pages,) * 3,
    *(_first_page,) * 3,
]
LIES += [_other_end, _twice]


@st.composite
def parquet_files(draw: st.DrawFn) -> Hostile:
    rng = random.Random(draw(st.integers(0, 2**32)))
    drawn = st.sampled_from(PLAIN) if draw(st.integers(0, 2)) else st.sampled_from(sorted(COLUMNS))
    kinds = draw(st.lists(drawn, min_size=1, max_size=6))
    rows = draw(st.sampled_from([0, 1, 12, 40, 60, 3_000]))
    names = [f"{kind} {i}" if rng.random() < 0.8 else rng.choice(ODD_NAMES) for i, kind in enumerate(kinds)]
    sink = io.BytesIO()
    options: dict[str, Any] = {
        "compression": draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])),
        "use_dictionary": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "row_group_size": rng.choice([1, 7, 100_000]) if rows < 100 else 1_000,
        "data_page_size": rng.choice([64, 2**20]),
        "store_schema": draw(st.booleans()),
        "write_page_index": draw(st.booleans()),
    }
    recipe = f"{rows} rows of {kinds} {options}"
    try:
        pq.write_table(
            pa.Table.from_arrays([COLUMNS[kind](rows, rng) for kind in kinds], names), sink, **options
        )
    except (pa.ArrowException, OSError):  # a type that the format has no place for
        pq.write_table(pa.table({"a": [1, 2]}), sink)
    data = bytearray(sink.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 1, 1, 2, 3]))):
        if len(data) > 80:
            lie = rng.choice(LIES)
            lie(data, rng)
            recipe += lie.__name__
    content, how = damaged(bytes(data), rng, draw(st.sampled_from([0, 0, 0, 0, 0, 1])))
    return Hostile(recipe + how, rng.choice(["t.parquet", "t.parquet", "t.csv"]), content)
