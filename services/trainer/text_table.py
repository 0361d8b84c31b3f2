"""CSV and TSV → Arrow: the delimiter, the header, ragged rows, then pandas' own types, in bounded memory."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from services.trainer.table_limits import LONGEST_NAME, TableLimits
from services.trainer.text_scan import PlainText
from shared.errors import TableUnreadable

CHUNK_CELLS = 1_000_000
"""Cells parsed at a time: a chunk of text costs about 100 bytes a cell."""
CHUNK_BYTES = 64 * 2**20
"""Of text parsed at a time, where cells are long."""

DELIMITERS = ",;\t|"
SNIFFED_RECORDS = 50
SNIFFED_CHARACTERS = 2**20

Advance = Callable[[float, str], None]

_ARROW = {
    "null": pa.float64(),  # what pandas makes of a column without values
    "bool": pa.bool_(),
    "natural": pa.int64(),
    "integer": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "text": pa.string(),
}
"""What pandas reads a column as → Arrow's type. `natural` is int64 without negative values."""

_FORCED = {"text": str, "float64": "float64", "uint64": "uint64"}
"""Kinds that a chunk alone may not show, so that the second pass has to ask for them."""


def decode_text(source: PlainText, out: Path, advance: Advance, limits: TableLimits) -> tuple[int, int]:
    """Read UTF-8 text, write Arrow IPC to `out`, return (rows, columns).

    Types are those that `pandas.read_csv` infers over the whole file. It is read in chunks, and a second
    time only where a later chunk shows another type than the first. Raises TableUnreadable.
    """
    text = source.path
    csv.field_size_limit(limits.max_record_bytes)  # its default of 128 KiB refuses long texts
    delimiter = sniff(text, limits)
    names = read_header(text, delimiter, limits)
    check_records(text, delimiter, len(names), limits)
    advance(0.1, "reading the table")
    kinds, rows, done = _write_as_found(_chunks(source, delimiter, names, {}, advance, limits), out, limits)
    if not done:
        _write_as(kinds, _chunks(source, delimiter, names, kinds, advance, limits), out, limits)
    return rows, len(names)


def sniff(text: Path, limits: TableLimits) -> str:
    """The delimiter among , ; tab | that splits the first records into the same number of fields."""
    best, best_key = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        counts: list[int] = []
        looked_at = 0
        try:
            for _, fields in _records(text, delimiter, limits):
                counts.append(len(fields))
                looked_at += sum(map(len, fields))
                if len(counts) >= SNIFFED_RECORDS or looked_at > SNIFFED_CHARACTERS:
                    break
        except csv.Error:  # a field over csv's limit: not this delimiter, or a fault that is found later
            continue
        if not counts or counts[0] < 2:
            continue
        key = (counts.count(counts[0]) / len(counts), counts[0])
        if key > best_key:
            best, best_key = delimiter, key
    return best


def read_header(text: Path, delimiter: str, limits: TableLimits) -> list[str]:
    """The column names as pandas gives them. Raises TableUnreadable naming every faulty one.

    An empty first name is what `DataFrame.to_csv` writes for the index: "Unnamed: 0", as in pandas.
    """
    try:
        line, names = next(_records(text, delimiter, limits), (0, []))
    except csv.Error as error:
        raise TableUnreadable(f"the header cannot be read: {error}") from error
    if not names:
        raise TableUnreadable("the file is empty: it holds no header and no rows")
    names = [names[0] or "Unnamed: 0", *names[1:]]
    check_names(names, f"line {line}", limits)
    return names


