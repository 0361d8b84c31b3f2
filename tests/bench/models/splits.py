"""The files of one split, made once: train, test and truth, and what is said about the table."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

from msgspec import Struct

from tests.bench.models import environments, processes
from tests.bench.models.tables import TABLES, Table

NOT_CARRYING = ("scikit-learn", "statsmodels")
"""Packages that are there to be run; the others are wanted for their data alone, without what they need."""
READING = ["pandas", *NOT_CARRYING]
LIMIT_S = 120.0


class Split(Struct, frozen=True, kw_only=True):
    """`table`: its name; `truth`: the held-out targets as the file has them; `classes`: the whole table's,
    empty for a regression."""

    table: str
    seed: int
    train: Path
    test: Path
    truth: list[str]
    classes: list[str]
    rows: int
    columns: int
    train_sha256: str


def make(table: Table, seed: int) -> Split:
    """Raises StepFailed where the table cannot be read."""
    folder = environments.FOLDER / "tables" / _made_by() / table.name / str(seed)
    if not (folder / "about.json").exists():
        data = sorted({t.package for t in TABLES.values()} - set(NOT_CARRYING))
        python = environments.python_of("tables", READING, data)
        step = ["tests.bench.models.loading", table.name, str(seed), str(folder)]
        processes.run(python, step, home=folder, limit=LIMIT_S)
    about = json.loads((folder / "about.json").read_text())
    return Split(
        table=table.name,
        seed=seed,
        train=folder / "train.csv",
        test=folder / "test.csv",
        truth=_column(folder / "truth.csv"),
        classes=about["classes"],
        rows=about["rows"],
        columns=about["columns"],
        train_sha256=about["train_sha256"],
    )


def _made_by() -> str:
    """A digest of what reads and describes the tables: files that were made otherwise are made anew."""
    digest = hashlib.sha256()
    for name in ("loading.py", "tables.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:12]


def _column(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row[0] for row in csv.reader(file)][1:]
