"""What gives the target away is found and said, what is merely strong is not, and `on_leakage` is heeded."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from services.trainer import leakage_sample, split, table, table_copies, table_rows
from services.trainer import plan as plan_module
from services.trainer.profile import profile
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import CannotTrain

GUARD = {
    *("leaked-target", "suspiciously-strong", "future-information", "informative-row-number"),
    *("groups-split-apart", "duplicate-rows-across-split", "conflicting-labels", "time-ordered-rows"),
}


def planned(frame: pd.DataFrame, folder: Path, target: str = "target", **asked: Any) -> Plan:
    (folder / "upload").write_bytes(frame.to_csv(index=False).encode())
    table.decode(folder / "upload", "upload.csv", folder / "table.arrow")
    request = TrainRequest(file_id=uuid.UUID(int=0), target=target, **asked)
    return plan_module.plan(folder / "table.arrow", request, profile(folder / "table.arrow"))


def said(plan: Plan) -> list[Notice]:
    return [notice for notice in plan.warnings if notice.code in GUARD]


def only(plan: Plan, code: str, column: str | None = None) -> Notice:
    [notice] = said(plan)
    assert (notice.code, notice.column or None) == (code, column)
    assert notice.evidence
    return notice


def numbers(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    return x.assign(target=20 + 3 * x["a"] + x["b"] + 2 * rng.normal(size=rows))


def classes(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    x = numbers(rows, seed)
    return x.assign(target=pd.qcut(x["target"], 3, labels=["low", "mid", "high"]).astype(str))


# --- copies of the target ---------------------------------------------------------------------------

Planting = Callable[[pd.Series, np.random.Generator], Any]


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda y, rng: y, "the target itself"),
        (lambda y, rng: y.mask(rng.random(len(y)) < 0.1), "the target itself"),
        (lambda y, rng: y.where(rng.random(len(y)) < 0.95, 7.0), "but for a few rows"),
        (lambda y, rng: y * 2.54 + 1, "in other units (the target changes by 0.393701"),
        (lambda y, rng: np.log(y + 100), "the target's logarithm"),
        (lambda y, rng: (y + 100) ** 2, "the target's square"),
        (lambda y, rng: -((y + 100) ** 1.7), "the target transformed"),
        (lambda y, rng: y.round(), "the target rounded or in bands"),
        (lambda y, rng: pd.qcut(y, 4, labels=["B", "D", "A", "C"]).astype(str), "the target in bands"),
        (lambda y, rng: (y > y.median()).astype(int), "the target in two bands"),
        (lambda y, rng: pd.Series(rng.gamma(2, 2, len(y))).mask(y > y.median()), "missing by the target"),
    ],
)
def test_a_number_over_again(plant: Planting, words: str, tmp_path: Path) -> None:
    frame = numbers()
    frame.insert(1, "planted", plant(frame["target"], np.random.default_rng(1)))
    made = planned(frame, tmp_path)
    notice = only(made, "leaked-target", "planted")
    assert words in notice.message
    assert "'planted'" in notice.message
    assert "planted" in made.roles


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda y, rng: y, "the target under other names"),
        (lambda y, rng: y.map({"low": 31, "mid": 7, "high": 12}), "the target under other names"),
        (lambda y, rng: y.where(rng.random(len(y)) < 0.995, "low"), "the target under other names"),
        (lambda y, rng: y + rng.choice(list("xyz"), len(y)), "the target in finer classes"),
        (lambda y, rng: (y == "mid").astype(int), "a flag of the class 'mid'"),
        (lambda y, rng: pd.factorize(y)[0] + rng.normal(0, 0.05, len(y)), "a number for each class"),
        (lambda y, rng: pd.Series(rng.gamma(2, 2, len(y))).mask(y == "high"), "missing by the class 'high'"),
        (lambda y, rng: [f"case {i} was {v} then" for i, v in enumerate(y)], "a text that names the class"),
        (
            lambda y, rng: [f"case {i}: {'denied' if v == 'low' else 'granted'}" for i, v in enumerate(y)],
            "a text that says 'denied' for the class 'low'",
        ),
        (
            lambda y, rng: y.map({"low": 0, "mid": 1, "high": 2}) + rng.uniform(0, 1, len(y)),
            "the number that the classes were cut from",
        ),
    ],
)
def test_a_class_over_again(plant: Planting, words: str, tmp_path: Path) -> None:
    frame = classes()
    frame.insert(1, "planted", plant(frame["target"], np.random.default_rng(1)))
    assert words in only(planned(frame, tmp_path), "leaked-target", "planted").message


def test_the_evidence_is_a_figure(tmp_path: Path) -> None:
    frame = classes().assign(planted=lambda f: f["target"].map({"low": 31, "mid": 7, "high": 12}))
    evidence = str(only(planned(frame, tmp_path), "leaked-target", "planted").evidence)
    assert "in 100.00% of 320 rows" in evidence
    assert "alone it predicts the class with ROC AUC 1.0000, 0 of 320 rows wrong" in evidence


@pytest.mark.parametrize("sign", [1, -1])
def test_columns_that_add_up_to_the_target(sign: int, tmp_path: Path) -> None:
    frame = numbers()
    other = np.random.default_rng(1).gamma(3, 4, len(frame))
    frame = frame.assign(share=frame["target"] - sign * other, other=other)
    notice = only(planned(frame, tmp_path), "leaked-target", "share")
    assert "'share'" in notice.message
    assert "'other'" in notice.message
    left = planned(frame, tmp_path, on_leakage="drop").roles
    # of a sum every part goes, of a difference what holds the target
    assert left.keys() == {"a", "b", "c"} | (set() if sign > 0 else {"other"})


def test_nearly_a_copy_is_suspicious(tmp_path: Path) -> None:
    frame = numbers()
    frame["planted"] = frame["target"] + np.random.default_rng(1).normal(0, 0.03, len(frame))
    notice = only(planned(frame, tmp_path), "suspiciously-strong", "planted")
    assert "R² 0.999" in str(notice.evidence)
    assert "all other columns together reach R² 0." in str(notice.evidence)


def test_a_number_that_nearly_tells_the_class_is_suspicious(tmp_path: Path) -> None:
    frame = numbers(800)
    frame["target"] = np.where(frame["target"] + frame["c"] > 22, "yes", "no")
    score = np.random.default_rng(1).uniform(0, 50, len(frame)) + 49.5 * (frame["target"] == "yes")
    notice = only(planned(frame.assign(score=score), tmp_path), "suspiciously-strong", "score")
    assert "ROC AUC" in str(notice.evidence)


def test_heaps_that_happen_to_lie_apart_are_no_cut(tmp_path: Path) -> None:
    """Two measurements, each of which alone tells the classes: the classes are far apart, nothing leaks."""
    rng = np.random.default_rng(0)
    which = np.arange(300) % 2
    frame = pd.DataFrame({name: rng.normal(6 * which) for name in "ab"})
    assert said(planned(frame.assign(target=np.array(["x", "y"])[which]), tmp_path)) == []


def test_a_copy_is_told_once(tmp_path: Path) -> None:
    made = planned(numbers().assign(planted=lambda f: f["target"]), tmp_path)
    assert [notice.code for notice in made.warnings] == ["leaked-target"]


# --- what is no leak --------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_diabetes])
def test_nothing_is_said_of_clean_tables(load: Any, tmp_path: Path) -> None:
    assert said(planned(load(as_frame=True).frame, tmp_path)) == []


def test_nothing_is_said_of_strong_and_honest_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(1_000, 4)), columns=list("abcd"))
    nearly = x.assign(target=np.where(x["a"] + 0.12 * rng.normal(size=1_000) > 0, "yes", "no"))
    assert said(planned(nearly, tmp_path)) == []
    linear = x.assign(target=x.to_numpy() @ [40.0, 7.0, 3.5, 11.0])
    assert said(planned(linear, tmp_path)) == []
    body = pd.DataFrame({"weight": rng.normal(75, 9, 1_000), "height": rng.normal(1.7, 0.1, 1_000)})
    assert said(planned(body.assign(target=body["weight"] / body["height"] ** 2), tmp_path)) == []


@pytest.mark.parametrize(("name", "past"), [("saleslag7", True), ("Previous", True), ("fraud_Flag", False)])
def test_what_is_named_as_known_from_before(name: str, past: bool) -> None:
    assert leakage_sample.names_past(name) is past


def test_a_lag_is_known_in_time(tmp_path: Path) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=500)) + 100
    frame = pd.DataFrame({"sales_lag1": walk[:-1], "price": np.random.default_rng(1).normal(size=499)})
    assert said(planned(frame.assign(target=walk[1:]), tmp_path)) == []


# --- rows -------------------------------------------------------------------------------------------


def test_copied_rows_across_the_split(tmp_path: Path) -> None:
    frame = classes()
    again = pd.concat([frame, frame.head(100)], ignore_index=True)
    made = planned(again, tmp_path)
    notice = only(made, "duplicate-rows-across-split")
    assert "200 of 500 rows have the features of another" in notice.message
    assert "line 2 is the same as line 402" in str(notice.evidence)
    assert "kept together" in notice.action
    assert [n.code for n in made.warnings] == ["duplicate-rows-across-split"]  # and no other of the same


def sides(made: Plan, folder: Path) -> tuple[table_rows.Rows, list[tuple[set[Any], set[Any]]]]:
    """The rows of the fits, and the values of `a` on either side of the hold-out and of every fold."""
    rows, _ = table_rows.read(folder / "table.arrow", made)
    a, groups = rows.features["a"].to_numpy(), None if rows.groups is None else rows.groups[rows.train]
    folds = split.folds(rows.y[rows.train], groups, made.cv_folds, made.seed, made.task_type)
    apart = [(rows.train, rows.test), *((rows.train[x], rows.train[v]) for x, v in folds)]
    return rows, [(set(a[learned]), set(a[held])) for learned, held in apart]


@pytest.mark.parametrize("make", [classes, numbers])
@pytest.mark.parametrize("grouped", [False, True])
def test_copies_are_on_one_side_of_every_split(make: Any, grouped: bool, tmp_path: Path) -> None:
    frame = make()
    if grouped:
        frame["site"] = [f"s{i}" for i in np.random.default_rng(1).integers(0, 60, len(frame))]
    again = frame.head(40).assign(**{"site": "s1"} if grouped else {})
    frame = pd.concat([frame, again, again.head(20)], ignore_index=True)
    made = planned(frame, tmp_path, group_column="site" if grouped else None)
    rows, parts = sides(made, tmp_path)
    assert len(parts) == 6
    assert not any(learned & held for learned, held in parts)
    # as an ensemble reads them, which sees no features
    few, _ = table_rows.read(tmp_path / "table.arrow", made, ["target", "site"] if grouped else ["target"])
    assert (few.test.tolist(), few.groups.tolist()) == (rows.test.tolist(), rows.groups.tolist())
    if grouped:
        site = rows.features["site"].to_numpy()
        assert not set(site[rows.train]) & set(site[rows.test])
    if make is classes:
        assert set(rows.y[rows.test]) == {"low", "mid", "high"}


def test_copies_are_left_out_where_asked(tmp_path: Path) -> None:
    """But for those that differ in the target, which stay together."""
    frame = classes()
    flipped = frame.iloc[100:130].replace({"target": {"low": "mid", "mid": "high", "high": "low"}})
    made = planned(pd.concat([frame, frame.head(100), flipped]), tmp_path, on_leakage="drop")
    notice = next(n for n in said(made) if n.code == "duplicate-rows-across-split")
    assert "100 copies are left out" in notice.action
    assert "differ in the target alone stay" in notice.action
    rows, parts = sides(made, tmp_path)
    assert len(rows.y) == made.rows == 430
    assert not rows.features.assign(y=rows.y).duplicated().any()
    assert not any(learned & held for learned, held in parts)
    assert planned(frame, tmp_path, on_leakage="drop").rows == 400


def test_copies_fail_a_run_where_asked(tmp_path: Path) -> None:
    frame = classes()
    with pytest.raises(CannotTrain, match="200 of 500 rows have the features of another"):
        planned(pd.concat([frame, frame.head(100)]), tmp_path, on_leakage="fail")


def test_copies_of_few_rows_are_kept_where_they_fall(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    few = pd.DataFrame(rng.normal(size=(8, 3)), columns=list("abc"))
    frame = few.loc[rng.integers(0, 8, 200)].assign(target=rng.normal(size=200))
    made = planned(frame, tmp_path)
    assert "8 different rows are too few" in only(made, "duplicate-rows-across-split").action
    assert "copies" not in made.details
    assert table_rows.read(tmp_path / "table.arrow", made)[0].groups is None


def test_rows_agree_in_every_kind_of_cell(tmp_path: Path) -> None:
    """Whatever it is that repeats, keys are equal exactly where pandas says so."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": rng.choice([0.0, -0.0, 1.5, np.nan], 600),
            "i": rng.integers(0, 3, 600),
            "w": rng.choice(["x", "y", None], 600),
            "b": rng.choice([True, False], 600),
            "d": rng.choice(["2020-01-01", "2021-02-03"], 600),
            "m": rng.choice(["1", "a", ""], 600),
        }
    )
    (tmp_path / "upload").write_bytes(frame.to_csv(index=False).encode())
    table.decode(tmp_path / "upload", "upload.csv", tmp_path / "table.arrow")
    loaded = table.load(tmp_path / "table.arrow")
    wanted = loaded.groupby(list(loaded.columns), dropna=False, sort=False).ngroup().to_numpy()
    keys = table_copies.keys(tmp_path / "table.arrow", list("nwibmd"))
    np.testing.assert_array_equal(pd.factorize(keys)[0], wanted)