def check_names(names: list[str], where: str, limits: TableLimits) -> None:
    """Raise TableUnreadable for too many columns, and for names that are empty, too long, hold NUL or come
    twice."""
    if len(names) > limits.max_columns:
        raise TableUnreadable(
            f"{len(names):,} columns; at most {limits.max_columns:,} are taken: leave some out"
        )
    unnamed = [str(i) for i, name in enumerate(names, 1) if not name.strip()]
    if unnamed:
        many = "columns" if len(unnamed) > 1 else "column"
        raise TableUnreadable(f"{where}: {many} {_some(unnamed)} without a name in the header")
    nul = [str(i) for i, name in enumerate(names, 1) if "\0" in name]
    if nul:
        raise TableUnreadable(f"{where}: the name of column {_some(nul)} holds a NUL character")
    long = [str(i) for i, name in enumerate(names, 1) if len(name) > LONGEST_NAME]
    if long:
        raise TableUnreadable(
            f"{where}: the name of column {_some(long)} has more than {LONGEST_NAME:,} characters"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        at = [
            f"{shown(name)} (columns {_some([str(i) for i, other in enumerate(names, 1) if other == name])})"
            for name in twice[:11]
        ] + twice[11:]
        raise TableUnreadable(f"{where}: the header names a column twice: {_some(at)}")


def check_records(text: Path, delimiter: str, columns: int, limits: TableLimits) -> None:
    """Every record has as many fields as the header, or TableUnreadable names the line.

    pandas would fill short rows with missing values and take a long one's first field for an index.
    """

    def note(row: pa.csv.InvalidRow) -> str:
        return "error" if row.text.strip() else "skip"  # pandas passes over lines of blanks

    try:
        reader = pa.csv.open_csv(
            text,
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=limits.max_record_bytes, autogenerate_column_names=True
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            # one column as bytes: the rest is only split, never converted
            convert_options=pa.csv.ConvertOptions(
                include_columns=["f0"], column_types={"f0": pa.binary()}, check_utf8=False
            ),
        )
        for _ in reader:
            pass
    except pa.ArrowInvalid as error:
        fault = _first_fault(text, delimiter, columns, limits)
        raise TableUnreadable(fault or f"malformed: {error}") from error


def _first_fault(text: Path, delimiter: str, columns: int, limits: TableLimits) -> str | None:
    """The first record that is not as the header says, found again with the line it begins on."""
    last, records = 1, 0
    try:
        for line, fields in _records(text, delimiter, limits):
            last, records = line, records + 1
            if len(fields) != columns:
                many = "field" if len(fields) == 1 else "fields"
                shown = delimiter.join(fields)[:60]
                hint = "; a quote may not be closed there" if '"' in shown or "\n" in shown else ""
                return f"line {line} has {len(fields)} {many}, the header has {columns}: {shown!r}{hint}"
    except csv.Error as error:
        return f"after line {last}: {error}; a quote may not be closed there"
    if records < 2:  # Arrow refuses a lone line that no newline ends
        return "the table has a header but no rows"
    return f"after line {last}: {_too_long(limits)}; a quote may not be closed"


def _too_long(limits: TableLimits) -> str:
    return f"a record of more than {limits.max_record_bytes:,} bytes"


def _records(text: Path, delimiter: str, limits: TableLimits) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of each record that isn't blank. Raises csv.Error for one that is too
    long, before it is held in memory."""
    held = 0

    def lines() -> Iterator[str]:
        nonlocal held
        for line in file:
            held += len(line)
            if held > limits.max_record_bytes:
                raise csv.Error(_too_long(limits))
            yield line

    with text.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(lines(), delimiter=delimiter)
        begins = 1
        for fields in reader:
            held = 0
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield begins, fields
            begins = reader.line_num + 1


def _chunks(
    source: PlainText,
    delimiter: str,
    names: list[str],
    kinds: dict[str, str],
    advance: Advance,
    limits: TableLimits,
) -> Iterator[pd.DataFrame]:
    """The table in parts that fit into memory, however long its cells are."""
    text = source.path
    size = text.stat().st_size
    forced = {name: _FORCED[kind] for name, kind in kinds.items() if kind in _FORCED}
    most = max(500, CHUNK_CELLS // len(names))
    with text.open("rb") as file:
        try:
            with pd.read_csv(
                file,
                sep=delimiter,
                encoding="utf-8",
                header=0,
                names=names,
                index_col=False,
                low_memory=False,
                dtype=forced or None,
                float_precision="round_trip" if source.far_exponents else None,
                iterator=True,
            ) as reader:
                rows, before = min(most, max(1, CHUNK_BYTES // _bytes_a_line(text))), 0
                while (chunk := _next_chunk(reader, rows)) is not None:
                    yield chunk
                    done = file.tell()
                    advance(0.1 + 0.9 * min(1.0, done / size), "reading the table")
                    a_row = max(1, (done - before) // len(chunk))
                    rows, before = max(1, min(most, 4 * rows, CHUNK_BYTES // a_row)), done
        except (pd.errors.ParserError, OverflowError) as error:
            if "EOF inside string" in str(error):
                line = _last_record(text, delimiter, limits)
                raise TableUnreadable(f"line {line}: a quote that opens there is never closed") from error
            raise TableUnreadable(f"malformed: {error}") from error


def _next_chunk(reader: pd.io.parsers.TextFileReader, rows: int) -> pd.DataFrame | None:
    try:
        chunk = reader.get_chunk(rows)
    except StopIteration:
        return None
    return None if chunk.empty else chunk


def _bytes_a_line(text: Path) -> int:
    with text.open("rb") as file:
        head = file.read(CHUNK_BYTES // 64)
    return max(1, len(head) // max(1, head.count(b"\n"), head.count(b"\r")))


def _last_record(text: Path, delimiter: str, limits: TableLimits) -> int:
    """The line on which the last record begins that can be read."""
    line = 1
    with contextlib.suppress(csv.Error):
        for line, _ in _records(text, delimiter, limits):  # noqa: B007 - wanted after the loop
            pass
    return line


def _write_as_found(
    chunks: Iterator[pd.DataFrame], out: Path, limits: TableLimits
) -> tuple[dict[str, str], int, bool]:
    """Write with the first chunk's types. Returns the kinds that hold for all, rows, whether they agreed."""
    chunk = next(chunks, None)
    if chunk is None:
        raise TableUnreadable("the table has a header but no rows")
    kinds = _kinds(chunk)
    schema = _schema(kinds)
    rows = written = 0
    with pa.ipc.new_file(str(out), schema) as writer:
        while chunk is not None:
            rows += len(chunk)
            found = _kinds(chunk)
            kinds = {name: _merged(kinds[name], found[name]) for name in kinds}
            if _schema(kinds) == schema:
                batch = _batch(chunk, schema)
                written += batch.nbytes
                writer.write_batch(batch)
            check_size(rows, written, limits)
            chunk = next(chunks, None)
    return kinds, rows, _schema(kinds) == schema


def _write_as(kinds: dict[str, str], chunks: Iterator[pd.DataFrame], out: Path, limits: TableLimits) -> None:
    schema = _schema(kinds)
    rows = written = 0
    with pa.ipc.new_file(str(out), schema) as writer:
        for chunk in chunks:
            batch = _batch(chunk, schema)
            rows, written = rows + len(chunk), written + batch.nbytes
            check_size(rows, written, limits)
            writer.write_batch(batch)


def check_size(rows: int, written: int, limits: TableLimits) -> None:
    """Raise TableUnreadable for more rows, or more bytes of decoded columns, than are taken."""
    if rows > limits.max_rows:
        raise TableUnreadable(f"over {limits.max_rows:,} rows; upload a part of them")
    if written > limits.max_bytes:
        raise TableUnreadable(
            f"the table is over {limits.max_bytes:,} bytes unpacked; upload a part of the rows"
        )


def _kinds(chunk: pd.DataFrame) -> dict[str, str]:
    return {str(name): _kind(chunk[name]) for name in chunk.columns}


def _kind(values: pd.Series) -> str:
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype):  # the latter from pandas 3 on
        at = values.first_valid_index()
        # with values missing, pandas keeps booleans as objects
        return "null" if at is None else "bool" if isinstance(values.loc[at], bool) else "text"
    if values.dtype == np.int64:
        return "integer" if values.min() < 0 else "natural"
    if values.dtype == np.float64 and values.isna().all():
        return "null"
    return str(values.dtype)


def _merged(one: str, other: str) -> str:
    """The kind that pandas would have read had it seen both parts at once."""
    both = {one, other}
    if len(both) == 1:
        return one
    if both == {"natural", "integer"}:
        return "integer"
    if both == {"natural", "uint64"}:
        return "uint64"
    if both <= {"null", "natural", "integer", "uint64", "float64"} and both != {"integer", "uint64"}:
        return "float64"
    if both == {"null", "bool"}:
        return "bool"
    return "text"


def _schema(kinds: dict[str, str]) -> pa.Schema:
    return pa.schema([(name, _ARROW[kind]) for name, kind in kinds.items()])


def _batch(chunk: pd.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.nulls(len(chunk), field.type)
        if (values := chunk[field.name]).isna().all()
        else pa.array(values, type=field.type, from_pandas=True)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
