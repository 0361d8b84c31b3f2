"""What a request on a table comes to: roles, models, split, folds, or every reason why not."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris, load_wine

from services.trainer import plan as plan_module
from services.trainer import split, table
from services.trainer.profile import profile
from shared.contracts.catalogue import MODELS
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import CannotTrain, InvalidRequest

CLASSES, NUMBERS = TaskType.CLASSIFICATION, TaskType.REGRESSION


def planned(frame: pd.DataFrame, folder: Path, target: str = "target", **asked: Any) -> Plan:
    (folder / "upload").write_bytes(frame.to_csv(index=False).encode())
    table.decode(folder / "upload", "upload.csv", folder / "table.arrow")
    request = TrainRequest(file_id=uuid.UUID(int=0), target=target, **asked)
    return plan_module.plan(folder / "table.arrow", request, profile(folder / "table.arrow"))


def refused(frame: pd.DataFrame, folder: Path, target: str = "target", **asked: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        planned(frame, folder, target, **asked)
    return caught.value.errors


def warned(plan: Plan, code: str) -> Notice:
    found = [notice for notice in plan.warnings if notice.code == code]
    assert len(found) == 1, [notice.code for notice in plan.warnings]
    return found[0]


def numbers(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})


def with_classes(labels: list[object]) -> pd.DataFrame:
    return numbers(len(labels)).assign(target=labels)


@pytest.mark.parametrize(
    ("load", "task_type", "metric"),
    [(load_iris, CLASSES, "accuracy"), (load_wine, CLASSES, "accuracy"), (load_diabetes, NUMBERS, "r2")],
)
def test_a_real_table(load: object, task_type: TaskType, metric: str, tmp_path: Path) -> None:
    frame = load(as_frame=True).frame
    made = planned(frame, tmp_path)
    assert (made.task_type, made.metric, made.cv_folds, made.rows) == (task_type, metric, 5, len(frame))
    assert made.roles == dict.fromkeys(frame.columns.drop("target"), "numeric")
    assert sorted(made.models) == sorted(MODELS[task_type])
    assert made.warnings == []
    assert made.labels == (["0", "1", "2"] if task_type is CLASSES else None)
    y = frame["target"].to_numpy()
    _, test = split.holdout(y, None, task_type, 0.2, 0)
    assert made.split_digest == split.digest(test)
    assert made.details["test_rows"] == len(test)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made


def test_cheap_models_come_first(tmp_path: Path) -> None:
    frame = load_iris(as_frame=True).frame
    assert planned(frame, tmp_path).models[:2] == ["naive_bayes", "logistic_regression"]
    asked = planned(frame, tmp_path, models=["mlp", "xgboost", "naive_bayes"])
    assert asked.models == ["naive_bayes", "xgboost", "mlp"]


def test_every_model_has_its_place() -> None:
    assert {slug for kind in MODELS.values() for slug in kind} == set(plan_module.CHEAP_FIRST)


def test_what_is_asked_for_is_planned(tmp_path: Path) -> None:
    made = planned(
        load_iris(as_frame=True).frame,
        tmp_path,
        metric="log_loss",
        test_size=0.3,
        cv_folds=3,
        seed=9,
        refit=False,
        time_budget_s=60,
        exclude_columns=["sepal length (cm)"],
    )
    assert (made.metric, made.test_size, made.cv_folds, made.seed) == ("log_loss", 0.3, 3, 9)
    assert (made.refit, made.deadline_s, len(made.roles)) == (False, 60, 3)


def test_columns_that_say_nothing_are_left_out_with_a_warning(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(
        void=None, same=1, PassengerId=range(60), flag=[True, False, False] * 20
    )
    made = planned(frame, tmp_path)
    assert made.roles == {"a": "numeric", "b": "numeric", "flag": "boolean"}
    assert {notice.code: notice.column for notice in made.warnings} == {
        "empty-column": "void",
        "constant-column": "same",
        "identifier-column": "PassengerId",
    }


def test_excluded_columns_are_not_warned_of(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(void=None)
    assert planned(frame, tmp_path, exclude_columns=["void"]).warnings == []


def test_many_warnings_of_one_code_become_one(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(**{f"void{i}": None for i in range(30)})
    notice = warned(planned(frame, tmp_path), "empty-column")
    assert "30 columns" in notice.message
    assert "'void0'" in str(notice.evidence)


def test_rows_without_a_target_are_dropped_with_a_warning(tmp_path: Path) -> None:
    made = planned(with_classes(["x", "y", None] * 20), tmp_path)
    assert made.rows == 40
    notice = warned(made, "missing-target")
    assert "20 of 60 rows have no 'target'" in notice.message
    assert made.labels == ["x", "y"]


def test_labels_beside_missing_ones_are_still_whole(tmp_path: Path) -> None:
    assert planned(with_classes([0, 1, None] * 20), tmp_path).labels == ["0", "1"]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([True, False] * 30, ["False", "True"]),
        ([10, 9] * 30, ["9", "10"]),
        (["b", "a"] * 30, ["a", "b"]),
        ([-1, 0, 1] * 20, ["-1", "0", "1"]),
    ],
)
def test_labels_in_scikit_learns_order(labels: list[object], wanted: list[str], tmp_path: Path) -> None:
    assert planned(with_classes(labels), tmp_path).labels == wanted


def test_a_quantity_can_be_asked_for_as_classes_and_back(tmp_path: Path) -> None:
    frame = with_classes([1, 2, 3] * 20)
    assert planned(frame, tmp_path).task_type is CLASSES
    assert planned(frame, tmp_path, task_type="regression").task_type is NUMBERS


def test_money_is_a_quantity(tmp_path: Path) -> None:
    made = planned(with_classes([f"${i * 31:,}.50" for i in range(60)]), tmp_path)
    assert made.task_type is NUMBERS


# --- rare classes -----------------------------------------------------------------------------------


def test_folds_are_made_fewer_for_a_rare_class(tmp_path: Path) -> None:
    made = planned(with_classes(["x"] * 50 + ["y"] * 40 + ["few"] * 5), tmp_path)
    assert made.cv_folds == 4
    notice = warned(made, "fewer-folds")
    assert "4 folds are used, not 5" in notice.message
    assert "class 'few' has 4 rows" in notice.message


def test_a_class_of_one_row_stays_and_is_warned_of(tmp_path: Path) -> None:
    made = planned(with_classes(["x"] * 50 + ["y"] * 40 + ["once"]), tmp_path)
    assert made.labels == ["once", "x", "y"]
    assert made.cv_folds == 5
    assert "'once' (1 row)" in warned(made, "class-not-held-out").message
    assert "'once' (1 row)" in warned(made, "class-not-in-every-fold").message


def test_a_class_of_two_rows_is_held_out_but_not_in_every_fold(tmp_path: Path) -> None:
    made = planned(with_classes(["x"] * 50 + ["y"] * 40 + ["twice"] * 2), tmp_path)
    assert [notice.code for notice in made.warnings] == ["class-not-in-every-fold"]


def test_a_class_that_dominates_is_warned_of(tmp_path: Path) -> None:
    notice = warned(planned(with_classes(["x"] * 95 + ["y"] * 10), tmp_path), "imbalanced-classes")
    assert "90.5%" in notice.message


def test_too_few_rows_of_all_classes_but_one(tmp_path: Path) -> None:
    with pytest.raises(CannotTrain, match=r"'y' has 1 in all"):
        planned(with_classes(["x"] * 50 + ["y"]), tmp_path)


# --- groups -----------------------------------------------------------------------------------------


def test_the_group_column_is_no_feature(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(site=[f"s{i // 2 % 10}" for i in range(60)])
    made = planned(frame, tmp_path, group_column="site")
    assert made.group_column == "site"
    assert made.roles.keys() == {"a", "b"}


def test_rows_without_a_group_are_warned_of(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(
        site=[f"s{i // 2 % 10}" if i // 2 % 10 else None for i in range(60)]
    )
    assert (
        "6 rows have no 'site'"
        in warned(planned(frame, tmp_path, group_column="site"), "missing-group").message
    )


def test_folds_are_made_fewer_for_few_groups(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(site=[f"s{i // 2 % 6}" for i in range(60)])
    made = planned(frame, tmp_path, group_column="site", test_size=0.3)
    assert made.cv_folds == 4
    assert "4 groups" in warned(made, "fewer-folds").message


def test_too_few_groups(tmp_path: Path) -> None:
    frame = with_classes(["x", "y"] * 30).assign(site=[f"s{i // 2 % 4}" for i in range(60)])
    [(pointer, detail)] = refused(frame, tmp_path, group_column="site")
    assert pointer == "/group_column"
    assert "'site' has 4 groups" in detail
    assert "at least 6" in detail


def test_groups_that_each_hold_one_class(tmp_path: Path) -> None:
    frame = with_classes(["x"] * 30 + ["y"] * 30).assign(site=["s"] * 30 + [f"t{i % 5}" for i in range(30)])
    with pytest.raises(CannotTrain) as caught:
        planned(frame, tmp_path, group_column="site")
    assert "all rows that can be held out are of class 'y'" in caught.value.detail
    assert "'site'" in caught.value.detail


# --- what only the rows show ------------------------------------------------------------------------


def test_infinite_targets_are_named(tmp_path: Path) -> None:
    frame = numbers().assign(target=[np.inf if i in (4, 9) else i * 0.7 for i in range(60)])
    with pytest.raises(CannotTrain) as caught:
        planned(frame, tmp_path)
    assert "'target' is infinite: 'inf' in line 6, 'inf' in line 11" in caught.value.detail


def test_text_in_a_target_of_numbers_is_named(tmp_path: Path) -> None:
    frame = numbers().assign(target=["unknown" if i == 30 else f"{i * 7}" for i in range(60)])
    with pytest.raises(CannotTrain) as caught:
        planned(frame, tmp_path, task_type="regression")
    assert "'target' holds 'unknown' in line 32" in caught.value.detail


def test_lines_count_the_rows_without_a_target_too(tmp_path: Path) -> None:
    frame = numbers().assign(target=[None] * 10 + [np.inf] + [i * 0.7 for i in range(49)])
    with pytest.raises(CannotTrain, match="line 12"):
        planned(frame, tmp_path)


# --- faults of the request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "pointer", "words"),
    [
        (["x"] * 60, "/target", ["'target'", "one value in every row", "'x'"]),
        (["x"] * 59 + [None], "/target", ["'target'", "one value"]),
        ([3.5] * 60, "/target", ["'target'", "one value", "3.5"]),
        ([None] * 60, "/target", ["'target' is empty"]),
        ([f"w{i}" for i in range(60)], "/target", ["'target'", "neither classes nor a quantity"]),
        (pd.date_range("2020", periods=60).astype(str), "/target", ["'target'", "dates"]),
        (["x", "y"] * 4 + [None] * 52, "/target", ["8 rows have a value in 'target'", "at least 10"]),
    ],
)
def test_targets_that_cannot_be_learned(
    target: object, pointer: str, words: list[str], tmp_path: Path
) -> None:
    [(where, detail)] = refused(numbers().assign(target=target), tmp_path)
    assert where == pointer
    assert [word for word in words if word not in detail] == []


def test_no_feature_is_left(tmp_path: Path) -> None:
    frame = pd.DataFrame({"target": ["x", "y"] * 30, "id": range(60), "void": None})
    [(pointer, detail)] = refused(frame, tmp_path)
    assert (pointer, "no feature column is left" in detail) == ("/target", True)
    assert "'id' is an identifier" in detail
    assert "'void' is empty" in detail


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    errors = dict(
        refused(
            load_iris(as_frame=True).frame,
            tmp_path,
            target="tarqet",
            models=["xgbost", "ridge"],
            metric="aucc",
            exclude_columns=["sepal width", "petal length (cm)"],
            group_column="site",
            horizon=3,
        )
    )
    assert errors.keys() == {
        *("/target", "/models/0", "/metric", "/exclude_columns/0", "/group_column", "/horizon")
    }
    assert "nearest: 'target'" in errors["/target"]
    assert "nearest: 'sepal width (cm)'" in errors["/exclude_columns/0"]


# --- time series ------------------------------------------------------------------------------------


def monthly(rows: int = 96) -> pd.DataFrame:
    steps = np.arange(rows)
    return pd.DataFrame(
        {
            "month": pd.date_range("2015-01-01", periods=rows, freq="MS").astype(str),
            "sales": 100 + steps + 10 * np.sin(2 * np.pi * steps / 12),
            "weather": ["wet", "dry"] * (rows // 2),
        }
    )


def test_a_time_column_makes_a_time_series(tmp_path: Path) -> None:
    made = planned(monthly(), tmp_path, target="sales", time_column="month")
    assert (made.task_type, made.metric, made.time_column) == (TaskType.TIME_SERIES, "mase", "month")
    assert (made.frequency, made.season_length, made.horizon) == ("MS", 12, 9)
    assert made.models[0] == "seasonal_naive"
    assert made.roles == {}
    assert made.details["windows"] >= 1
    assert "'weather'" in warned(made, "columns-not-used").message


def test_several_series(tmp_path: Path) -> None:
    frame = pd.concat([monthly().assign(shop="north"), monthly().assign(shop="south")])
    made = planned(frame, tmp_path, target="sales", time_column="month", series_column="shop", horizon=6)
    assert (made.series_column, made.horizon, made.details["series"]) == ("shop", 6, 2)


def test_times_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    frame = monthly()
    frame.loc[5, "month"] = "soon"
    [(pointer, detail)] = refused(frame, tmp_path, target="sales", time_column="month")
    assert pointer == "/time_column"
    assert "'soon' in line 7" in detail


def test_the_same_time_twice_in_a_series_is_named(tmp_path: Path) -> None:
    # what says the same is taken once; this says something else
    frame = pd.concat([monthly(), monthly().iloc[3:4].assign(sales=-1.0)])
    [(pointer, detail)] = refused(frame, tmp_path, target="sales", time_column="month")
    assert pointer == "/time_column"
    assert "lines 5 and 98" in detail


def test_a_horizon_longer_than_the_series(tmp_path: Path) -> None:
    frame = pd.concat([monthly().assign(shop="north"), monthly(20).assign(shop="south")])
    asked = {"target": "sales", "time_column": "month", "series_column": "shop", "horizon": 50}
    [(pointer, detail)] = refused(frame, tmp_path, **asked)
    assert pointer == "/horizon"
    assert "'south' has 20" in detail
