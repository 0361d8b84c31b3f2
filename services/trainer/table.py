"""Reading an upload: decided by content, checked, written once as an Arrow file, loaded from there.

`decode` is the only reader of uploads; every later step takes the Arrow file. What `load` gives back is as
near as possible what `pandas.read_csv` (or `read_parquet`) gives the user, since the exported pickles
predict on a frame that the user reads in that way: dates stay text, integers integers, booleans booleans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa


def load(out: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The decoded table as a DataFrame (only `columns`, in the table's order, where given)."""
    with pa.memory_map(str(out), "r") as source:
        reader = pa.ipc.open_file(source)
        if columns is not None:
            chosen = [i for i, name in enumerate(reader.schema.names) if name in set(columns)]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=chosen))
        frame = reader.read_all().to_pandas()
    for name in frame.columns[frame.dtypes == object]:
        column = frame[name]
        if column.isna().any():
            frame[name] = column.where(column.notna(), np.nan)
    return frame