def test_copied_rows_of_another_class(tmp_path: Path) -> None:
    frame = classes()
    flipped = frame.head(100).replace({"target": {"low": "mid", "mid": "high", "high": "low"}})
    codes = {notice.code for notice in said(planned(pd.concat([frame, flipped]), tmp_path))}
    assert codes == {"duplicate-rows-across-split", "conflicting-labels"}


def test_rows_of_a_few_values_agree_by_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(0, 3, 900) for name in "abc"})
    frame["target"] = np.where(frame.sum(axis=1) + rng.normal(size=900) > 3, "yes", "no")
    assert said(planned(frame, tmp_path)) == []


def visits() -> pd.DataFrame:
    """Four visits of each of 90 patients: age and height stay, the pulse does not."""
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"age": rng.integers(20, 90, 90), "height": rng.normal(1.7, 0.1, 90).round(2)})
    people["target"] = np.where(people["age"] + rng.normal(0, 20, 90) > 55, "ill", "well")
    rows = people.loc[np.repeat(np.arange(90), 4)]
    named = rows.assign(patient=[f"P{i:04}" for i in rows.index], pulse=rng.normal(70, 9, 360))
    return named.sample(frac=1, random_state=0).reset_index(drop=True)


def test_groups_split_apart(tmp_path: Path) -> None:
    made = planned(visits(), tmp_path)
    notice = only(made, "groups-split-apart", "patient")
    assert "90 values" in str(notice.evidence)
    assert "the target is the same in all rows of one value" in str(notice.evidence)
    assert "group_column: patient" in notice.action


