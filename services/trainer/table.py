"""Reading an upload: decided by content, checked, written once as an Arrow file, loaded from there.

`decode` is the only reader of uploads; every later step takes the Arrow file. What `load` gives back is as
near as possible what `pandas.read_csv` (or `read_parquet`) gives the user, since the exported pickles
predict on a frame that the user reads in that way: dates stay text, integers integers, booleans booleans.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.trainer.outcome import Progress
from services.trainer.table_limits import TableLimits
from services.trainer.text_scan import PARQUET, plain_text
from services.trainer.text_table import CHUNK_BYTES, CHUNK_CELLS, check_names, check_size, decode_text, shown
from shared.errors import TableUnreadable

FIRST_TEXTS = 500
"""Rows of a Parquet file with text that are read at a time until it is known how long its cells are: a few
bytes say that a megabyte is repeated a million times."""


def _days(year: int) -> int:
    return dt.date(year, 1, 1).toordinal() - dt.date(1970, 1, 1).toordinal()


YEARS = (2, 9999)
ZONED_YEARS = (1678, 2262)
"""The first year of times that are taken, and the first that is not any more: what Python has times for on
either side of the date line; and, of times with a zone, what pandas reads without crashing."""


def decode(
    source: Path,
    name: str,
    out: Path,
    progress: Progress | None = None,
    limits: TableLimits | None = None,
) -> tuple[int, int]:
    """Write `source` (CSV, TSV, Parquet; .gz or .zst of text) as Arrow IPC to `out`: (rows, columns).

    The format is decided by content; `name`, the upload's own, only words the messages. Constant memory.
    Raises TableUnreadable saying what is wrong and where.
    """
    tell = progress or (lambda share, message: None)
    limits = limits or TableLimits()
    size = source.stat().st_size
    if size == 0:
        raise TableUnreadable("the file is empty (0 bytes)")
    limits = limits.for_upload(size)
    with source.open("rb") as file:
        is_parquet = file.read(4) == PARQUET
    if is_parquet:
        return _decode_parquet(source, out, tell, limits)
    if re.search(r"\.(parquet|pq)$", name, re.IGNORECASE):
        raise TableUnreadable("named as Parquet but not one: it does not begin with the bytes PAR1")
    spare = out.with_name(out.name + ".text")
    try:
        text = plain_text(source, spare, lambda share: tell(0.3 * share, "checking the text"), limits)
        return decode_text(text, out, lambda share, message: tell(0.3 + 0.7 * share, message), limits)
    finally:
        spare.unlink(missing_ok=True)


def load(out: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The decoded table as a DataFrame (only `columns`, in the table's order, where given).

    Missing values are NaN (NaT in dates) throughout, as `read_csv` has them.
    """
    with pa.memory_map(str(out), "r") as source:
        reader = pa.ipc.open_file(source)
        if columns is not None:
            chosen = [i for i, name in enumerate(reader.schema.names) if name in set(columns)]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=chosen))
        frame = reader.read_all().to_pandas()
    return missing_as_nan(frame)


def missing_as_nan(frame: pd.DataFrame) -> pd.DataFrame:
    """The same frame, NaN where Arrow left None: as `read_csv` has it."""
    for name in frame.select_dtypes(object).columns:
        frame[name] = _missing_as_nan(frame[name])
    return frame


def each_column(out: Path) -> Iterator[pd.Series]:
    """The decoded table's columns one after another, as `load` has them: memory for one at a time."""
    with pa.memory_map(str(out), "r") as source:
        mapped = pa.ipc.open_file(source).read_all()  # the file's own pages, nothing is copied yet
        for name, column in zip(mapped.schema.names, mapped.columns, strict=True):
            yield _missing_as_nan(column.to_pandas().rename(name))


def column_names(out: Path) -> list[str]:
    """The decoded table's columns, without reading it."""
    with pa.memory_map(str(out), "r") as source:
        return list(pa.ipc.open_file(source).schema.names)


def _missing_as_nan(values: pd.Series) -> pd.Series:
    """Arrow has None where `read_csv` has NaN."""
    return values.where(values.notna(), np.nan) if values.dtype == object and values.hasnans else values


def _decode_parquet(source: Path, out: Path, tell: Progress, limits: TableLimits) -> tuple[int, int]:
    try:
        with pq.ParquetFile(source) as file:
            schema = _readable_schema(file, limits)
            rows = file.metadata.num_rows
            if rows == 0:
                raise TableUnreadable("the table has columns but no rows")
            if rows < 0:
                raise TableUnreadable(f"the Parquet file is damaged: it promises {rows:,} rows")
            declared = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
            check_size(rows, declared, limits)
            return _copy(file, schema, rows, out, tell, limits), len(schema)
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the upload's
            raise
        raise TableUnreadable(f"the Parquet file is cut short or damaged: {_short(error)}") from error


