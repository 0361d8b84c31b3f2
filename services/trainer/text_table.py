"""CSV and TSV → Arrow: the delimiter, the header, ragged rows, then pandas' own types, in bounded memory."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from shared.errors import TableUnreadable

MAX_COLUMNS = 2_000
CHUNK_CELLS = 1_000_000
"""Cells parsed at a time: a chunk of text costs about 100 bytes a cell."""

MAX_RECORD_BYTES = 16 * 2**20
DELIMITERS = ",;\t|"
SNIFFED_RECORDS = 50

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


def decode_text(text: Path, out: Path, advance: Advance) -> tuple[int, int]:
    """Read UTF-8 `text`, write Arrow IPC to `out`, return (rows, columns).

    Types are those that `pandas.read_csv` infers over the whole file. It is read in chunks, and a second
    time only where a later chunk shows another type than the first. Raises TableUnreadable.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)  # its default of 128 KiB refuses long texts
    delimiter = sniff(text)
    names = read_header(text, delimiter)
    check_records(text, delimiter, len(names))
    advance(0.1, "reading the table")
    kinds, rows, done = _write_as_found(_chunks(text, delimiter, names, {}, advance), out)
    if not done:
        _write_as(kinds, _chunks(text, delimiter, names, kinds, advance), out)
    return rows, len(names)


def sniff(text: Path) -> str:
    """The delimiter among , ; tab | that splits the first records into the same number of fields."""
    best, best_key = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        try:
            head = list(itertools.islice(_records(text, delimiter), SNIFFED_RECORDS))
        except csv.Error:  # a field over csv's limit: not this delimiter, or a fault that is found later
            continue
        counts = [len(fields) for _, fields in head]
        if not counts or counts[0] < 2:
            continue
        key = (counts.count(counts[0]) / len(counts), counts[0])
        if key > best_key:
            best, best_key = delimiter, key
    return best


def read_header(text: Path, delimiter: str) -> list[str]:
    """The column names as pandas gives them. Raises TableUnreadable naming every faulty one.

    An empty first name is what `DataFrame.to_csv` writes for the index: "Unnamed: 0", as in pandas.
    """
    try:
        line, names = next(_records(text, delimiter), (0, []))
    except csv.Error as error:
        raise TableUnreadable(f"the header cannot be read: {error}") from error
    if not names:
        raise TableUnreadable("the file is empty: it holds no header and no rows")
    names = [names[0] or "Unnamed: 0", *names[1:]]
    check_names(names, f"line {line}")
    return names


def check_names(names: list[str], where: str) -> None:
    """Raise TableUnreadable for too many columns, and for names that are empty, hold NUL or come twice."""
    if len(names) > MAX_COLUMNS:
        raise TableUnreadable(f"{len(names):,} columns; at most {MAX_COLUMNS:,} are taken: leave some out")
    unnamed = [str(i) for i, name in enumerate(names, 1) if not name.strip()]
    if unnamed:
        many = "columns" if len(unnamed) > 1 else "column"
        raise TableUnreadable(f"{where}: {many} {_some(unnamed)} without a name in the header")
    nul = [str(i) for i, name in enumerate(names, 1) if "\0" in name]
    if nul:
        raise TableUnreadable(f"{where}: the name of column {_some(nul)} holds a NUL character")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        at = [
            f"{name!r} (columns {', '.join(str(i) for i, other in enumerate(names, 1) if other == name)})"
            for name in twice
        ]
        raise TableUnreadable(f"{where}: the header names a column twice: {_some(at)}")


def check_records(text: Path, delimiter: str, columns: int) -> None:
    """Every record has as many fields as the header, or TableUnreadable names the line.

    pandas would fill short rows with missing values and take a long one's first field for an index.
    """

    def note(row: pa.csv.InvalidRow) -> str:
        return "error" if row.text.strip() else "skip"  # pandas passes over lines of blanks

    try:
        reader = pa.csv.open_csv(
            text,
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=MAX_RECORD_BYTES, autogenerate_column_names=True
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
        raise TableUnreadable(_first_fault(text, delimiter, columns) or f"malformed: {error}") from error


def _first_fault(text: Path, delimiter: str, columns: int) -> str | None:
    """The first record that is not as the header says, found again with the line it begins on."""
    last, records = 1, 0
    try:
        for line, fields in _records(text, delimiter):
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
    return f"after line {last}: a record of more than {MAX_RECORD_BYTES:,} bytes; a quote may not be closed"


def _records(text: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of each record that isn't blank."""
    with text.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        begins = 1
        for fields in reader:
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield begins, fields
            begins = reader.line_num + 1


def _chunks(
    text: Path, delimiter: str, names: list[str], kinds: dict[str, str], advance: Advance
) -> Iterator[pd.DataFrame]:
    size = text.stat().st_size
    forced = {name: _FORCED[kind] for name, kind in kinds.items() if kind in _FORCED}
    with text.open("rb") as file:
        try:
            for chunk in pd.read_csv(
                file,
                sep=delimiter,
                encoding="utf-8",
                header=0,
                names=names,
                index_col=False,
                low_memory=False,
                dtype=forced or None,
                chunksize=max(500, CHUNK_CELLS // len(names)),
            ):
                yield chunk
                advance(0.1 + 0.9 * min(1.0, file.tell() / size), "reading the table")
        except (pd.errors.ParserError, OverflowError) as error:
            if "EOF inside string" in str(error):
                *_, (line, _) = _records(text, delimiter)
                raise TableUnreadable(f"line {line}: a quote that opens there is never closed") from error
            raise TableUnreadable(f"malformed: {error}") from error


def _write_as_found(chunks: Iterator[pd.DataFrame], out: Path) -> tuple[dict[str, str], int, bool]:
    """Write with the first chunk's types. Returns the kinds that hold for all, rows, whether they agreed."""
    chunk = next(chunks, None)
    if chunk is None or chunk.empty:
        raise TableUnreadable("the table has a header but no rows")
    kinds = _kinds(chunk)
    schema = _schema(kinds)
    rows = 0
    with pa.ipc.new_file(str(out), schema) as writer:
        while chunk is not None:
            rows += len(chunk)
            found = _kinds(chunk)
            kinds = {name: _merged(kinds[name], found[name]) for name in kinds}
            if _schema(kinds) == schema:
                writer.write_batch(_batch(chunk, schema))
            chunk = next(chunks, None)
    return kinds, rows, _schema(kinds) == schema


def _write_as(kinds: dict[str, str], chunks: Iterator[pd.DataFrame], out: Path) -> None:
    schema = _schema(kinds)
    with pa.ipc.new_file(str(out), schema) as writer:
        for chunk in chunks:
            writer.write_batch(_batch(chunk, schema))


def _kinds(chunk: pd.DataFrame) -> dict[str, str]:
    return {str(name): _kind(chunk[name]) for name in chunk.columns}


def _kind(values: pd.Series) -> str:
    if values.dtype == object:
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


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