def test_a_group_column_settles_it(tmp_path: Path) -> None:
    assert said(planned(visits(), tmp_path, group_column="patient")) == []


def test_row_numbers_in_a_sorted_table(tmp_path: Path) -> None:
    frame = classes().sort_values("target", ignore_index=True)
    frame["ticket"] = 1_000 + np.cumsum(np.random.default_rng(0).integers(1, 9, len(frame)))
    assert "counts the rows" in only(planned(frame, tmp_path), "informative-row-number", "ticket").message


# --- time -------------------------------------------------------------------------------------------


def dated(y: Any, rows: int = 400) -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=rows).astype(str)
    return pd.DataFrame({"day": days, "x": np.random.default_rng(3).normal(size=rows), "target": y})


def test_a_random_split_against_time(tmp_path: Path) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=400))
    notice = only(planned(dated(walk), tmp_path), "time-ordered-rows")
    assert "'day'" in notice.message
    assert said(planned(dated(np.random.default_rng(0).normal(size=400)), tmp_path)) == []


def test_the_target_of_a_later_row(tmp_path: Path) -> None:
    y = pd.Series(np.random.default_rng(0).normal(size=400))
    made = planned(dated(y).assign(ahead=y.shift(-2), behind=y.shift(1)), tmp_path)
    assert "the target 2 rows later" in only(made, "future-information", "ahead").message