def _copy(
    file: pq.ParquetFile, schema: pa.Schema, rows: int, out: Path, tell: Progress, limits: TableLimits
) -> int:
    done, written = 0, 0
    most = max(500, CHUNK_CELLS // len(schema))
    at_a_time = min(most, FIRST_TEXTS) if any(map(pa.types.is_large_string, schema.types)) else most
    with pa.ipc.new_file(str(out), schema) as writer:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(
                batch_size=at_a_time, row_groups=[group], columns=schema.names, use_threads=False
            ):
                arrays = [batch.column(field.name).cast(field.type) for field in schema]
                cast = pa.RecordBatch.from_arrays(arrays, schema=schema)
                cast.validate(full=True)  # else text that is not UTF-8 fails wherever it is read
                _refuse_cells(cast, done, limits)
                done, written = done + len(batch), written + cast.nbytes
                check_size(done, written, limits)
                writer.write_batch(cast)
                tell(min(1.0, done / rows), "reading the table")
            a_row = max(1, written // max(1, done))
            at_a_time = max(1, min(most, 4 * at_a_time, CHUNK_BYTES // a_row))
    if done != rows:
        raise TableUnreadable(f"the Parquet file is damaged: it promises {rows:,} rows and holds {done:,}")
    return done


def _refuse_cells(batch: pa.RecordBatch, before: int, limits: TableLimits) -> None:
    """Raises TableUnreadable with the place of a NUL, which is no text to Postgres (labels and examples go
    there), of a text that is too long, and of a time outside of the years that can be worked with."""

    def refuse(name: str, bad: pa.Array, what: str) -> None:
        if (at := pc.index(bad, True).as_py()) >= 0:
            raise TableUnreadable(f"column {shown(name)}, row {before + at + 1:,}: holds {what}")

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_large_string(column.type):
            refuse(name, pc.match_substring(column, "\0"), "a NUL character")
            most = limits.max_record_bytes
            refuse(name, pc.greater(pc.binary_length(column), most), f"a text of more than {most:,} bytes")
        elif pa.types.is_temporal(column.type):
            years = ZONED_YEARS if getattr(column.type, "tz", None) else YEARS
            refuse(
                name, _out_of_time(column, years), f"a time outside of the years {years[0]} to {years[1] - 1}"
            )


def _out_of_time(column: pa.Array, years: tuple[int, int]) -> pa.Array:
    if pa.types.is_date32(column.type):
        a_day, ticks = 1, column.view(pa.int32()).cast(pa.int64())
    else:
        unit = "ms" if pa.types.is_date64(column.type) else column.type.unit
        a_day, ticks = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit], column.view(pa.int64())
    first, last = (min(max(_days(year) * a_day, -(2**63)), 2**63 - 1) for year in years)
    return pc.or_(pc.less(ticks, first), pc.greater(ticks, last))


def _readable_schema(file: pq.ParquetFile, limits: TableLimits) -> pa.Schema:
    """The columns in types that pandas has plain columns for. Raises TableUnreadable naming the others."""
    fields = list(file.schema_arrow)
    # what pandas writes for an index without a name, and takes out of the columns again
    fields = [field for field in fields if not re.fullmatch(r"__index_level_\d+__", field.name)]
    if not fields:
        raise TableUnreadable("the Parquet file has no columns")
    check_names([field.name for field in fields], "schema", limits)
    for field in fields:
        _refuse_unknown_zone(field)
    types = {field.name: _plain_type(field.type) for field in fields}
    odd = [f"{field.name!r} ({field.type})" for field in fields if types[field.name] is None]
    if odd:
        more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
        raise TableUnreadable(
            f"columns that hold neither numbers, text, booleans nor dates: {', '.join(odd[:10])}{more}; "
            "flatten them or leave them out"
        )
    return pa.schema(list(types.items()))


def _refuse_unknown_zone(field: pa.Field) -> None:
    zone = getattr(field.type, "tz", None)
    if zone is None:
        return
    try:
        pa.lib.string_to_tzinfo(zone)
    except Exception as error:  # the zone's library has errors of its own, of several modules
        raise TableUnreadable(
            f"column {shown(field.name)} has times of the zone {shown(zone)}, which nobody knows"
        ) from error


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """What a column of `kind` is kept as; None where pandas has no plain column for it."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.float64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    plain = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_timestamp,
        pa.types.is_date,
    )
    return kind if any(is_such(kind) for is_such in plain) else None


def _short(error: Exception) -> str:
    """What a library says, less the names of its classes."""
    text = re.sub(r"\b\w*(Exception|Error)\b:?\s*", "", str(error).split("\n")[0])
    return text.replace("\0", "\ufffd")[:300] or "it cannot be read"
