"""What is held out and validated on: every class learned, groups whole, the same for the same seed."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_iris, load_wine

from services.trainer import split
from services.trainer.number_text import to_numbers
from shared.contracts.states import TaskType

CLASSES, NUMBERS = TaskType.CLASSIFICATION, TaskType.REGRESSION


def rare() -> np.ndarray:
    """50 a, 30 b, 3 c, 2 d, 1 e."""
    return np.array(["a"] * 50 + ["b"] * 30 + ["c"] * 3 + ["d"] * 2 + ["e"], dtype=object)


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_classes_are_held_out_in_their_shares(load: object) -> None:
    y = load().target
    train, test = split.holdout(y, None, CLASSES, 0.2, 0)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert len(test) == pytest.approx(0.2 * len(y), abs=1)
    shares = np.bincount(y[test]) / np.bincount(y)
    assert shares == pytest.approx(0.2, abs=0.03)


def test_numbers_are_held_out_at_random_but_reproducibly() -> None:
    y = load_diabetes().target
    train, test = split.holdout(y, None, NUMBERS, 0.2, 7)
    again = split.holdout(y, None, NUMBERS, 0.2, 7)
    other = split.holdout(y, None, NUMBERS, 0.2, 8)
    assert (train == again[0]).all()
    assert (test == again[1]).all()
    assert split.digest(test) == split.digest(again[1]) != split.digest(other[1])
    assert len(test) == 89
    assert (np.diff(test) > 0).all()
    assert (np.diff(train) > 0).all()


def test_the_digest_does_not_depend_on_order_or_type() -> None:
    # sha256 of the little-endian int64s 2 and 8
    wanted = "92efcee53c47cddb0adf55c2c88947787d7744a1c384d99976493419ac9feed9"
    assert split.digest(np.array([8, 2], dtype=np.int32)) == wanted == split.digest(np.array([2, 8]))


@pytest.mark.parametrize("test_size", [0.05, 0.2, 0.5, 0.8])
def test_a_class_of_two_rows_is_on_both_sides_and_one_of_one_row_is_learned(test_size: float) -> None:
    y = rare()
    train, test = split.holdout(y, None, CLASSES, test_size, 0)
    assert set(y[train]) == set("abcde")
    assert set(y[test]) == set("abcd")


def test_every_class_is_in_every_folds_training_part() -> None:
    y = rare()
    train, _ = split.holdout(y, None, CLASSES, 0.2, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = split.folds(y[train], None, 5, 0, CLASSES)
    assert len(folds) == 5
    for learned, valid in folds:
        assert set(y[train][learned]) == set("abcde")
        assert not set(learned) & set(valid)
        assert (np.diff(valid) > 0).all()


def test_each_row_is_validated_once_but_for_classes_of_one_row() -> None:
    y = rare()
    folds = split.folds(y, None, 5, 0, CLASSES)
    validated = np.sort(np.concatenate([valid for _, valid in folds]))
    assert validated.tolist() == np.flatnonzero(y != "e").tolist()


@pytest.mark.parametrize("task_type", [CLASSES, NUMBERS])
def test_a_group_is_never_on_both_sides(task_type: TaskType) -> None:
    rng = np.random.default_rng(0)
    groups = rng.choice(list("abcdefghijklmnop"), 400).astype(object)
    groups[:10] = np.nan  # rows without a group are one group
    y = rng.integers(0, 3, 400)
    train, test = split.holdout(y, groups, task_type, 0.25, 0)
    assert not set(map(str, groups[train])) & set(map(str, groups[test]))
    assert len(test) == pytest.approx(100, abs=25)
    for learned, valid in split.folds(y[train], groups[train], 4, 0, task_type):
        assert not set(map(str, groups[train][learned])) & set(map(str, groups[train][valid]))
        assert len(valid)


def test_a_group_that_alone_holds_a_class_is_trained_on() -> None:
    groups = np.repeat(np.arange(12), 10)
    y = np.where(groups == 5, "only here", np.where(np.arange(120) % 2, "x", "y"))
    for seed in range(5):
        train, _ = split.holdout(y, groups, CLASSES, 0.25, seed)
        assert "only here" in y[train]
        for learned, _ in split.folds(y[train], groups[train], 4, seed, CLASSES):
            assert set(y[train][learned]) == {"only here", "x", "y"}


@pytest.mark.parametrize("task_type", [CLASSES, NUMBERS])
@pytest.mark.parametrize("copied", [0.3, 1.0])
def test_small_groups_are_dealt_out_like_rows(task_type: TaskType, copied: float) -> None:
    """Copies of rows: stratified as single rows are, a rare class in every part, and none on both sides."""
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 700 + ["b"] * 280 + ["rare"] * 20, dtype=object)
    rows = np.concatenate([np.arange(1_000), rng.permutation(1_000)[: int(copied * 1_000)]])
    rng.shuffle(rows)
    y = y[rows] if task_type is CLASSES else rows.astype(float)
    train, test = split.holdout(y, rows, task_type, 0.2, 0)
    parts = [(train, test)]
    assert len(test) == pytest.approx(0.2 * len(y), rel=0.1)
    folds = [(train[a], train[b]) for a, b in split.folds(y[train], rows[train], 5, 0, task_type)]
    assert sorted(np.concatenate([valid for _, valid in folds])) == train.tolist()
    for learned, held in [*parts, *folds]:
        assert not set(rows[learned]) & set(rows[held])
        if task_type is CLASSES:
            counts = pd.Series(y[held]).value_counts(normalize=True)
            assert counts["a"] == pytest.approx(0.7, abs=0.06)
            assert counts["rare"] >= 0.005


@given(
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=5),
    copies=st.lists(st.integers(0, 3), min_size=5, max_size=30),
    seed=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None)
def test_promises_hold_with_copies(sizes: list[int], copies: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes) + 1), [*sizes, 4])
    rows = np.concatenate([np.arange(len(labels)), np.array(copies) % len(labels)])
    y = labels[rows]
    train, test = split.holdout(y, rows, CLASSES, 0.3, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert set(y[train]) == set(labels)
    assert not set(rows[train]) & set(rows[test])
    counted = split.counted(y[train], rows[train], CLASSES)
    folds = int(min(5, len(set(rows[train])), np.bincount(y[train][counted]).max()))
    if folds >= 2:
        for learned, valid in split.folds(y[train], rows[train], folds, seed, CLASSES):
            assert set(y[train][learned]) == set(labels)
            assert not set(rows[train][learned]) & set(rows[train][valid])


@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    test_size=st.floats(0.05, 0.9),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_promises_hold_for_any_class_sizes(sizes: list[int], test_size: float, seed: int) -> None:
    sizes = [*sizes, 3]
    y = np.repeat(np.arange(len(sizes)), sizes)
    train, test = split.holdout(y, None, CLASSES, test_size, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert set(y[train]) == set(range(len(sizes)))
    assert set(y[test]) == {code for code, size in enumerate(sizes) if size >= 2}
    folds = int(min(5, np.bincount(y[train]).max()))
    if folds >= 2:
        for learned, valid in split.folds(y[train], None, folds, seed, CLASSES):
            assert set(y[train][learned]) == set(range(len(sizes)))
            assert not set(learned) & set(valid)


def test_rows_without_a_target_are_not_counted() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3], "y": ["a", None, "b"]})
    kept = split.with_target(frame, "y")
    assert kept["x"].tolist() == [1, 3]
    assert kept.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "task_type", "wanted"),
    [
        (["a", "b"], CLASSES, ["a", "b"]),
        ([True, False], CLASSES, [True, False]),
        ([0, 1], CLASSES, [0, 1]),
        (pd.Categorical(["a", "b"]), CLASSES, ["a", "b"]),
        ([1, 2], NUMBERS, [1.0, 2.0]),
        (["$1,200", "(3.50)"], NUMBERS, [1200.0, -3.5]),
    ],
)
def test_a_target_as_scikit_learn_takes_it(values: object, task_type: TaskType, wanted: list[object]) -> None:
    got = split.target_values(pd.DataFrame({"y": values}), "y", task_type)
    assert got.tolist() == wanted
    assert task_type is CLASSES or got.dtype == np.float64


def test_booleans_beside_missing_ones_are_booleans_again() -> None:
    frame = split.with_target(pd.DataFrame({"y": [True, None, False]}), "y")
    assert split.target_values(frame, "y", CLASSES).dtype == bool


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["$1,200", "$3", "€ 4.50"], [1200, 3, 4.5]),
        (["12%", "3.5 %", "-1%"], [12, 3.5, -1]),
        (["(1,200.50)", "3", "\u22124"], [-1200.5, 3, -4]),
        (["1.200,50 €", "3,5", "1.000"], [1200.5, 3.5, 1000]),
        (["1 200,5", "7,25", "2"], [1200.5, 7.25, 2]),
        (["1e3", ".5", "+2"], [1000, 0.5, 2]),
        (["1", "?", "n/a"], [1, np.nan, np.nan]),
        (["12-34", "1.2.3", "5 kg"], [np.nan, np.nan, np.nan]),
        ([True, 2, "3"], [1, 2, 3]),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), [np.nan, np.nan]),
    ],
)
def test_numbers_written_as_text(written: object, read: list[float]) -> None:
    np.testing.assert_array_equal(to_numbers(pd.Series(written)).to_numpy(), np.array(read, dtype=float))
