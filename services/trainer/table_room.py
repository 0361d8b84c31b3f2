"""How much of a table a fit holds in memory: its columns, narrowed, and fewer rows where that is not enough.

`share` decides once, in the plan, so that every candidate sees the same rows; `load` reads what was decided
from the Arrow file, a batch at a time, without ever holding the whole table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from services.trainer import table
from services.trainer.child_memory import LEAST_BYTES
from shared.contracts.files import ColumnProfile
from shared.contracts.problems import Notice
from shared.errors import CannotTrain

LIBRARIES_BYTES = 400 * 2**20
"""What a fit's process holds whatever its table, and what its models need to be safe beside a large one."""

SMALL_BYTES = 56 * 2**20
"""A table that needs no more is loaded under any guard that lets a fit run at all: so much `LEAST_BYTES` has
to spare."""

FRAMES = 2.0
MATRICES = 3.5
"""A fit's peak holds its rows so many times as they were read (all of them, and those that are learned from),
and so many times as a matrix of float64 (prepared, put together, the model's own), which narrow types make no
smaller. `make bench NAME=large` measures it for every model."""

MATRIX_COLUMNS = {"datetime": 20, "text": 30}
FEW_KINDS = 40
"""Columns that one of these roles comes to in the widest matrix, that of linear models. A category of few
kinds has one for each, and so have whole numbers of few kinds beside their own."""

KEPT_BYTES = 512 * 2**20
"""Prepared parts of folds are kept for what else is tried on them while all of one split are smaller than
this; the search for settings has a split of its own. Of a table that had to be narrowed none are."""

TEXT_BYTES = 57
"""CPython's str, beside its characters; a cell is a pointer of 8 bytes to one, shared by equal cells."""

LOOKED_AT = 50_000
"""Rows that the length and the repetition of text are estimated from."""

LOSS = 1e-4
"""float64 becomes float32 where no value moves by more than this share of its column's spread."""

KEPT_OF_A_CLASS = 50
"""Rows of each class that are kept whatever share of the others is drawn."""

LEAST_ROWS = 1_000

DETAIL = "table_share"
"""Under which the plan's details keep the share."""


class Share(Struct, kw_only=True):
    """What of a table is loaded. `rows`: how many are drawn, None for all; `of`: how many there are.
    `stratified`: the target's classes keep their shares. `target` and `seed` say which rows those are."""

    target: str
    of: int
    rows: int | None = None
    narrow: bool = False
    stratified: bool = False
    seed: int = 0

    def notice(self, drawn: int) -> Notice:
        """What to tell the user of a table of which `drawn` rows are used."""
        how = f"drawn at random (seed {self.seed})"
        if self.stratified:
            how += f", each class by its share and at least {KEPT_OF_A_CLASS} rows of it where it has them"
        return Notice(
            code="table-sampled",
            message=f"The table is too large for a fit's memory: {drawn:,} of {self.of:,} rows are used.",
            evidence=f"{drawn:,} of {self.of:,} rows, {how}",
            action="Models are trained, validated and scored on these rows. A trainer with more memory "
            "(TRAINER_MEMORY_BYTES) takes more of them.",
        )


def share(
    path: Path,
    columns: Sequence[str],
    target: str,
    *,
    classes: bool,
    memory_bytes: int,
    seed: int,
    width: int = 0,
) -> Share:
    """What of the decoded table fits into `memory_bytes`, the guard of one fit.

    `columns`: all that a fit reads, the target among them; `width`: of the widest matrix made of them. Types
    are narrowed only where the table would not fit as it is, and rows drawn only where that is not enough.
    Raises CannotTrain where not even `LEAST_ROWS` rows fit, or no fit runs in so little.
    """
    if memory_bytes < LEAST_BYTES:
        raise CannotTrain(
            f"a fit may use {memory_bytes // 2**20} MiB here, and it needs {LEAST_BYTES // 2**20} MiB "
            "whatever its table: the trainer's TRAINER_MEMORY_BYTES is too small"
        )
    with pa.memory_map(str(path), "r") as source:
        reader = pa.ipc.open_file(source, options=only(source, columns))
        rows = sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
        room = max(memory_bytes - LIBRARIES_BYTES, SMALL_BYTES)
        made = Share(target=target, of=rows, stratified=classes, seed=seed)
        needed = rows * row_needs(_row_bytes(reader, reader.schema), width)
        if needed + 2 * min(needed, KEPT_BYTES) <= room:
            return made
        made.narrow = True
        fitting = int(room / row_needs(_row_bytes(reader, _narrowed(reader, target)), width))
    if fitting >= rows:
        return made
    if fitting < LEAST_ROWS:
        raise CannotTrain(
            f"a row of the table takes so much memory that only {max(0, fitting):,} of {rows:,} fit into the "
            f"{memory_bytes / 2**20:,.0f} MiB of a fit; leave columns out, those of long text first"
        )
    made.rows = fitting
    return made


def matrix_columns(columns: Iterable[ColumnProfile]) -> int:
    """The width of the widest matrix that is made of columns with these profiles."""
    made = 0
    for column in columns:
        kinds = column.distinct if column.distinct <= FEW_KINDS else 0
        if column.role == "categorical":
            made += max(1, kinds)
        else:
            made += MATRIX_COLUMNS.get(column.role, 1) + (kinds if column.role == "numeric" else 0)
    return made


def row_needs(row_bytes: float, width: int) -> float:
    """Bytes that a fit needs at its peak for each row, of so many bytes and so wide a matrix."""
    return max(1.0, FRAMES * row_bytes + MATRICES * 8 * width)


