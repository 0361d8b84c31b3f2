"""Broken tables without end: text in every spelling, encoding and packing, and then damaged.

What a table is made of is drawn by Hypothesis; its many cells and the places of damage come from a seed
that is drawn with it, so that ten thousand of them are made in minutes.
"""

from __future__ import annotations

import datetime as dt
import gzip
import random
from collections.abc import Callable
from typing import NamedTuple

import zstandard
from hypothesis import strategies as st


class Hostile(NamedTuple):
    """`recipe` says how it was made."""

    recipe: str
    name: str
    content: bytes


ODD_NAMES = [
    *("=1+1", "+a", "-a", "@SUM(A1)", "\ttab", "'", '"', "`", "a\nb", "a\r\nb", " ", "  lead", "trail  "),
    *(
        "🚂",
        "e\u0301",
        "\u202eevil",
        "\u200b",
        "\ufeff",
        "ｆｕｌｌ",
        "naïve",
        "列",
        "\U0010ffff",
        "n" * 10_000,
    ),
    *("__class__", "__proto__", "y", "target", "prediction", "unique_id", "ds", "cutoff", "level_0", "index"),
    *("mean", "@mean", "code", "line", "step", "NaN", "None", "null", "0", "1", "-1", "a.b", "a/b", "a[0]"),
    *("Unnamed: 0", "__index_level_0__", "{0}", "%s", "\\", "<b>", "../../x", "id", "date", "con", "$", "^"),
]
WORDS = ["red", "green", "blue", "a b c d e", "Zürich", "NA", "null", "None", "?", "-", "", "yes", "no", "🚂"]
NUMBERS_WRITTEN = [
    "$1,200",
    "12%",
    "(3.50)",
    "1.200,50 €",
    "−4",
    "1e5",
    "0x1F",
    "1_000",
    "١٢٣",
    "½",
    "1 000",
    "NaN%",
]
HUGE = [
    *(
        "1e308",
        "1e309",
        "-1e400",
        "1e-400",
        "9" * 30,
        "-" + "9" * 19,
        "18446744073709551615",
        "9223372036854775808",
    ),
    *(
        "0." + "0" * 400 + "1",
        "1" + "0" * 400,
        "1e999999999",
        "4.9e-324",
        "1.7976931348623157e308",
        "-0.0",
        "00",
        "1e",
    ),
]
NOT_FINITE = [
    "inf",
    "-inf",
    "Infinity",
    "+INF",
    "nan",
    "NaN",
    "-nan",
    "1.#INF",
    "1.#QNAN",
    "NA",
    "∞",
    "1",
    "2.5",
]
BOOLEANS = ["True", "False", "true", "FALSE", "1", "0", "yes", "T", ""]
EDGE_DATES = [
    *(
        "0000-00-00",
        "0001-01-01",
        "1677-09-21",
        "1900-02-29",
        "2000-02-30",
        "2024-02-29",
        "2262-04-12",
        "9999-12-31",
    ),
    *(
        "10000-01-01",
        "2024-13-01",
        "2024-01-01T25:00:00",
        "2024-01-01T00:00:60Z",
        "2024-01-01 00:00:00+99:99",
    ),
    *(
        "2024-W53",
        "2024-Q5",
        "2024-Q1",
        "31/12/99",
        "12/31/1999",
        "1-Jan-70",
        "Feb 30, 2020",
        "24:00",
        "now",
        "today",
    ),
    *(
        "2024-01-01T00:00:00.123456789012Z",
        "1970-01-01",
        "253402300800",
        "-62135596800",
        "20240230",
        "202413",
        "NaT",
    ),
]
NASTY = [
    *['"', '""', '"""', "'", "\\", "\\N", ",", ";", "\t", "|", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x85"],
    *["=cmd|' /C calc'!A0", "=1+1", "@x", "+1", "-1", "<script>", "${jndi:x}", "{{7*7}}", "%n", "[]", "{}"],
    *["\u2028", "\u202e", "\u200f", "\ufeff", "\ufffd", "\ufffe", "\ud7ff", "\ue000", "a\u0300" * 50, "ﷺ"],
    "'; DROP TABLE x; --",
]


def _dates(rng: random.Random) -> Callable[[int], str]:
    start = dt.datetime(rng.choice([1, 1700, 1970, 2024]), 1, 1, tzinfo=dt.UTC)
    step = rng.choice([1, 60, 3600, 86_400, 7 * 86_400, 31 * 86_400])
    written = rng.choice(
        ["%Y-%m-%d", "%d/%m/%y", "%m/%d/%Y %H:%M", "%b-%y", "%Y%m%d", "%Y-%m-%dT%H:%M:%S%z", "%Y"]
    )
    return lambda i: (start + dt.timedelta(seconds=step * i)).strftime(written)


def _from(values: list[str]) -> Callable[[random.Random], Callable[[int], str]]:
    return lambda rng: lambda i: rng.choice(values)


COLUMNS: dict[str, Callable[[random.Random], Callable[[int], str]]] = {
    "whole": lambda rng: lambda i: str(rng.randrange(-50, 50)),
    "few": lambda rng: lambda i: str(i % 3),
    "counting": lambda rng: lambda i: str(i),
    "fractions": lambda rng: lambda i: f"{rng.gauss(0, 10 ** rng.randrange(6)):.{rng.randrange(17)}g}",
    "dates": _dates,
    "ab": lambda rng: lambda i: rng.choice("ab"),
    "one value": lambda rng: lambda i: "x",
    "nothing": lambda rng: lambda i: "",
    "one class but once": lambda rng: lambda i: "b" if i == 3 else "a",
    "rare": lambda rng: lambda i: rng.choice(["", "", "", "", "7"]),
    "ids": lambda rng: lambda i: f"{rng.randrange(2**64):016x}",
    "sentences": lambda rng: lambda i: " ".join(rng.choices(WORDS, k=8)),
    "long": lambda rng: lambda i: rng.choice("xé") * rng.choice([1, 200, 70_000]),
    "any characters": lambda rng: (
        lambda i: "".join(
            chr(rng.choice([rng.randrange(32, 0xD800), rng.randrange(0xE000, 0x110000)]))
            for _ in range(rng.randrange(9))
        )
    ),
    "words": _from(WORDS),
    "written": _from(NUMBERS_WRITTEN),
    "huge": _from(HUGE),
    "not finite": _from(NOT_FINITE),
    "booleans": _from(BOOLEANS),
    "edge dates": _from(EDGE_DATES),
    "nasty": _from(NASTY),
    "anything": _from([*WORDS, *NUMBERS_WRITTEN, *HUGE, *NOT_FINITE, *BOOLEANS, *EDGE_DATES, *NASTY]),
    "whole, then words": lambda rng: lambda i: str(i) if i < 30 else "n/k",
    "numbers and one word": lambda rng: lambda i: "?" if i == 5 else str(i * 0.5),
}
ENCODINGS = [
    *("utf-8",) * 12,
    *(
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "utf-32-le",
        "latin-1",
        "cp1252",
        "shift_jis",
    ),
    *("gb18030", "utf-7", "cp037", "koi8-r"),
]
PIECES = [
    *[
        b'"',
        b'""""',
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
    ],
    *[b",", b";", b"\t" * 50, b'"' * 4_001, b"," * 5_000, b"\xef\xbb\xbf", b"\xff\xfe", b"\x1a", b"\x1f\x8b"],
    *[b"PAR1", b"\n\n\n", b" ", b"x" * 200_000, b'"\n' * 500, b"\x00" * 5_000, b"\x28\xb5\x2f\xfd", b'",\n"'],
    "\u202e".encode(),
]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 3, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 2, 10, 1_000])]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(PIECES)


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 400)] * rng.randrange(1, 20)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 40] = rng.randbytes(len(data[at : at + 40]))


