"""Which rows are learned from, validated on and held out. Deterministic in the seed.

Positions count the rows that `with_target` keeps, in the table's order. Two promises: every class is in
the training part of the hold-out and of every fold, however rare it is; and rows of one group are never
on both sides.
"""

from __future__ import annotations

import hashlib
import math
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from services.trainer.number_text import to_numbers
from shared.contracts.states import TaskType

GROUP_SPLITS_TRIED = 20
"""Random group splits compared; the one nearest to the wanted share of rows and of classes is taken."""

NEAR = 0.1
"""A split of small groups is as wanted where it holds out so many rows more or fewer at most, as a share."""

FEWEST_SMALL = 50
LARGEST_SMALL = 0.05
PURE = 1.05
"""Groups are small, and dealt out like rows, if most are single rows; or if there are so many of them, none
has more than this share of the rows, and hardly one has more than one class."""

STRATIFIED_GROUPS_MAX = 2_000
"""Above it StratifiedGroupKFold takes minutes (it loops over groups), and chance balances well enough."""


def with_target(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows whose target is there, numbered anew from 0: what every position here counts."""
    present = frame[target].notna()
    if present.all() and isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0:
        return frame  # the same rows: a large table is not copied for nothing
    return frame[present].reset_index(drop=True)


def target_values(frame: pd.DataFrame, target: str, task_type: TaskType) -> np.ndarray:
    """The target of `with_target`'s rows as scikit-learn takes it.

    Classification: the table's own labels, shape (rows,), as str objects, bools or numbers.
    Otherwise: float64, numbers written as text ("$1,200") read as numbers; what is no number is NaN.
    """
    values = frame[target]
    if task_type is not TaskType.CLASSIFICATION:
        return to_numbers(values).to_numpy(dtype=np.float64)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    return values.infer_objects().to_numpy()


def holdout(
    y: np.ndarray, groups: np.ndarray | None, task_type: TaskType, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted row positions (train, test); about `test_size` of the rows are held out.

    Classification without groups is stratified: a class with two rows or more is in both parts, a class
    with one row is in the training part only. With groups whole groups are held out, and a class is in
    both parts where its groups allow it: small ones are dealt out like rows. Raises ValueError for fewer
    than two rows or three groups.
    """
    n = len(y)
    codes = _codes(y) if task_type is TaskType.CLASSIFICATION else None
    if groups is not None:
        group_codes = _codes(groups)
        way = _small_holdout if _small(codes, group_codes) else _group_holdout
        train, test = way(n, codes, group_codes, test_size, seed)
    elif codes is not None:
        train, test = _stratified_holdout(codes, test_size, seed)
    else:
        train, test = next(ShuffleSplit(1, test_size=test_size, random_state=seed).split(np.empty(n)))
    return np.sort(train), np.sort(test)


def folds(
    y: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int, task_type: TaskType
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sorted row positions (train, valid) of each fold, counted within `y`.

    Every class is in each fold's training part: rows (or groups) that alone hold a class are never
    validated on. A fold that has nothing left to validate on is left out, so that there can be fewer
    than `n_folds`; the plan warns of it. Raises ValueError for fewer rows or groups than folds.
    """
    n = len(y)
    codes = _codes(y) if task_type is TaskType.CLASSIFICATION else None
    group_codes = None if groups is None else _codes(groups)
    made = []
    units = np.arange(n) if group_codes is None else group_codes
    for train, valid in _splitter(n, codes, group_codes, n_folds, seed):
        if codes is not None:
            train, valid = _classes_into_first(train, valid, codes, units)
        if len(valid):
            made.append((np.sort(train), np.sort(valid)))
    return made


def counted(y: np.ndarray, groups: np.ndarray | None, task_type: TaskType) -> np.ndarray:
    """Positions of the rows that say how often there is each class: one of each group where groups are small,
    all of them otherwise. There cannot be more folds than some class has of these."""
    if groups is None or task_type is not TaskType.CLASSIFICATION:
        return np.arange(len(y))
    codes, group_codes = _codes(y), _codes(groups)
    return _one_each(codes, group_codes) if _small(codes, group_codes) else np.arange(len(y))


def digest(test_idx: np.ndarray) -> str:
    """SHA-256 (hex) of the held-out positions, as little-endian int64 in ascending order."""
    return hashlib.sha256(np.sort(np.asarray(test_idx)).astype("<i8").tobytes()).hexdigest()


def _codes(values: np.ndarray) -> np.ndarray:
    """0..k-1 for the values, by first appearance; missing ones are a value of their own."""
    return pd.factorize(np.asarray(values), use_na_sentinel=False)[0]


def _stratified_holdout(codes: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(codes)
    alone = np.flatnonzero(counts[codes] < 2)
    rest = np.flatnonzero(counts[codes] >= 2)
    classes = int((counts >= 2).sum())
    if not classes:
        raise ValueError("no class has two rows")
    held = max(math.ceil(len(codes) * test_size), classes)
    held = min(held, len(rest) - classes)
    train, test = next(
        StratifiedShuffleSplit(1, test_size=held, random_state=seed).split(np.empty(len(rest)), codes[rest])
    )
    train, test = rest[train], rest[test]
    train, test = _classes_into_first(train, test, codes, np.arange(len(codes)))
    test, train = _classes_into_first(test, train, codes, np.arange(len(codes)))
    return np.concatenate([train, alone]), test


def _group_holdout(
    n: int, codes: np.ndarray | None, groups: np.ndarray, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best of a few random splits: GroupShuffleSplit knows neither group sizes nor classes."""
    distinct = int(groups.max()) + 1
    if distinct < 3:
        raise ValueError(f"{distinct} groups; one is held out and two are needed to validate")
    held_out = min(max(1, round(distinct * test_size)), distinct - 2)
    splitter = GroupShuffleSplit(GROUP_SPLITS_TRIED, test_size=held_out, random_state=seed)
    strata = np.zeros(n, dtype=np.int64) if codes is None else codes
    wanted = np.bincount(strata) * test_size

    def distance(split: tuple[np.ndarray, np.ndarray]) -> float:
        held = np.bincount(strata[split[1]], minlength=len(wanted))
        return float((np.abs(held - wanted) / wanted).sum() + ((held == 0) & (wanted >= 1)).sum())

    train, test = min(splitter.split(np.empty(n), groups=groups), key=distance)
    return (train, test) if codes is None else _classes_into_first(train, test, codes, groups)


def _small(codes: np.ndarray | None, groups: np.ndarray) -> bool:
    """Whether groups are dealt out one by one, as rows are, rather than weighed up against each other."""
    n, distinct = len(groups), int(groups.max()) + 1
    if distinct > n / 2:
        return True
    if codes is None or distinct < FEWEST_SMALL or np.bincount(groups).max() > LARGEST_SMALL * n:
        return False
    return len(np.unique(groups.astype(np.int64) * (codes.max() + 1) + codes)) <= PURE * distinct


def _one_each(codes: np.ndarray | None, groups: np.ndarray) -> np.ndarray:
    """A row of each group, in the order of the groups' numbers: the first of its rarest class."""
    if codes is None:
        return np.unique(groups, return_index=True)[1]
    order = np.lexsort((np.bincount(codes)[codes], groups))
    return order[np.searchsorted(groups[order], np.arange(groups.max() + 1))]


def _small_holdout(
    n: int, codes: np.ndarray | None, groups: np.ndarray, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Small groups dealt out like rows, stratified by the rarest class of each; where one is large after all,
    the best of a few tries."""
    one = _one_each(codes, groups)
    if len(one) < 3:
        raise ValueError(f"{len(one)} groups; one is held out and two are needed to validate")
    rng = np.random.default_rng(seed)
    best: tuple[float, np.ndarray] | None = None
    for number in range(GROUP_SPLITS_TRIED):
        draw = seed if number == 0 else int(rng.integers(2**31))
        if codes is None:
            chosen = next(ShuffleSplit(1, test_size=test_size, random_state=draw).split(one))[1]
        else:
            chosen = _stratified_holdout(_codes(codes[one]), test_size, draw)[1]
        held = np.zeros(len(one), dtype=bool)
        held[chosen] = True
        off = abs(float(held[groups].mean()) - test_size) / test_size
        if best is None or off < best[0]:
            best = off, held[groups]
        if off <= NEAR:
            break
    assert best is not None
    train, test = np.flatnonzero(~best[1]), np.flatnonzero(best[1])
    return (train, test) if codes is None else _classes_into_first(train, test, codes, groups)


def _splitter(
    n: int, codes: np.ndarray | None, groups: np.ndarray | None, n_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    if groups is not None and _small(codes, groups):
        one = _one_each(codes, groups)
        dealt = _splitter(len(one), None if codes is None else _codes(codes[one]), None, n_folds, seed)
        made = []
        for _, valid in dealt:
            held = np.zeros(len(one), dtype=bool)
            held[valid] = True
            made.append((np.flatnonzero(~held[groups]), np.flatnonzero(held[groups])))
        return made
    if groups is None:
        splitter = (KFold if codes is None else StratifiedKFold)(n_folds, shuffle=True, random_state=seed)
    elif codes is None or groups.max() >= STRATIFIED_GROUPS_MAX:
        splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class with fewer rows than folds is the plan's to warn of, in the user's words
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(splitter.split(np.empty(n), codes, groups))


def _classes_into_first(
    first: np.ndarray, second: np.ndarray, codes: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move units (rows or groups) over until `first` holds every class that `second` holds.

    One unit a missing class: the smallest that holds it, the first among equals.
    """
    for code in np.setdiff1d(codes[second], codes[first]):
        if (codes[first] == code).any():  # came along with a group moved for another class
            continue
        holders = np.unique(units[second[codes[second] == code]])
        sizes = np.bincount(units[second], minlength=units.max() + 1)[holders]
        moved = units[second] == holders[sizes.argmin()]
        first, second = np.concatenate([first, second[moved]]), second[~moved]
    return first, second
