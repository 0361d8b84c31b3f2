"""The rows of a table that a fit's memory does not hold, as Parquet files that a cluster's workers read.

`spread` writes them: every row that has a target and was not drawn for the fits, in files of one row group
each, with its target as a number and with what it is tied to. A row that is a copy of a drawn one, or is in
its group, may be learned from only where that one may: else the held-out score would be of rows that were
seen. `learned` reads one file on a worker.
"""

from __future__ import annotations

import hashlib
import io
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import TransformerMixin
from sklearn.pipeline import Pipeline

from services.trainer import split, table, table_copies, table_room, table_rows
from services.trainer.cluster import FREE, TEST, Link
from services.trainer.outcome import Progress
from services.trainer.steps import Laid
from services.trainer.table_rows import Rows
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from shared.errors import ClusterFailed

FILE_BYTES = 32 * 2**20
LEAST_FILES = 16
"""A file's rows are at most so many bytes in memory, and fewer where that made too few to be shared out."""

_TIED, _TARGET = "trainyard:tied", "trainyard:target"
_LEFT_OUT, _DRAWN = -2, -3

FETCH_S = 60.0
FETCHES = 3


def spread(table_path: Path, plan: Plan, scratch: Path, progress: Progress) -> list[Laid]:
    """Leave the files in `scratch`. Takes memory for a few numbers a row, never for the rows.

    Raises CannotTrain where the table is not the plan's.
    """
    tied, target = _assigned(table_path, plan)
    made: list[Laid] = []
    most = _file_bytes(table_path)
    waiting: list[pa.RecordBatch] = []
    for done, batch in _batches(table_path, plan, tied, target, most):
        waiting.append(batch)
        if sum(each.nbytes for each in waiting) >= most:
            made.append(_written(scratch, len(made), waiting))
            waiting = []
        progress(done, "Laying out the rows for the cluster")
    if waiting:
        made.append(_written(scratch, len(made), waiting))
    return made


def _batches(
    table_path: Path, plan: Plan, tied: np.ndarray, target: np.ndarray, most: int
) -> Iterator[tuple[float, pa.RecordBatch]]:
    """The rows to be learned from, in the table's order and in batches of at most about `most` bytes, each
    with the share of the table that has been read."""
    begins = 0
    with pa.memory_map(str(table_path), "r") as source:
        reader = pa.ipc.open_file(source, options=table_room.only(source, list(plan.roles)))
        for number in range(reader.num_record_batches):
            whole = reader.get_batch(number)
            step = max(1, int(whole.num_rows * most / max(most, whole.nbytes)))
            for start in range(0, whole.num_rows, step):
                part = whole.slice(start, step)
                at = slice(begins + start, begins + start + part.num_rows)
                kept = np.flatnonzero(tied[at] >= FREE)
                if len(kept):
                    rows = part.take(pa.array(kept))
                    rows = rows.append_column(_TIED, pa.array(tied[at][kept], pa.int8()))
                    rows = rows.append_column(_TARGET, pa.array(target[at][kept], pa.float64()))
                    yield at.stop / len(tied), rows
            begins += whole.num_rows


def _written(scratch: Path, number: int, batches: Sequence[pa.RecordBatch]) -> Laid:
    rows = pa.Table.from_batches(batches)
    name = f"{number}.parquet"
    pq.write_table(rows, scratch / name, row_group_size=max(1, len(rows)), compression="zstd")
    kinds, counts = np.unique(rows.column(_TIED).to_numpy(), return_counts=True)
    return Laid(name, {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)})


