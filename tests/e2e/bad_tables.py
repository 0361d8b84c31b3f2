"""Uploads and requests that cannot work, where each is to be told of, and the words that must be there."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Bad(NamedTuple):
    """`where`: upload | profile | train (each a 4xx) | task (which fails)."""

    what: str
    content: bytes
    where: str
    words: list[str]
    request: Mapping[str, Any] = MappingProxyType({})
    name: str = "table.csv"


def lines(header: str, row: Callable[[int], str], rows: int = 60) -> bytes:
    return "\n".join([header, *map(row, range(rows)), ""]).encode()


def ab(i: int) -> str:
    return "ab"[i % 2]


def day(i: int) -> str:
    return str(dt.date(2024, 1, 1) + dt.timedelta(days=i))


GOOD = lines("a,b,y", lambda i: f"{i % 7},{i % 3 * 0.5},{ab(i)}")
NOISE = np.random.default_rng(0).bytes(4000)
SERIES: dict[str, Any] = {"task_type": "time_series", "time_column": "when"}
REGRESSION: dict[str, Any] = {"task_type": "regression"}

FILES = [
    Bad("an empty file", b"", "upload", ["/file", "empty (0 bytes)"]),
    Bad("a 0-byte Parquet", b"", "upload", ["/file", "empty (0 bytes)"], name="table.parquet"),
    Bad("an Excel workbook", b"PK\3\4", "upload", ["CSV", "Parquet", ".xlsx"], name="table.xlsx"),
    Bad("header only", b"a,b,y\n", "profile", ["a header but no rows"]),
    Bad("header only, no newline", b"a,b,y", "profile", ["a header but no rows"]),
    Bad("blank lines", b"\n\n  \n", "profile", ["empty"]),
    Bad("a header twice", lines("a,a,y", lambda i: f"1,2,{i}"), "profile", ["line 1", "'a'", "columns 1, 2"]),
    Bad("a nameless column", lines("a,,y", lambda i: f"1,2,{i}"), "profile", ["line 1", "column 2"]),
    Bad(
        "Latin-1 text",
        "stadt,y\nKöln,1\n".encode("latin-1"),
        "profile",
        ["not UTF-8", "0xF6", "line 2", "Save the file as UTF-8"],
    ),
    Bad("a binary file", bytes(range(256)) * 20, "profile", ["binary file", "NUL byte"]),
    Bad("an image", b"\x89PNG\r\n\x1a\n" + NOISE, "profile", ["the file is an image"]),
    Bad("a ZIP", b"PK\3\4" + NOISE, "profile", ["ZIP archive or an Excel workbook"]),
    Bad("noise", b"\xff" + NOISE.replace(b"\0", b"\1"), "profile", ["not UTF-8", "binary file"]),
    Bad("half a gzip", gzip.compress(GOOD)[:-30], "profile", ["cut short or damaged"], name="table.csv.gz"),
    Bad("a CSV named Parquet", GOOD, "profile", ["named as Parquet but not one"], name="table.parquet"),
    Bad("half a Parquet", b"PAR1" + NOISE, "profile", ["cut short or damaged"], name="table.parquet"),
    Bad(
        "a long row",
        lines("a,b,y", lambda i: "1,2,3,4,5" if i == 41 else "1,2,3"),
        "profile",
        ["line 43 has 5 fields, the header has 3", "1,2,3,4,5"],
    ),
    Bad(
        "a short row",
        lines("a,b,y", lambda i: "1" if i == 41 else "1,2,3"),
        "profile",
        ["line 43 has 1 field, the header has 3"],
    ),
    Bad(
        "a quote never closed",
        lines("a,b,y", lambda i: '1,"2,3' if i == 20 else "1,2,3"),
        "profile",
        ["line 22", "a quote"],
    ),
    Bad(
        "10,000 columns",
        lines(",".join(f"c{i}" for i in range(10_000)), lambda i: ",".join("1" * 10_000), rows=20),
        "profile",
        ["10,000 columns", "at most 2,000"],
    ),
]

REQUESTS = [
    Bad(
        "a target that is not there",
        GOOD,
        "train",
        ["/target", "'Y' is not in the table", "'y'"],
        {"target": "Y"},
    ),
    Bad("one class only", lines("a,y", lambda i: f"{i % 7},yes"), "train", ["/target", "one value", "'yes'"]),
    Bad("a constant", lines("a,y", lambda i: f"{i % 7},3.5"), "train", ["/target", "'3.5'"], REGRESSION),
    Bad("a target without values", lines("a,y", lambda i: f"{i % 7},"), "train", ["/target", "'y' is empty"]),
    Bad(
        "few rows",
        lines("a,y", lambda i: f"{i},{ab(i)}", rows=4),
        "train",
        ["4 rows have a value in 'y'", "at least 10"],
        {"cv_folds": 5},
    ),
    Bad(
        "fewer groups than folds",
        lines("a,g,y", lambda i: f"{i % 7},{i % 4},{ab(i // 4)}"),
        "train",
        ["/group_column", "4 groups", "5 folds"],
        {"group_column": "g"},
    ),
    Bad(
        "a class with one row",
        lines("a,y", lambda i: f"{i % 7},{'b' if i == 9 else 'a'}"),
        "task",
        ["too few rows a class", "'b'"],
    ),
    Bad(
        "nothing but empty columns",
        lines("a,b,y", lambda i: f",,{ab(i)}"),
        "train",
        ["no feature column is left", "'a' is empty", "'b' is empty"],
    ),
    Bad("nothing but the target", lines("y", ab), "train", ["no feature column is left"]),
    Bad(
        "a class for every row",
        lines("a,y", lambda i: f"{i % 7},name {i}"),
        "train",
        ["/target", "'y' is neither classes nor a quantity"],
    ),
    Bad(
        "an infinite target",
        lines("a,y", lambda i: f"{i % 7},{'inf' if i == 17 else i * 0.3}"),
        "task",
        ["'y' is infinite", "line 19"],
        REGRESSION,
    ),
    Bad(
        "a word in a target of numbers",
        lines("a,y", lambda i: f"{i % 7},{'n/k' if i == 17 else i * 0.3}"),
        "task",
        ["'y'", "'n/k' in line 19"],
        REGRESSION,
    ),
    Bad(
        "a time that cannot be parsed",
        lines("when,y", lambda i: f"{'soon' if i == 17 else day(i)},{i}"),
        "task",
        ["'when'", "'soon' in line 19"],
        SERIES,
    ),
    Bad(
        "a column of times without one",
        lines("when,y", lambda i: f"{'later' if i % 2 else 'soon'},{i}"),
        "task",
        ["'when'", "'soon' in line 2", "cannot be read as a time"],
        SERIES,
    ),
    Bad(
        "a horizon longer than the series",
        lines("when,y", lambda i: f"{day(i)},{i % 5}", rows=30),
        "task",
        ["/horizon", "30 steps", "horizon of 20", "at most"],
        {**SERIES, "horizon": 20},
    ),
    Bad(
        "a horizon longer than the table",
        lines("when,y", lambda i: f"{day(i)},{i % 5}", rows=30),
        "train",
        ["/horizon", "a horizon of 40 is too far", "at most 30 values of 'y'"],
        {**SERIES, "horizon": 40},
    ),
    Bad(
        "the same time twice",
        lines("when,y", lambda i: f"{day(i // 2)},{i}"),
        "task",
        ["'when'", "2024-01-01", "lines 2 and 3", "series_column"],
        SERIES,
    ),
    Bad("a series of three", lines("when,y", lambda i: f"{day(i)},{i}", 3), "task", ["'y' has 3"], SERIES),
    Bad(
        "no time column",
        lines("when,y", lambda i: f"{day(i)},{i}"),
        "train",
        ["/time_column", "needs the column that holds its times"],
        {"task_type": "time_series"},
    ),
    Bad(
        "five faults at once",
        GOOD,
        "train",
        ["/target", "/models/0", "/metric", "/horizon", "/exclude_columns/0"],
        {
            "task_type": "classification",
            "target": "z",
            "models": ["crystal_ball"],
            "metric": "beauty",
            "horizon": 3,
            "exclude_columns": ["q"],
        },
    ),
    Bad(
        "a body with wrong and unknown fields, and about columns that are not there",
        GOOD,
        "train",
        [
            "/time_budget_s",
            "/test_size",
            "/colour",
            "/target",
            "/exclude_columns/0",
            "from 1 to 86,400, not -1",
        ],
        {"time_budget_s": -1, "test_size": "half", "colour": "blue", "target": "z", "exclude_columns": ["q"]},
    ),
]