def planned(details: Mapping[str, Any]) -> Share | None:
    """What a plan's `details` say of the share, None where they say nothing."""
    return msgspec.convert(details[DETAIL], Share) if DETAIL in details else None


def undrawn_masked(target: pd.Series, path: Path, part: Share) -> pd.Series:
    """The whole table's target, missing in the rows that `part` leaves out: they count as having none."""
    drawn = np.zeros(len(target), dtype=bool)
    drawn[positions(path, part)] = True
    return target.where(drawn)


def load(path: Path, columns: Sequence[str] | None, part: Share | None) -> pd.DataFrame:
    """`columns` (all where None) of the rows that `part` names, in the table's order, otherwise as
    `table.load` has them. Features of whole numbers and float64 have fewer bits where that was decided."""
    if part is None or not part.narrow:
        return table.load(path, None if columns is None else list(columns))
    columns = table.column_names(path) if columns is None else columns
    with pa.memory_map(str(path), "r") as source:
        reader = pa.ipc.open_file(source, options=only(source, columns))
        schema = _narrowed(reader, part.target)
        chosen = None if part.rows is None else positions(path, part)
        batches, begins = [], 0
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            ends = begins + batch.num_rows
            if chosen is not None:
                low, high = np.searchsorted(chosen, (begins, ends))
                batch = batch.take(pa.array(chosen[low:high] - begins))
            begins = ends
            arrays = [batch.column(field.name).cast(field.type, safe=False) for field in schema]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        frame = pa.Table.from_batches(batches, schema).to_pandas(self_destruct=True)
        del batches
    return table.missing_as_nan(frame)


def positions(path: Path, part: Share) -> np.ndarray:
    """Sorted positions, among all rows of the table, of those that `part` draws: rows with a target only.

    The same for the same table, target and seed. With classes each is drawn by its share, and all its rows,
    up to `KEPT_OF_A_CLASS`, where it is rare; so there may be somewhat more rows than asked for.
    """
    with pa.memory_map(str(path), "r") as source:
        column = pa.ipc.open_file(source, options=only(source, [part.target])).read_all().column(0)
        known = np.flatnonzero(column.is_valid().to_numpy())
        codes = np.zeros(len(known), dtype=np.int64)
        if part.stratified:
            encoded = column.drop_null().combine_chunks().dictionary_encode()
            codes = encoded.indices.to_numpy().astype(np.int64)
    if part.rows is None or part.rows >= len(known):
        return known
    counts = np.bincount(codes)
    least = KEPT_OF_A_CLASS if part.stratified else 0
    quota = np.maximum(np.minimum(counts, least), np.floor(counts * part.rows / len(known)).astype(np.int64))
    order = np.random.default_rng(part.seed).permutation(len(known))
    # how many of its class come before each row in the drawn order
    rank = pd.Series(codes[order]).groupby(codes[order]).cumcount().to_numpy()
    return np.sort(known[order[rank < quota[codes[order]]]])


def only(source: pa.NativeFile, columns: Sequence[str]) -> pa.ipc.IpcReadOptions:
    """To read these columns of an Arrow file alone, in its order."""
    names = pa.ipc.open_file(source).schema.names
    wanted = set(columns)
    return pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(names) if name in wanted])


def _row_bytes(reader: pa.ipc.RecordBatchFileReader, schema: pa.Schema) -> float:
    """Bytes of a row as a DataFrame of this schema holds it."""
    head = reader.get_batch(0).slice(0, LOOKED_AT)
    total = 0.0
    for field in schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            cells = head.column(field.name)
            distinct = cells.unique()
            repeats = len(distinct) < 0.5 * len(cells)
            characters = (pc.sum(pc.binary_length(distinct)).as_py() or 0) / max(1, len(distinct))
            total += 8 + (0 if repeats else TEXT_BYTES + characters)
        else:
            # nothing in pandas is smaller than a byte, and integers beside missing values are floats
            total += max(1.0, field.type.bit_width / 8)
    return total


def _narrowed(reader: pa.ipc.RecordBatchFileReader, target: str) -> pa.Schema:
    """The schema with the smallest types that hold every value: whole numbers exactly, floats by `LOSS`, and
    the target as it is."""
    fields = []
    for number, field in enumerate(reader.schema):
        columns = [reader.get_batch(i).column(number) for i in range(reader.num_record_batches)]
        if field.name == target:
            pass
        elif pa.types.is_float64(field.type) and _fits_float32(columns):
            field = field.with_type(pa.float32())
        elif pa.types.is_integer(field.type):
            field = field.with_type(_least_integer(columns, field.type))
        fields.append(field)
    return pa.schema(fields)


def _fits_float32(columns: Iterable[pa.Array]) -> bool:
    low, high, moved = np.inf, -np.inf, 0.0
    for column in columns:
        values = column.to_numpy(zero_copy_only=False)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        with np.errstate(over="ignore"):
            moved = max(moved, float(np.abs(values - values.astype(np.float32)).max()))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return high <= low or moved <= LOSS * (high - low)


def _least_integer(columns: Iterable[pa.Array], kind: pa.DataType) -> pa.DataType:
    low, high, missing = 0, 0, False
    for column in columns:
        missing |= column.null_count > 0
        found = pc.min_max(column).as_py()
        if found["min"] is not None:
            low, high = min(low, found["min"]), max(high, found["max"])
    if missing:  # pandas makes them floats, which hold whole numbers up to 2**24 exactly
        return pa.float32() if max(-low, high) <= 2**24 else kind
    for small in (pa.int8(), pa.int16(), pa.int32()):
        most = 2 ** (small.bit_width - 1)
        if -most <= low and high < most:
            return small
    return kind