def _line_ends(data: bytearray, rng: random.Random) -> None:
    data[:] = data.replace(b"\n", rng.choice([b"\r", b"\r\n", b"\n\r", b"\n\n", b"\r\r\n", b"\x0b", b""]))


def _reverse(data: bytearray, rng: random.Random) -> None:
    data.reverse()


DAMAGE = [_flip, _cut, _delete, _insert, _insert, _repeat, _overwrite, _line_ends, _reverse]


def damaged(content: bytes, rng: random.Random, times: int) -> tuple[bytes, str]:
    """`content` damaged so many times, and how."""
    data, done = bytearray(content), ""
    for _ in range(times):
        if data:
            how = rng.choice(DAMAGE)
            how(data, rng)
            done += how.__name__
    return bytes(data), done


def _quoted(cell: str, delimiter: str, rng: random.Random) -> str:
    needs = any(c in cell for c in (delimiter, '"', "\n", "\r"))
    if rng.random() < (0.999 if needs else 0.05):
        return '"' + cell.replace('"', '""') + '"'
    return cell


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zstd without a size": zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
    "two gzip members": lambda data: (
        gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])
    ),
    "two zstd frames": lambda data: zstandard.compress(data[:100]) + zstandard.compress(data[100:]),
    "a skippable frame first": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.compress(data),
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "zstd in gzip": lambda data: gzip.compress(zstandard.compress(data)),
    "gzip and zeros": lambda data: gzip.compress(data) + b"\0" * 512,
    "gzip and garbage": lambda data: gzip.compress(data) + b"garbage",
}


