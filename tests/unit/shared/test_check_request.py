"""The faults of a request that are known before any row is read."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

import pytest

from shared.check_request import check_request, suggested_task_type, task_type_of
from shared.contracts.files import ColumnProfile, Profile, ValueCount
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest

ROWS = 100


def column(
    name: str, role: str = "numeric", distinct: int = 90, missing: int = 0, **more: Any
) -> ColumnProfile:
    dtype = "float64" if role in ("numeric", "empty") else "object"
    return ColumnProfile(
        **{"name": name, "role": role, "dtype": dtype, "missing": missing, "distinct": distinct} | more
    )


COLUMNS = [
    column("size"),
    column("colour", "categorical", 3, top=[ValueCount("red", 50), ValueCount("blue", 50)]),
    column("when", "datetime", 100),
    column("shop", "categorical", 4),
    column("void", "empty", 0, ROWS),
    column("same", "constant", 1, top=[ValueCount("x", ROWS)]),
    column("code", "identifier", 100),
    column("flag", "boolean", 2),
    column("rare", "numeric", 5, 95),
]
NAMES = [c.name for c in COLUMNS]
PROFILE = Profile(
    rows=ROWS, columns=COLUMNS, suggested_target=None, suggested_task_type=None, reason="", warnings=[]
)


def faults(profile: Profile | None = PROFILE, **asked: Any) -> dict[str, str]:
    request = TrainRequest(file_id=uuid.UUID(int=0), **{"target": "size"} | asked)
    found = check_request(request, NAMES, profile)
    assert len(dict(found)) == len(found), found
    return dict(found)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"target": "colour"},
        {"target": "flag"},
        {"target": "size", "task_type": "regression", "metric": "rmse", "models": ["ridge"]},
        {"target": "colour", "group_column": "shop", "cv_folds": 3},
        {"time_column": "when", "series_column": "shop", "horizon": 5, "metric": "smape"},
        {"exclude_columns": ["colour", "void"]},
    ],
)
def test_no_fault(asked: dict[str, Any]) -> None:
    assert faults(**asked) == {}


CASES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("no such target", {"target": "Sise"}, "/target", ["'Sise' is not in the table", "nearest: 'size'"]),
    ("nothing near", {"target": "qqq"}, "/target", ["'qqq'", "it has: 'size', 'colour'"]),
    ("an empty target", {"target": "void"}, "/target", ["'void' is empty"]),
    ("a constant target", {"target": "same"}, "/target", ["'same' has one value in every row ('x')"]),
    ("dates as a target", {"target": "when"}, "/target", ["'when'", "dates"]),
    ("names as a target", {"target": "code"}, "/target", ["'code'", "value of its own"]),
    (
        "few targets",
        {"target": "rare"},
        "/target",
        ["5 rows have a value in 'rare'", "95 of 100", "at least 10"],
    ),
    (
        "a regression on text",
        {"target": "colour", "task_type": "regression"},
        "/target",
        ["'colour'", "'red'"],
    ),
    (
        "a regression on booleans",
        {"target": "flag", "task_type": "regression"},
        "/target",
        ["true and false"],
    ),
    ("too many classes", {"task_type": "classification"}, "/target", ["90 distinct values in 100 rows"]),
    (
        "a series of text",
        {"target": "colour", "time_column": "when"},
        "/target",
        ["time_series needs numbers"],
    ),
    ("no such group", {"group_column": "shops"}, "/group_column", ["'shops'", "nearest: 'shop'"]),
    ("the target as group", {"group_column": "size"}, "/group_column", ["already the target"]),
    ("few groups", {"group_column": "shop"}, "/group_column", ["'shop' has 4 groups", "5 folds", "at most"]),
    ("an empty group", {"group_column": "void"}, "/group_column", ["'void' is empty"]),
    ("no time", {"task_type": "time_series"}, "/time_column", ["needs the column that holds its times"]),
    ("a constant time", {"time_column": "same"}, "/time_column", ["same time in every row"]),
    (
        "time, but a regression",
        {"time_column": "when", "task_type": "regression"},
        "/time_column",
        ["regression"],
    ),
    (
        "groups of a series",
        {"time_column": "when", "group_column": "shop"},
        "/group_column",
        ["series_column"],
    ),
    ("a horizon without time", {"horizon": 3}, "/horizon", ["time_column"]),
    ("series without time", {"series_column": "shop"}, "/series_column", ["time_column"]),
    (
        "time and series alike",
        {"time_column": "when", "series_column": "when"},
        "/series_column",
        ["time_column"],
    ),
    ("no such model", {"models": ["ridge", "rigde"]}, "/models/1", ["'rigde' for regression", "ridge"]),
    (
        "another type's model",
        {"target": "colour", "models": ["ridge"]},
        "/models/0",
        ["'ridge' for classification"],
    ),
    ("a model twice", {"models": ["ridge", "ridge"]}, "/models/1", ["twice"]),
    ("no such metric", {"metric": "accuracy"}, "/metric", ["'accuracy' for regression", "rmse"]),
    (
        "no such exclusion",
        {"exclude_columns": ["void", "colours"]},
        "/exclude_columns/1",
        ["nearest: 'colour'"],
    ),
    ("the target excluded", {"exclude_columns": ["size"]}, "/exclude_columns/0", ["is the target"]),
    (
        "all excluded",
        {"exclude_columns": ["colour", "when", "shop", "flag", "rare"]},
        "/exclude_columns",
        ["no feature column is left", "'void' is empty", "'same' is constant", "'code' is an identifier"],
    ),
    ("nothing held out", {"test_size": 0.001}, "/test_size", ["leaves 1 to score on"]),
    ("nothing to train on", {"test_size": 0.99}, "/test_size", ["leaves 1 to train on"]),
]


@pytest.mark.parametrize(("asked", "pointer", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_fault(asked: dict[str, Any], pointer: str, words: list[str]) -> None:
    found = faults(**asked)
    assert list(found) == [pointer]
    assert [word for word in words if word not in found[pointer]] == []


def test_all_faults_at_once() -> None:
    found = faults(
        target="same", models=["what"], metric="why", group_column="where", horizon=2, test_size=0.99
    )
    assert found.keys() == {"/target", "/models/0", "/metric", "/group_column", "/horizon", "/test_size"}


def test_names_alone_are_checked_without_a_profile() -> None:
    assert faults(None, target="same") == {}
    assert faults(None, target="nope", models=["what"]).keys() == {"/target", "/models/0"}
    assert faults(None, metric="mase") == {}
    assert faults(None, task_type="regression", metric="mase").keys() == {"/metric"}


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (column("x", distinct=2, dtype="int64"), TaskType.CLASSIFICATION),
        (column("x", distinct=10, dtype="int64"), TaskType.CLASSIFICATION),
        (column("x", distinct=11, dtype="int64"), TaskType.REGRESSION),
        (column("x", distinct=2, top=[ValueCount("0.0", 9), ValueCount("1.0", 9)]), TaskType.CLASSIFICATION),
        (column("x", distinct=2, top=[ValueCount("0.5", 9), ValueCount("1.0", 9)]), TaskType.REGRESSION),
        (column("x", "categorical", 50), TaskType.CLASSIFICATION),
        (column("x", "categorical", 51), None),
        (column("x", "identifier", 100, dtype="int64"), TaskType.REGRESSION),
        (column("x", "identifier", 100), None),
    ],
)
def test_the_type_that_a_target_calls_for(target: ColumnProfile, wanted: TaskType | None) -> None:
    assert suggested_task_type(target, ROWS)[0] is wanted


def test_time_makes_a_time_series_and_a_type_asked_for_wins() -> None:
    request = TrainRequest(file_id=uuid.UUID(int=0), target="colour", time_column="when")
    assert task_type_of(request, None) is TaskType.TIME_SERIES
    request = TrainRequest(file_id=uuid.UUID(int=0), target="colour", task_type="regression")
    assert task_type_of(request, PROFILE) is TaskType.REGRESSION


def test_needs_none_of_the_trainers_libraries() -> None:
    code = (
        "import sys, shared.check_request; print(sorted({'numpy', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pointer_has_one_fault() -> None:
    assert list(faults(time_column="when", group_column="nowhere")) == ["/group_column"]
    assert list(faults(target="size", group_column="size")) == ["/group_column"]


def test_a_horizon_that_the_whole_table_is_too_short_for() -> None:
    assert faults(time_column="when", horizon=99) == {}
    said = faults(time_column="when", horizon=100)
    assert said == {"/horizon": "a horizon of 100 is too far: the series has at most 100 values of 'size'"}
    assert "/horizon" in faults(time_column="when", target="rare", horizon=5)
    assert faults(time_column="when", series_column="shop", horizon=24) == {}
    assert (
        "of 4 series has at most 25"
        in faults(time_column="when", series_column="shop", horizon=25)["/horizon"]
    )


def test_an_ensemble_needs_two_models_beside_it() -> None:
    def of(*models: str) -> dict[str, str]:
        return faults(target="colour", models=list(models))

    pair = ["weighted_ensemble", "stacked_ensemble"]
    assert of(*pair).keys() == {"/models/0", "/models/1"}
    assert "ask for 2 or more of them beside it" in of("naive_bayes", "weighted_ensemble")["/models/1"]
    assert of("naive_bayes", "mlp", *pair) == {}
    assert of("naive_bayes") == {}