def series(known_ahead: bool) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    steps = np.arange(108)
    y = 100 + steps + 10 * np.sin(2 * np.pi * steps / 12) + rng.normal(size=108)
    frame = pd.DataFrame(
        {
            "month": pd.date_range("2015-01-01", periods=108, freq="MS").astype(str),
            "sales": y,
            "booked": np.roll(y, -1) * 1.2,
            "price": rng.normal(size=108),
        }
    )
    frame.loc[96:, "sales"] = np.nan
    if not known_ahead:
        frame.loc[96:, ["booked", "price"]] = np.nan
    return frame


def test_a_series_told_of_its_future(tmp_path: Path) -> None:
    asked = {"target": "sales", "time_column": "month", "horizon": 6}
    made = planned(series(known_ahead=True), tmp_path, **asked)
    assert "the target 1 row later" in only(made, "future-information", "booked").message
    assert made.details["known"] == ["booked", "price"]
    dropped = planned(series(known_ahead=True), tmp_path, **asked, on_leakage="drop")
    assert dropped.details["known"] == ["price"]
    assert dropped.roles.keys() == {"price"}
    with pytest.raises(CannotTrain, match="'booked'"):
        planned(series(known_ahead=True), tmp_path, **asked, on_leakage="fail")


def test_what_is_not_known_for_the_time_to_come_fails_nothing(tmp_path: Path) -> None:
    made = planned(
        series(known_ahead=False), tmp_path, target="sales", time_column="month", horizon=6, on_leakage="fail"
    )
    assert "left out" in only(made, "future-information", "booked").action