@st.composite
def text_tables(draw: st.DrawFn) -> Hostile:
    """CSV, TSV and the like, packed or not, most of them damaged."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=7))
    if draw(st.integers(0, 60)) == 0:
        kinds = kinds * rng.choice([50, 400, 1_500])
    plain = draw(st.integers(0, 4)) > 0  # what is wrong is in the cells alone
    names = [
        f"{kind} {i}" if plain or rng.random() < 0.5 else rng.choice(ODD_NAMES)
        for i, kind in enumerate(kinds)
    ]
    rows = 1 if len(kinds) > 300 else draw(st.sampled_from([0, 1, 2, 9, 12, 40, 40, 40, 60, 60, 60, 700]))
    rows = min(rows, 12) if "long" in kinds else rows
    delimiter = "," if plain else draw(st.sampled_from(",,;\t|: "))
    makers = [COLUMNS[kind](rng) for kind in kinds]
    lines = [delimiter.join(_quoted(name, delimiter, rng) for name in names)]
    for i in range(rows):
        cells = [_quoted(_made(make, i), delimiter, rng) for make in makers]
        if not plain and rng.random() < 0.01:
            cells = rng.choice([cells[:-1], [*cells, ""], [], [*cells, *cells]])
        lines.append(delimiter.join(cells))
    text = rng.choice(["\n", "\n", "\r\n", "\r"]).join(lines) + rng.choice(["\n", "", "\n\n"])
    encoding = "utf-8" if plain else draw(st.sampled_from(ENCODINGS))
    content = text.encode(encoding, "replace")
    if not plain and not draw(st.integers(0, 15)):
        content = content[: len(content) // 2] + text[len(text) // 2 :].encode("utf-16")
    recipe = f"{rows} rows of {kinds[:7]} by {delimiter!r} in {encoding}"
    content, how = damaged(content, rng, 0 if plain else draw(st.sampled_from([0, 0, 1, 1, 2, 5])))
    suffix = ".csv"
    if draw(st.integers(0, 4)) == 0:
        packing = draw(st.sampled_from(sorted(PACKINGS)))
        content, more = damaged(PACKINGS[packing](content), rng, draw(st.sampled_from([0, 0, 0, 1, 3])))
        how, suffix = f"{how}, {packing}{more}", rng.choice([".csv.gz", ".csv.zst", ".csv"])
    return Hostile(recipe + how, "table" + suffix, content)


def _made(make: Callable[[int], str], i: int) -> str:
    try:
        return make(i)
    except (OverflowError, ValueError):  # a date past the last one
        return ""


def noise() -> st.SearchStrategy[Hostile]:
    """Bytes and characters that were never a table."""
    wild = st.binary(max_size=400) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
    heads = st.sampled_from(
        [b"", b"PAR1", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"a,b\n", b"ARROW1"]
    )
    names = st.sampled_from(["t.csv", "t.parquet", "t.csv.gz", "t"])
    return st.builds(lambda h, w, n: Hostile(f"{h!r} and noise", n, h + w), heads, wild, names)
