"""What can be uploaded, what is refused and with which words, and that pandas' own types come back."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris

from services.trainer import series_times, table, text_scan, text_table
from services.trainer.column_roles import survey
from services.trainer.number_text import to_numbers
from services.trainer.table_limits import TableLimits
from shared.errors import TableUnreadable


def decoded(content: bytes, folder: Path, name: str = "table.csv", **limits: int) -> pd.DataFrame:
    (folder / "upload").write_bytes(content)
    rows, columns = table.decode(folder / "upload", name, folder / "out.arrow", limits=TableLimits(**limits))
    frame = table.load(folder / "out.arrow")
    assert frame.shape == (rows, columns)
    return frame


def parquet(frame: pd.DataFrame | pa.Table) -> bytes:
    sink = io.BytesIO()
    if isinstance(frame, pa.Table):
        pq.write_table(frame, sink)
    else:
        frame.to_parquet(sink)
    return sink.getvalue()


REFUSED: list[tuple[str, bytes, list[str]]] = [
    ("nothing", b"", ["empty", "0 bytes"]),
    ("only blank lines", b"\n\r\n \n", ["empty"]),
    ("only a header", b"a,b\n", ["header but no rows"]),
    ("only a header, and no newline", b"a,b", ["header but no rows"]),
    ("a header twice", b"a,b,a\n1,2,3\n", ["line 1", "'a'", "columns 1, 3"]),
    ("two headers twice", b"a,b,a,b\n1,2,3,4\n", ["'a' (columns 1, 3)", "'b' (columns 2, 4)"]),
    ("a nameless column", b"a,,c\n1,2,3\n", ["line 1", "column 2", "without a name"]),
    ("a short row", b"a,b\n1,2\n3\n4,5\n", ["line 3 has 1 field", "header has 2", "'3'"]),
    ("a long row", b"a,b\n1,2\n3,4,5\n", ["line 3 has 3 fields", "header has 2", "'3,4,5'"]),
    ("a long row after a quoted newline", b'a,b\n"x\n\ny",2\n3,4,5\n', ["line 5 has 3 fields"]),
    ("a delimiter at each end", b"a,b\n1,2,\n3,4,\n", ["line 2 has 3 fields"]),
    ("a quote never closed", b'a,b\n1,2\n3,"4\n5,6\n', ["line 3", "quote", "never closed"]),
    ("a quote that swallows a delimiter", b'a,b\n"1,2\n5,6\n', ["line 2", "quote"]),
    ("Latin-1", "a,b\n1,2\n3,café\n".encode("latin-1"), ["0xE9", "offset 13", "line 3", "café", "UTF-8"]),
    ("bytes that are no text", bytes(range(1, 256)) * 9, ["not UTF-8", "binary"]),
    ("NUL bytes", b"a,b\n1,\x00\x00\n", ["binary", "byte 6", "line 2"]),
    ("UTF-16 without a mark", "a,b\n1,2\n".encode("utf-16-le"), ["UTF-16", "Save the file as UTF-8"]),
    ("broken UTF-16", "a,b\n1,2\n".encode("utf-16")[:-1], ["UTF-16", "UTF-8"]),
    ("an Excel workbook", b"PK\x03\x04" + b"\x00" * 99, ["Excel", "CSV"]),
    ("a PDF", b"%PDF-1.7\n", ["PDF"]),
    (
        "10,000 columns",
        ",".join(f"c{i}" for i in range(10_000)).encode() + b"\n",
        ["10,000 columns", "2,000"],
    ),
    ("gzip cut short", gzip.compress(b"a,b\n1,2\n" * 999)[:-9], ["gzip", "cut short or damaged"]),
    ("zstd cut short", zstandard.compress(b"a,b\n1,2\n" * 999)[:-3], ["zstd", "cut short or damaged"]),
    ("packed twice", gzip.compress(gzip.compress(b"a,b\n1,2\n")), ["gzip", "packed"]),
    ("gzip of nothing", gzip.compress(b""), ["empty"]),
    ("Parquet, its first bytes", b"PAR1", ["Parquet", "cut short or damaged"]),
    ("Parquet without rows", parquet(pd.DataFrame({"a": [1]}).iloc[:0]), ["no rows"]),
    ("Parquet cut short", parquet(pd.DataFrame({"a": range(99)}))[:-30], ["Parquet", "cut short or damaged"]),
    ("lists in Parquet", parquet(pa.table({"x": [1], "l": [[1]]})), ["'l' (list<", "neither numbers"]),
    (
        "a name twice in Parquet",
        parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])),
        ["'a' (columns 1, 2)"],
    ),
    ("NUL in a name in Parquet", parquet(pd.DataFrame({"a": [1], "b\0": [1]})), ["column 2", "NUL"]),
    ("NUL in Parquet", parquet(pd.DataFrame({"a": [*"ab" * 30_000, "\0"]})), ["'a', row 60,001", "NUL"]),
]


@pytest.mark.parametrize(("content", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_says_what_cannot_be_read_and_where(content: bytes, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable) as caught:
        decoded(content, tmp_path)
    assert [word for word in words if word not in caught.value.detail] == []


def test_damage_inside_a_parquet_file_is_the_files_fault(tmp_path: Path) -> None:
    whole = parquet(pd.DataFrame({"a": [f"text {i}" for i in range(5_000)]}))
    broken = whole[:200] + b"\xff" * 400 + whole[600:]
    with pytest.raises(TableUnreadable, match="cut short or damaged"):
        decoded(broken, tmp_path)


def test_text_in_parquet_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    content = parquet(pa.table({"a": ["abcdefgh"]})).replace(b"abcdefgh", b"abc\xffefgh")
    with pytest.raises(TableUnreadable, match="UTF8"):
        decoded(content, tmp_path)


def test_what_pandas_notes_in_a_parquet_file_may_be_broken(tmp_path: Path) -> None:
    plain = pa.table({"a": [1, 2]})
    for noted in (b"{", b"[]", b"\xf5"):
        assert decoded(parquet(plain.replace_schema_metadata({b"pandas": noted})), tmp_path)[
            "a"
        ].tolist() == [1, 2]


@given(content=st.binary(max_size=300) | st.text('ab1,;\t"\n\r é\u2028', max_size=60).map(str.encode))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_is_a_table_or_says_why_not(content: bytes, tmp_path: Path) -> None:
    try:
        frame = decoded(content, tmp_path)
    except TableUnreadable:  # any other exception is a fault of the reader
        return
    assert len(frame)


def test_a_name_does_not_make_a_parquet_file(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="named as Parquet but not one"):
        decoded(b"a,b\n1,2\n", tmp_path, "sales.parquet")
    assert decoded(parquet(pd.DataFrame({"a": [1]})), tmp_path, "sales.csv")["a"].tolist() == [1]


def test_text_larger_than_the_limit_is_refused_while_unpacking(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * (20 * 2**20))
    with pytest.raises(TableUnreadable, match="over 10,485,760 bytes"):
        decoded(bomb, tmp_path, max_bytes=10 * 2**20)
    assert [p.name for p in tmp_path.iterdir()] == ["upload"]


def test_a_small_upload_may_not_unpack_to_all_that_a_large_one_may() -> None:
    limits = TableLimits(max_bytes=20 * 2**30)
    assert limits.for_upload(1_000).max_bytes == 2**30
    assert limits.for_upload(2**24).max_bytes == 200 * 2**24
    assert limits.for_upload(2**40).max_bytes == 20 * 2**30
    assert TableLimits(max_bytes=5).for_upload(1_000) == TableLimits(max_bytes=5)


def test_columns_larger_than_the_limit_are_refused(tmp_path: Path) -> None:
    """Two bytes of text become eight of a number."""
    with pytest.raises(TableUnreadable, match="over 100,000 bytes unpacked"):
        decoded(b"a\n" + b"1\n" * 20_000, tmp_path, max_bytes=100_000)


def test_parquet_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="over 100,000 bytes"):
        decoded(parquet(pd.DataFrame({"a": ["the same text"] * 50_000})), tmp_path, max_bytes=100_000)


def test_more_rows_than_are_taken(tmp_path: Path) -> None:
    for content in (b"a\n" + b"1\n" * 1_001, parquet(pd.DataFrame({"a": range(1_001)}))):
        with pytest.raises(TableUnreadable, match="over 1,000 rows"):
            decoded(content, tmp_path, max_rows=1_000)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n" + b"x" * 9_000_000 + b",3\n", "line 3 is over 1,000,000 bytes long"),
        (b"a,b\r1,2\r" + b"x" * 9_000_000 + b",3\r", "line 3 is over 1,000,000 bytes long"),
        (("a,b\n1,2\n" + "é" * 4_500_000).encode("utf-16"), "line 3 is over 1,000,000 bytes long"),
        (b'a,b\n1,"' + b"2\n" * 1_000_000 + b'"\n', "after line 1: a record of more than 1,000,000 bytes"),
        (b"a,b\n" + b'"\n",' * 400_000 + b"\n1,2\n", "after line 1: a record of more than 1,000,000 bytes"),
    ],
    ids=["a line", "a line of old Macs", "a line of UTF-16", "a quoted cell", "many quoted cells"],
)
def test_a_record_that_is_too_long(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match=says):
        decoded(content, tmp_path, max_record_bytes=1_000_000)


@pytest.mark.parametrize(
    "content", [b"a," + b"n" * 1_001 + b"\n1,2\n", parquet(pd.DataFrame({"a": [1], "n" * 1_001: 2}))]
)
def test_names_that_no_request_could_name(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable, match="the name of column 2 has more than 1,000 characters"):
        decoded(content, tmp_path)


def times(unit: str, zone: str | None, *ticks: int) -> bytes:
    return parquet(pa.table({"t": pa.array(ticks, pa.timestamp(unit, zone))}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (times("s", None, 0, 2**40), ["'t', row 2", "years 2 to 9998"]),
        (times("ms", None, -(2**60)), ["'t', row 1", "years 2 to 9998"]),
        (times("us", "Europe/Berlin", 0, -(2**54)), ["'t', row 2", "years 1678 to 2261"]),
        (times("us", "+25:99", 0), ["'t' has times of the zone '+25:99', which nobody knows"]),
        (parquet(pa.table({"t": pa.array([2**31 - 1], pa.int32()).cast(pa.date32())})), ["'t', row 1"]),
    ],
    ids=["far seconds", "far milliseconds", "far with a zone", "no zone", "far days"],
)
def test_times_that_pandas_would_crash_on(content: bytes, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(TableUnreadable) as caught:
        decoded(content, tmp_path)
    assert [word for word in words if word not in caught.value.detail] == []


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lambda text: text.decode().encode("utf-16")])
def test_exponents_that_pandas_would_crash_on_are_text(
    packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """pandas reads "1e2147483648" from memory that is not its own, and "1e4294967290" as 1e-06."""
    rows = ["1e5", "1e2147483648", "60e8610172421123", "1E4294967290", "1e-3000000000"]
    got = decoded(packed("\n".join(["a", *rows]).encode()), tmp_path)
    assert got["a"].tolist() == rows
    column = survey(got["a"])
    assert column.role != "numeric"
    cleaned = to_numbers(pd.Series([*rows, "1e2,147,483,648", "1e 2147483648", "(1e$2147483648)", "2e+07"]))
    assert cleaned.tolist()[0::8] == [1e5, 2e7]
    assert cleaned.isna().sum() == 7
    assert series_times.read(got["a"], np.zeros(5, int)).times.isna().sum() >= 4


def test_exponents_are_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_scan, "BLOCK_BYTES", 7)
    for before in range(8):
        text = b"a\n" + b"1" * (before + 1) + b"e-2147483648\n"
        (tmp_path / "upload").write_bytes(text)
        found = text_scan.plain_text(tmp_path / "upload", tmp_path / "spare", lambda _: None, TableLimits())
        assert found.far_exponents
    (tmp_path / "upload").write_bytes(b"name,size\nthree 1234,1e123\n")
    assert not text_scan.plain_text(
        tmp_path / "upload", tmp_path / "spare", lambda _: None, TableLimits()
    ).far_exponents


TAKEN: list[tuple[str, bytes, dict[str, list[object]]]] = [
    ("comma", b"a,b\n1,x\n", {"a": [1], "b": ["x"]}),
    ("semicolon, decimal commas", b"a;b\n1,5;2\n2,5;3\n", {"a": ["1,5", "2,5"], "b": [2, 3]}),
    ("tab", b"a\tb\n1\tx, y\n", {"a": [1], "b": ["x, y"]}),
    ("pipe", b"a|b\n1|2\n", {"a": [1], "b": [2]}),
    ("one column", b"a\n1\n2\n", {"a": [1, 2]}),
    ("quoted newlines and quotes", b'a,b\n"x\n""y""",2\n', {"a": ['x\n"y"'], "b": [2]}),
    ("Windows line ends", b"a,b\r\n1,2\r\n", {"a": [1], "b": [2]}),
    ("old Mac line ends", b"a,b\r1,2\r", {"a": [1], "b": [2]}),
    ("no line end", b"a,b\n1,2", {"a": [1], "b": [2]}),
    ("blank lines", b"\na,b\n\n1,2\n   \n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
    ("a mark of UTF-8", b'\xef\xbb\xbf"a",b\n1,2\n', {"a": [1], "b": [2]}),
    ("UTF-16 with a mark", "a,b\n1,é\n".encode("utf-16"), {"a": [1], "b": ["é"]}),
    ("gzip", gzip.compress(b"a,b\n1,2\n"), {"a": [1], "b": [2]}),
    ("two gzip members", gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"), {"a": [1, 3], "b": [2, 4]}),
    ("zstd", zstandard.compress(b"a,b\n1,2\n"), {"a": [1], "b": [2]}),
    ("an index written by pandas", b",a\n0,5\n1,6\n", {"Unnamed: 0": [0, 1], "a": [5, 6]}),
    ("the same name but for blanks", b"a,a \n1,2\n", {"a": [1], "a ": [2]}),
    ("infinity", b"a,b\n1,inf\n2,-inf\n", {"a": [1, 2], "b": [np.inf, -np.inf]}),
]


@pytest.mark.parametrize(("content", "wanted"), [t[1:] for t in TAKEN], ids=[t[0] for t in TAKEN])
def test_reads(content: bytes, wanted: dict[str, list[object]], tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(decoded(content, tmp_path), pd.DataFrame(wanted))


@pytest.mark.parametrize("frame", [load_iris(as_frame=True).frame, load_breast_cancer(as_frame=True).frame])
def test_a_real_table_comes_back_as_read_csv_gives_it(frame: pd.DataFrame, tmp_path: Path) -> None:
    content = frame.to_csv(index=False).encode()
    pd.testing.assert_frame_equal(decoded(content, tmp_path), pd.read_csv(io.BytesIO(content)))


def test_types_that_show_late_are_those_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_table, "CHUNK_CELLS", 1)  # 500 rows a chunk
    n = 1_500
    frame = pd.DataFrame(
        {
            "whole": range(n),
            "whole, then missing": [None if i == 1_400 else i for i in range(n)],
            "whole, then fractions": [i if i < 1_000 else i + 0.5 for i in range(n)],
            "codes, then text": [f"{i:05d}" if i < 1_400 else "x" for i in range(n)],
            "nothing, then text": [None] * 1_499 + ["q"],
            "nothing": [None] * n,
            "true, then missing": [True] * 500 + [None] * 500 + [False] * 500,
            "true, then text": ["True"] * 1_000 + ["maybe"] * 500,
            "small, then huge": [5] * 1_000 + [2**63 + 5] * 500,
            "negative, then huge": [-5] * 1_000 + [2**63 + 5] * 500,
            "dates": ["2024-01-02"] * n,
        }
    )
    content = frame.to_csv(index=False).encode()
    wanted = pd.read_csv(io.BytesIO(content), low_memory=False)
    pd.testing.assert_frame_equal(decoded(content, tmp_path), wanted)


def test_columns_of_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["a", None, "b"]),
            "time": pd.date_range("2024-01-01", periods=3),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "text": ["x", None, "y"],
            "flag": [True, False, True],
        },
        index=[7, 8, 9],
    )
    got = decoded(parquet(frame), tmp_path)
    assert list(got.columns) == list(frame.columns)
    assert got["category"].tolist() == ["a", pytest.approx(np.nan, nan_ok=True), "b"]
    assert got["time"].tolist() == frame["time"].tolist()
    assert got["whole"].dtype == np.float64
    assert got["text"].isna().tolist() == [False, True, False]
    assert got["flag"].dtype == bool


def test_loads_only_the_columns_asked_for(tmp_path: Path) -> None:
    decoded(b"a,b,c\n1,2,3\n", tmp_path)
    assert list(table.load(tmp_path / "out.arrow", ["c", "a"]).columns) == ["a", "c"]
    assert table.column_names(tmp_path / "out.arrow") == ["a", "b", "c"]


def test_a_loaded_table_can_be_written_to(tmp_path: Path) -> None:
    frame = decoded(b"a\n1\n2\n", tmp_path)
    frame.loc[0, "a"] = 9
    assert frame["a"].to_numpy().flags.writeable


def test_tells_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"a,b\n" + b"1,2\n" * 999)
    told: list[float] = []
    table.decode(tmp_path / "upload", "t", tmp_path / "out", lambda share, _: told.append(share))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
