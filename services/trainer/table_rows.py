"""The rows of a plain table that have a target, split as the plan split them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import split, table_copies, table_room
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from shared.errors import CannotTrain


class Rows(Struct):
    """The rows that have a target and are in use. `features`: (n, columns) without the target; `y`: (n,);
    `groups`: (n,) what every split keeps whole, be it the user's groups or copies of rows; `train`, `test`:
    positions; `labels`: the sorted classes, None for a regression; `places`: (n,) their numbers among all
    rows of the table, None where that was not asked for."""

    features: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray | None
    train: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None
    places: np.ndarray | None = None


def read(
    table_path: Path, plan: Plan, columns: list[str] | None = None, *, placed: bool = False
) -> tuple[Rows, list[Notice]]:
    """The table's rows as the plan split them, with only `columns` where given (the plan's target and group
    among them), and, where asked for, their places; raises CannotTrain where they are not the plan's."""
    part = table_room.planned(plan.details)
    if part is not None and part.narrow and columns is None:
        columns = [*plan.roles, plan.target, *filter(None, [plan.group_column])]
    whole = table_room.load(table_path, columns, part)
    if plan.target not in whole.columns:
        raise CannotTrain(f"the table has no column {plan.target!r}")
    frame = split.with_target(whole, plan.target)
    y = split.target_values(frame, plan.target, plan.task_type)
    groups = None if plan.group_column is None else frame[plan.group_column].to_numpy()
    rows_dropped = len(frame) < len(whole) or (part is not None and part.rows is not None)
    copies = table_copies.planned(plan.details)
    at = _places(table_path, part, whole[plan.target]) if placed or copies is not None else None
    if copies is not None and at is not None:
        kept, groups = table_copies.applied(
            table_copies.keys(table_path, copies.columns)[at], y, groups, copies
        )
        if len(kept) < len(y):
            frame, y, at = frame.iloc[kept].reset_index(drop=True), y[kept], at[kept]
    try:
        train, test = split.holdout(y, groups, plan.task_type, plan.test_size, plan.seed)
    except ValueError as error:
        raise CannotTrain(f"the rows cannot be split: {error}") from error
    if split.digest(test) != plan.split_digest:
        raise CannotTrain("the held-out rows are not those of the plan: the table has changed")
    notices: list[Notice] = []
    labels = None
    if plan.task_type is TaskType.CLASSIFICATION:
        y = as_labels(y, whole_numbers=rows_dropped, notices=notices)
        labels = np.unique(y)
        if len(np.unique(y[train])) < 2:
            raise CannotTrain("the target has a single class in the training rows")
    else:
        train, test = (part[np.isfinite(y[part])] for part in (train, test))
        if len(train) < 2 or not len(test):
            raise CannotTrain("the target holds too few numbers")
    return Rows(frame.drop(columns=plan.target), y, groups, train, test, labels, at), notices


def folds(rows: Rows, plan: Plan) -> list[tuple[np.ndarray, np.ndarray]]:
    """The plan's folds: positions (learn, held) of training rows. Raises CannotTrain."""
    groups = None if rows.groups is None else rows.groups[rows.train]
    try:
        made = split.folds(rows.y[rows.train], groups, plan.cv_folds, plan.seed, plan.task_type)
    except ValueError as error:
        raise CannotTrain(f"the training rows cannot be split into folds: {error}") from error
    return [(rows.train[learn], rows.train[held]) for learn, held in made]


def _places(table_path: Path, part: table_room.Share | None, target: pd.Series) -> np.ndarray:
    """The numbers, among all rows of the table, of those that were loaded and have a target."""
    present = np.flatnonzero(target.notna())
    if part is None or part.rows is None:
        return present
    return table_room.positions(table_path, part)[present]


def as_labels(y: np.ndarray, *, whole_numbers: bool, notices: list[Notice]) -> np.ndarray:
    """Labels that classifiers take: one kind, sortable, and not fractions.

    `whole_numbers`: rows without a target were dropped, so 0.0 and 1.0 were written 0 and 1.
    """
    if y.dtype.kind == "f":
        if (y == np.floor(y)).all():
            return y.astype(np.int64) if whole_numbers and np.abs(y).max() < 2**53 else y
        notices.append(
            Notice(
                code="fractional-labels",
                message="The classes are fractional numbers, which classifiers take for measurements.",
                action="They are handled as text, and the model answers text.",
            )
        )
        return y.astype(str).astype(object)
    if y.dtype == object and not all(isinstance(label, str) for label in y):
        return np.array([str(label) for label in y], dtype=object)
    return y


def sample(positions: np.ndarray, rows: Rows, size: int, seed: int) -> np.ndarray:
    """`size` of `positions`, sorted; of each class at least one row, or a fold could not be scored."""
    shuffled = np.random.default_rng(seed).permutation(positions)
    if rows.labels is not None:
        first = np.unique(rows.y[shuffled], return_index=True)[1]
        shuffled = np.concatenate([shuffled[first], np.delete(shuffled, first)])
    return np.sort(shuffled[:size])
