"""Which column a table is likely about, and whether that is classes, a quantity, or a series over time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from services.trainer import table
from shared.check_request import is_number, suggested_task_type
from shared.contracts import ColumnProfile, TaskType

TARGET_NAMES = frozenset(
    {"target", "label", "labels", "class", "classes", "y", "outcome", "response", "result", "species"}
    | {"survived", "churn", "churned", "default", "price", "saleprice", "sale_price", "quality", "diagnosis"}
    | {"medv", "fraud", "is_fraud", "income", "score", "rating", "sales", "demand", "converted", "clicked"}
)

SERIES_TRIED = 5


def suggest(columns: list[ColumnProfile], rows: int, path: Path) -> tuple[str | None, TaskType | None, str]:
    """(target, task type, a sentence that says why); no target where no column can be one."""
    possible = [column for column in columns if suggested_task_type(column, rows)[0] is not None]
    if not possible:
        return None, None, "No column has values that could be learned: two or more, and repeated or numeric."
    named = [column for column in possible if column.name.strip().casefold() in TARGET_NAMES]
    target = named[-1] if named else possible[-1]
    position = "the last column" if target is columns[-1] else "the last column that could be learned"
    why = "is named like a target" if named else f"is {position}"
    if is_number(target) and (time := _regular_times(columns, target, rows, path)):
        return target.name, TaskType.TIME_SERIES, f"{target.name!r} {why}, and {time}."
    task_type, kind = suggested_task_type(target, rows)
    return target.name, task_type, f"{target.name!r} {why}, and {kind}."


def _regular_times(columns: list[ColumnProfile], target: ColumnProfile, rows: int, path: Path) -> str | None:
    """Half a sentence where one column of dates comes at a steady pace, alone or for each of some series."""
    dates = [column for column in columns if column.role == "datetime"]
    if len(dates) != 1 or dates[0].missing or rows < 3:
        return None
    name = dates[0].name
    times = pd.to_datetime(
        table.load(path, [name])[name], errors="coerce", utc=True, format="mixed" if rows < 10_000 else None
    )
    distinct = times.drop_duplicates().sort_values()
    pace = pd.infer_freq(pd.DatetimeIndex(distinct)) if len(distinct) >= 3 else None
    if pace is None:
        return None
    if len(distinct) == rows:
        return f"{name!r} has one row a step ({pace})"
    series = [c for c in columns if c.role == "categorical" and c.distinct > 1 and c is not target]
    for column in series[:SERIES_TRIED]:
        keys = pd.DataFrame({"time": times, "series": table.load(path, [column.name])[column.name]})
        if not keys.duplicated().any():
            return f"{name!r} has one row a step ({pace}) for each {column.name!r}"
    return None
