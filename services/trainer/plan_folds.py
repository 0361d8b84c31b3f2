"""How many folds the training rows bear, and which classes are too rare to be in each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from services.trainer import split
from shared.check_request import LEAST_HELD_OUT
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest
from shared.errors import CannotTrain

ALWAYS_VALIDATED = 3
"""Rows of a class in the training part from which on it shall be in every fold's validation part. For a
rarer one the folds are not made fewer: every model would be judged worse for a class none can learn."""

MOST_NAMED = 5
DOMINANT = 0.9


def folds(
    request: TrainRequest,
    task_type: TaskType,
    y: np.ndarray,
    groups: np.ndarray | None,
    train: np.ndarray,
    test: np.ndarray,
) -> tuple[int, list[Notice]]:
    """How many folds the training part bears, and what cannot be in each. Raises CannotTrain below two."""
    if len(test) < LEAST_HELD_OUT:
        raise CannotTrain(f"{len(test)} rows are left to score on; at least {LEAST_HELD_OUT} are needed")
    unit = "rows" if groups is None else "groups" if request.group_column is not None else "different rows"
    most, why = len(train) // LEAST_HELD_OUT, f"the training part has {len(train)} rows"
    if groups is not None and (left := len(pd.unique(groups[train]))) < most:
        most, why = left, f"the training part has {left} {unit}"
    if task_type is TaskType.CLASSIFICATION:
        counts = pd.Series(y[train]).value_counts()
        if len(counts) < 2:
            raise CannotTrain(f"every training row is of class {shown(counts.index[0])}")
        if counts.iloc[1] < 2:
            name, size = shown(counts.index[1]), int((y == counts.index[1]).sum())
            raise CannotTrain(
                f"too few rows a class: {name} has {size} in all and 1 in the training part; "
                "two classes with two or more there are needed"
            )
        one_each = split.counted(y[train], None if groups is None else groups[train], task_type)
        counts = pd.Series(y[train][one_each]).value_counts()
        often = counts[counts >= ALWAYS_VALIDATED]
        name, least = (often.index[-1], often.iloc[-1]) if len(often) else (counts.index[0], counts.iloc[0])
        if least < most:
            most, why = int(least), f"class {shown(name)} has {least} {unit} in the training part"
    folds = min(request.cv_folds, most)
    if folds < 2:
        raise CannotTrain(f"two folds cannot be made: {why}")
    made = split.folds(y[train], None if groups is None else groups[train], folds, request.seed, task_type)
    if len(made) < 2:
        raise CannotTrain(
            "two folds cannot be made: only one group can be validated on without losing a class"
        )
    warnings = _fewer_folds(request.cv_folds, folds, len(made), why)
    if task_type is TaskType.CLASSIFICATION:
        for part, rows in (("held out", test), ("validated on", np.concatenate([train[v] for _, v in made]))):
            if len(seen := pd.unique(y[rows])) < 2:
                raise CannotTrain(
                    f"all rows that can be {part} are of class {shown(seen[0])}: each other is held by "
                    f"too few {f'values of {request.group_column!r}' if request.group_column else unit}"
                )
        warnings += _classes_not_everywhere(y, train, test, made)
    return folds, warnings


def _fewer_folds(wanted: int, asked: int, made: int, why: str) -> list[Notice]:
    if made == wanted:
        return []
    if made < asked:
        why = "groups that alone hold a class are only trained on"
    return [
        Notice(
            code="fewer-folds",
            message=f"{made} folds are used, not {wanted}: {why}.",
            evidence=why,
            action=f"Models are validated on {made} folds.",
        )
    ]


def _classes_not_everywhere(
    y: np.ndarray, train: np.ndarray, test: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> list[Notice]:
    """Notices of classes too rare for the held-out or for each validation part, and of one dominating."""
    codes, classes = pd.factorize(y)
    counts = np.bincount(codes)
    made = []
    if absent := _absent(codes, counts, classes, [test]):
        made.append(
            Notice(
                code="class-not-held-out",
                message=f"Too rare to be held out: {absent}.",
                evidence=absent,
                action="They are trained on; the held-out scores say nothing of them.",
            )
        )
    if absent := _absent(codes, counts, classes, [train[valid] for _, valid in folds]):
        made.append(
            Notice(
                code="class-not-in-every-fold",
                message=f"Too rare for every fold's validation part: {absent}.",
                evidence=absent,
                action="They are in every fold's training part; validation scores count them less.",
            )
        )
    largest = int(counts.argmax())
    if counts[largest] > DOMINANT * len(y):
        share = f"{counts[largest] / len(y):.1%} of the rows"
        made.append(
            Notice(
                code="imbalanced-classes",
                message=f"Class {shown(classes[largest])} is {share}: always answering it scores as much.",
                evidence=share,
                action="Read balanced_accuracy or average_precision beside accuracy.",
            )
        )
    return made


def _absent(codes: np.ndarray, counts: np.ndarray, classes: Any, parts: list[np.ndarray]) -> str:
    everywhere = np.ones(len(counts), dtype=bool)
    for part in parts:
        everywhere &= np.bincount(codes[part], minlength=len(counts)) > 0
    absent = np.flatnonzero(~everywhere)
    said = [
        f"{shown(classes[i])} ({counts[i]} row{'s' if counts[i] > 1 else ''})" for i in absent[:MOST_NAMED]
    ]
    more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
    return ", ".join(said) + more


def shown(value: object) -> str:
    """A cell for a message: one may hold a book."""
    text = str(value)
    return repr(text if len(text) <= 80 else text[:79] + "…")