# --- on_leakage -------------------------------------------------------------------------------------


def test_leaks_are_left_out_where_asked(tmp_path: Path) -> None:
    frame = numbers().assign(
        copy=lambda f: f["target"] * 3, flag=lambda f: f["target"] > f["target"].median()
    )
    made = planned(frame, tmp_path, on_leakage="drop")
    assert made.roles.keys() == {"a", "b", "c"}
    assert {notice.column: "left out" in notice.action for notice in said(made)} == {
        "copy": True,
        "flag": True,
    }


def test_a_run_fails_where_asked_and_all_leaks_are_named(tmp_path: Path) -> None:
    frame = numbers().assign(
        copy=lambda f: f["target"] * 3, flag=lambda f: f["target"] > f["target"].median()
    )
    with pytest.raises(CannotTrain) as caught:
        planned(frame, tmp_path, on_leakage="fail")
    assert "'copy'" in caught.value.detail
    assert "'flag'" in caught.value.detail


def test_advice_fails_nothing(tmp_path: Path) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=400))
    assert planned(dated(walk), tmp_path, on_leakage="fail").roles


def test_nothing_is_left_but_leaks(tmp_path: Path) -> None:
    frame = numbers()[["target"]].assign(copy=lambda f: f["target"] * 3)
    with pytest.raises(CannotTrain, match="no feature column is left"):
        planned(frame, tmp_path, on_leakage="drop")


def test_held_out_rows_are_not_looked_at(tmp_path: Path) -> None:
    """Where the held-out rows alone hold the target's copy, nothing is found."""
    frame = numbers()
    _, test = split.holdout(frame["target"].to_numpy(), None, TaskType.REGRESSION, 0.2, 0)
    frame["planted"] = np.random.default_rng(1).normal(size=len(frame))
    frame.loc[test, "planted"] = frame.loc[test, "target"]
    assert said(planned(frame, tmp_path)) == []


def test_a_number_that_is_often_zero_makes_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    balance = np.where(rng.random(3_000) < 0.06, 0, rng.normal(800, 300, 3_000))
    frame = pd.DataFrame({"student": rng.choice(["yes", "no"], 3_000), "balance": balance})
    assert said(planned(frame.assign(target=rng.normal(size=3_000)), tmp_path)) == []


def test_the_largest_floats_stop_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {name: rng.choice([1e308, -1e308, 5e-324, 0, 7], 300) for name in ("a", "b", "target")}
    )
    frame["c"] = frame["target"] / 2
    made = planned(frame.assign(d=rng.normal(size=300)), tmp_path, task_type="regression")
    assert made.roles.keys() == {"a", "b", "c", "d"}


def test_classes_that_lie_far_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    which = rng.integers(0, 4, 600)
    x = rng.normal(0, 12, size=(4, 5))[which] + rng.normal(size=(600, 5))
    frame = pd.DataFrame(x, columns=list("abcde")).assign(target=np.array(list("wxyz"))[which])
    assert said(planned(frame, tmp_path)) == []
