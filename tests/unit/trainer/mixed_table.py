"""A small table with everything in it, as `pandas.read_csv` gives it, and plans for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from services.trainer import split
from shared.contracts.catalogue import HEADLINE
from shared.contracts.states import TaskType
from shared.contracts.training import Plan

ROLES = {
    "size": "numeric",
    "count": "numeric",
    "price": "numeric",
    "colour": "categorical",
    "shop": "categorical",
    "grade": "categorical",
    "member": "boolean",
    "bought": "datetime",
    "note": "text",
}


def features(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Missing cells in every kind of column, an infinity, numbers and dates as text, 60 shops, and a
    column (`serial`) that has no role."""
    rng = np.random.default_rng(seed)
    words = ["red fox", "lazy dog", "blue cat", "green bird"]
    table = pd.DataFrame(
        {
            "serial": np.arange(rows),
            "size": rng.normal(size=rows),
            "count": rng.integers(0, 9, rows).astype(float),
            "price": [f"${value:,.2f}" for value in rng.normal(2000, 600, rows)],
            "colour": rng.choice(["red", "green", "blue"], rows).astype(object),
            "shop": [f"shop {number}" for number in rng.integers(0, 60, rows)],
            "grade": rng.integers(1, 4, rows).astype(float),
            "member": (rng.random(rows) > 0.5).astype(object),
            "bought": pd.date_range("2024-01-01", periods=rows, freq="13h").strftime("%d/%m/%Y %H:%M"),
            "note": [" ".join(rng.choice(words, 3)) for _ in range(rows)],
        }
    )
    for step, name in enumerate(("size", "price", "colour", "shop", "grade", "member", "bought", "note"), 7):
        table.loc[::step, name] = np.nan
    table.loc[3, "count"] = np.inf
    return table


def signal(table: pd.DataFrame) -> pd.Series:
    """What there is to learn: one number a row, from a numeric and a categorical column."""
    return table["size"].fillna(0) + 2 * (table["colour"] == "red")


def classes(table: pd.DataFrame, kind: str) -> pd.Series:
    """Targets from the signal: `kind` is words (three of them), flags or numbers."""
    known = signal(table)
    if kind == "flags":
        return known > 0.3
    if kind == "numbers":
        return (known > 0.3).astype(int) * 4 + 3
    return pd.Series(np.where(known > 1.2, "high", np.where(known > 0, "middle", "low")), dtype=object)


def write(table: pd.DataFrame, path: Path) -> Path:
    """As the decoded tables are kept: an Arrow IPC file."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with pa.ipc.new_file(str(path), arrow.schema) as file:
        file.write_table(arrow)
    return path


def plan(table: pd.DataFrame, target: str, task_type: TaskType, **changes: object) -> Plan:
    """A plan for `table`, its digest computed as planning does."""
    given = {
        "metric": HEADLINE[task_type],
        "roles": ROLES,
        "models": [],
        "rows": len(table),
        "test_size": 0.2,
        "cv_folds": 2,
        "seed": 0,
        "refit": True,
        "deadline_s": 60.0,
    } | changes
    rows = split.with_target(table, target)
    group = given.get("group_column")
    _, test = split.holdout(
        split.target_values(rows, target, task_type),
        None if group is None else rows[group].to_numpy(),
        task_type,
        given["test_size"],
        given["seed"],
    )
    return Plan(target=target, task_type=task_type, split_digest=split.digest(test), **given)