def _file_bytes(table_path: Path) -> int:
    """Bytes of a file's rows, estimated by what the decoded table takes on the disk."""
    return max(1, min(FILE_BYTES, table_path.stat().st_size // LEAST_FILES))


def _assigned(table_path: Path, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """For all rows of the table: what each is tied to (n,), and its target (n,): codes of the plan's sorted
    labels, or numbers."""
    wanted = [plan.target, *filter(None, [plan.group_column])]
    rows, _ = table_rows.read(table_path, plan, wanted, placed=True)
    assert rows.places is not None
    sides = np.full(len(rows.y), FREE, dtype=np.int8)
    sides[rows.test] = TEST
    for number, (_, held) in enumerate(table_rows.folds(rows, plan), start=TEST + 1):
        sides[held] = number
    whole = table.load(table_path, wanted)
    target = _targets(whole, plan, rows)
    tied = _copies(table_path, plan, rows, sides, target)
    if plan.group_column is not None:
        tied = _either(tied, _groups(whole[plan.group_column], rows, sides))
    tied[np.isnan(target)] = _LEFT_OUT
    tied[rows.places] = _DRAWN
    part = table_room.planned(plan.details)
    if part is not None:  # drawn, and left out of the rows in use since they are copies
        tied[np.setdiff1d(table_room.positions(table_path, part), rows.places)] = _DRAWN
    return tied, target


def _targets(whole: pd.DataFrame, plan: Plan, rows: Rows) -> np.ndarray:
    """NaN where a row has none, or one that the drawn rows do not know."""
    present = np.flatnonzero(whole[plan.target].notna())
    y = split.target_values(split.with_target(whole, plan.target), plan.target, plan.task_type)
    found = np.full(len(whole), np.nan)
    if plan.task_type is not TaskType.CLASSIFICATION:
        found[present] = np.where(np.isfinite(y), y, np.nan)
        return found
    assert rows.labels is not None
    labels = pd.Index(rows.labels)
    codes = labels.get_indexer(pd.Index(table_rows.as_labels(y, whole_numbers=True, notices=[])))
    found[present] = np.where(codes >= 0, codes, np.nan)
    return found


def _copies(table_path: Path, plan: Plan, rows: Rows, sides: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What each row is tied to by being a copy of drawn ones."""
    rule = table_copies.planned(plan.details)
    keys = table_copies.keys(table_path, rule.columns if rule is not None else list(plan.roles))
    tied = _side_of(keys, keys[rows.places], sides)
    if rule is not None and rule.dropped:
        again = pd.DataFrame({"key": keys, "y": target}).duplicated().to_numpy()
        tied[again | (tied != FREE)] = _LEFT_OUT
    return tied


def _groups(groups: pd.Series, rows: Rows, sides: np.ndarray) -> np.ndarray:
    codes = pd.factorize(groups, use_na_sentinel=False)[0]
    return _side_of(codes, codes[rows.places], sides)


def _side_of(keys: np.ndarray, drawn: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The side that all drawn rows with a row's key are on: `FREE` where there are none, and left out where
    they are on several."""
    by_key = pd.Series(sides).groupby(drawn).agg(["min", "max"])
    one = np.where(by_key["min"] == by_key["max"], by_key["min"], _LEFT_OUT)
    at = by_key.index.get_indexer(pd.Index(keys))
    return np.where(at >= 0, one[at], FREE).astype(np.int8)


def _either(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tied in two ways: to the same, or not to be learned from at all."""
    both = (first != FREE) & (second != FREE) & (first != second)
    return np.where(both, _LEFT_OUT, np.where(first == FREE, second, first)).astype(np.int8)


# --- on a worker --------------------------------------------------------------------------------


def counted(link: Link, allowed: Sequence[int]) -> int:
    """Rows of a file that are tied to nothing but `allowed`."""
    return sum(link.rows.get(str(kind), 0) for kind in allowed)


def learned(
    link: Link,
    allowed: Sequence[int],
    before: Pipeline,
    width: int,
    transformer: TransformerMixin | None,
) -> tuple[np.ndarray, np.ndarray]:
    """A file's rows that are tied to nothing but `allowed`, as the model takes them: (n, width) float32, as
    `before` prepares them, and (n,) their targets, where there is a `transformer` on the scale that it leads
    to. Raises ClusterFailed where the file cannot be had as it was written."""
    frame = pq.read_table(io.BytesIO(_fetched(link))).to_pandas()
    frame = frame[frame[_TIED].isin(allowed)]
    y = frame[_TARGET].to_numpy(dtype=np.float64)
    if not len(y):
        return np.zeros((0, width), np.float32), np.zeros(0)
    features = table.missing_as_nan(frame.drop(columns=[_TIED, _TARGET]).reset_index(drop=True))
    x = np.asarray(before.transform(features), dtype=np.float32)
    if transformer is not None:
        y = np.asarray(transformer.transform(y[:, None]))[:, 0]
    return x, y


def _fetched(link: Link) -> bytes:
    if not link.url.startswith(("http://", "https://")):
        raise ClusterFailed("a link to rows is none of the store's")
    why = ""
    for tried in range(FETCHES):
        time.sleep(tried)
        try:
            with urllib.request.urlopen(link.url, timeout=FETCH_S) as answer:  # noqa: S310 — looked at above
                content: bytes = answer.read()
        except OSError as error:  # an answer that is an error, too
            why = str(error)
            continue
        if hashlib.sha256(content).hexdigest() == link.sha256:
            return content
        why = "another digest than was written"
    raise ClusterFailed(f"the rows for the cluster could not be read from the store: {why}")
