from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest

from services.trainer import budget, fit, prepare, search, table_rows, validation
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings
from services.trainer.outcome import MODEL_FILE, FitOutcome
from shared.contracts.catalogue import METRICS
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from shared.errors import CannotTrain
from tests.unit.trainer import mixed_table

PREDICT_EXAMPLE = """
import json, sys
import joblib, pandas as pd
rows = json.loads(sys.stdin.read())
predictions = joblib.load(sys.argv[1]).predict(pd.DataFrame(rows)).tolist()
tops = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps([predictions, tops]))
"""

ONE_OF_EACH_KIND = [
    (TaskType.CLASSIFICATION, "logistic_regression"),
    (TaskType.CLASSIFICATION, "hist_gradient_boosting"),
    (TaskType.CLASSIFICATION, "xgboost"),
    (TaskType.REGRESSION, "extra_trees"),
    (TaskType.REGRESSION, "lightgbm"),
    (TaskType.REGRESSION, "mlp"),
]


def mixed(task_type: TaskType, rows: int = 200) -> pd.DataFrame:
    table = mixed_table.features(rows)
    of_classes = task_type is TaskType.CLASSIFICATION
    target = mixed_table.classes(table, "words") if of_classes else 10 + mixed_table.signal(table)
    return table.assign(target=target)


def run(
    table: pd.DataFrame,
    plan: Plan,
    slug: str,
    scratch: Path,
    seconds: float = 60.0,
    said: list[tuple[float, str]] | None = None,
) -> FitOutcome:
    path = mixed_table.write(table, scratch / "table.arrow")
    heard = [] if said is None else said
    return fit.fit(path, plan, slug, scratch, seconds, 1, lambda share, words: heard.append((share, words)))


@pytest.mark.parametrize(("task_type", "slug"), ONE_OF_EACH_KIND)
def test_a_model_is_fitted_scored_and_written(task_type: TaskType, slug: str, tmp_path: Path) -> None:
    table = mixed(task_type)
    plan = mixed_table.plan(table, "target", task_type)
    said: list[tuple[float, str]] = []
    outcome = run(table, plan, slug, tmp_path, said=said)

    assert list(outcome.metrics) == list(METRICS[task_type])
    assert None not in outcome.metrics.values()
    assert outcome.cv_mean is not None
    assert outcome.cv_std is not None
    assert outcome.fit_seconds > 0
    assert outcome.predict_ms_per_row > 0
    assert {plot.model_name for plot in outcome.plots} == {slug}
    assert {loss.feature for loss in outcome.importance} <= set(mixed_table.ROLES)
    assert outcome.details["refit"] is True
    assert outcome.details["rows_fitted"] == 200
    assert outcome.details["folds"] == 2
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    # as it crosses from child to parent
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=FitOutcome) == outcome

    model = joblib.load(tmp_path / MODEL_FILE)
    rows = pd.DataFrame(json.loads(json.dumps(outcome.example.rows)))
    assert "target" not in rows.columns
    assert list(rows.columns) == [name for name in table.columns if name != "target"]
    assert len(rows) == 5
    predicted = model.predict(rows).tolist()
    assert predicted == (
        outcome.example.predictions
        if task_type is TaskType.CLASSIFICATION
        else pytest.approx(outcome.example.predictions, rel=1e-6)
    )


def test_requirements_name_what_the_pickle_imports(tmp_path: Path) -> None:
    """Opened alone, every third-party library it loads is pinned or comes with one that is."""
    table = mixed(TaskType.CLASSIFICATION)
    outcome = run(table, mixed_table.plan(table, "target", TaskType.CLASSIFICATION), "xgboost", tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-c", PREDICT_EXAMPLE, str(tmp_path / MODEL_FILE)],
        input=json.dumps(outcome.example.rows),
        cwd="/",
        env={"OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    predictions, loaded = json.loads(done.stdout)
    assert predictions == outcome.example.predictions
    names = {requirement.split("==")[0] for requirement in outcome.packages}
    assert {"scikit-learn", "pandas", "numpy", "scipy", "joblib", "skrub"} <= names
    assert "xgboost" in loaded
    assert len(names & {"xgboost", "xgboost-cpu"}) == 1
    assert not {"lightgbm"} & ({*loaded} | names)
    assert not {"statsforecast", "matplotlib"} & names
    assert not {"services", "shared", "msgspec"} & set(loaded)


def test_a_booster_is_pinned_as_installed() -> None:
    plain = prepare.Columns(numbers={"size": "point"}, categories={}, dates={}, texts=[])
    assert f"lightgbm=={metadata.version('lightgbm')}" in fit.packages("lightgbm", plain)


def test_plain_columns_need_no_skrub(tmp_path: Path) -> None:
    table = mixed(TaskType.REGRESSION)
    plan = mixed_table.plan(
        table, "target", TaskType.REGRESSION, roles={"size": "numeric", "colour": "categorical"}
    )
    outcome = run(table, plan, "ridge", tmp_path)
    assert [package.split("==")[0] for package in outcome.packages] == [
        "scikit-learn",
        "pandas",
        "numpy",
        "scipy",
        "joblib",
    ]
    assert [loss.feature for loss in outcome.importance] == ["colour", "size"]


@pytest.mark.parametrize(
    ("cells", "dtype", "labels"),
    [
        ([True, False], "b", {True, False}),
        ([0, 7], "i", {0, 7}),
        ([0.5, 1.5], "O", {"0.5", "1.5"}),
    ],
)
def test_predictions_are_the_tables_labels_though_some_are_missing(
    cells: list[object], dtype: str, labels: set[object], tmp_path: Path
) -> None:
    table = mixed_table.features(120)
    target = pd.Series(np.where(table["size"].fillna(0) > 0, cells[0], cells[1])).astype(object)
    table["target"] = target.mask(np.arange(120) % 10 == 0)
    if isinstance(cells[0], float | int) and not isinstance(cells[0], bool):
        table["target"] = table["target"].astype(float)
    plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION, refit=False)
    outcome = run(table, plan, "xgboost", tmp_path)
    assert outcome.details["rows_train"] + outcome.details["rows_held_out"] == 108
    predicted = joblib.load(tmp_path / MODEL_FILE).predict(table)
    assert set(predicted.tolist()) == labels
    assert predicted.dtype.kind == dtype or dtype == "O"
    assert {type(value) for value in predicted.tolist()} == {type(label) for label in labels}


def test_a_target_written_as_text_is_read_and_what_is_no_number_left_out(tmp_path: Path) -> None:
    table = mixed_table.features()
    numbers = mixed_table.signal(table) * 1000 + 5000
    table["target"] = [f"${value:,.2f}" for value in numbers]
    table.loc[::20, "target"] = "unknown"
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION)
    outcome = run(table, plan, "ridge", tmp_path)
    assert outcome.details["rows_train"] + outcome.details["rows_held_out"] == 190
    assert outcome.details["rows_fitted"] == 190
    assert outcome.metrics["r2"] is not None
    assert outcome.metrics["r2"] > 0.9


def test_groups_stay_together_and_their_column_is_in_the_example(tmp_path: Path) -> None:
    table = mixed(TaskType.REGRESSION)
    table["serial"] = np.arange(len(table)) // 10
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION, group_column="serial")
    outcome = run(table, plan, "ridge", tmp_path)
    assert outcome.details["rows_held_out"] % 10 == 0
    assert all("serial" in row for row in outcome.example.rows)


def test_the_same_plan_gives_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in a search the clock has a say as well
    monkeypatch.setattr(search, "FEWEST_ROWS", 1_000_000)
    table = mixed(TaskType.CLASSIFICATION)
    plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION, seed=3)
    first, second = (run(table, plan, "mlp", tmp_path, seconds=3_600) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.cv_mean == second.cv_mean
    assert first.example == second.example


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    table = mixed(TaskType.REGRESSION)
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION)
    with pytest.raises(CannotTrain, match="changed"):
        run(table.head(150), plan, "ridge", tmp_path)
    with pytest.raises(CannotTrain, match="target"):
        run(table.drop(columns="target"), plan, "ridge", tmp_path)


def test_a_target_of_one_class_is_refused(tmp_path: Path) -> None:
    table = mixed(TaskType.CLASSIFICATION).assign(target="only")
    plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION)
    with pytest.raises(CannotTrain, match="single class"):
        run(table, plan, "naive_bayes", tmp_path)


def test_without_time_one_fold_is_done_and_the_refit_left_out(tmp_path: Path) -> None:
    table = mixed(TaskType.REGRESSION)
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION, cv_folds=5)
    outcome = run(table, plan, "ridge", tmp_path, seconds=0.0)
    codes = [notice.code for notice in outcome.warnings]
    assert codes == ["validation-shortened", "fitted-once", "refit-skipped"]
    assert outcome.cv_mean is not None
    assert outcome.cv_std == 0.0
    assert outcome.importance == []
    assert outcome.details["folds"] == 1
    assert outcome.details["rows_fitted"] == 128
    model = joblib.load(tmp_path / MODEL_FILE)
    assert model.predict(pd.DataFrame(outcome.example.rows)).tolist() == outcome.example.predictions


def test_neighbours_are_sampled_over_their_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fit.candidates.ROW_LIMITS, "k_nearest_neighbors", 50)
    table = mixed(TaskType.CLASSIFICATION)
    table.loc[0, "target"] = "once"
    plan = mixed_table.plan(table, "target", TaskType.CLASSIFICATION)
    outcome = run(table, plan, "k_nearest_neighbors", tmp_path)
    assert [notice.code for notice in outcome.warnings] == ["rows-sampled"]
    model = joblib.load(tmp_path / MODEL_FILE)["model"]
    assert model.n_samples_fit_ == 50
    assert "once" in model.classes_


class Ticking(budget.Clock):
    """A clock that stands still but for what is spent on it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def left(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("rows", "seconds", "expected_rows", "expected_trials"),
    [
        (20_000, 0.001, 20_000, []),
        (100_000, 1_000.0, 100_000, [2_000]),
        # 1 s and 10 µs a row: of 20 s 18 are used, 6 for each fit, 5 of them for the rows
        (1_000_000, 20.0, 500_000, [20_000, 50_000]),
        # no time for a second trial: 1.2 s for 20,000 rows is taken as 60 µs a row
        (1_000_000, 8.0, 40_000, [20_000]),
        (1_000_000, 0.0, budget.FEWEST_ROWS, [20_000]),
    ],
)
def test_rows_are_cut_to_what_the_time_allows(
    rows: int, seconds: float, expected_rows: int, expected_trials: list[int]
) -> None:
    tried: list[int] = []

    def timed_fit(size: int) -> float:
        tried.append(size)
        return 1 + size * 1e-5

    clock = Ticking(seconds)
    assert budget.affordable_rows(rows, 3, clock, timed_fit) == pytest.approx(expected_rows, abs=1)
    assert tried == expected_trials


@pytest.mark.parametrize(
    ("rows", "seconds", "expected_rows", "expected_trials"),
    [(10_000, 100.0, 10_000, []), (10_000, 5.0, 5_000, [2_000]), (2_000, 0.1, 2_000, [])],
)
def test_small_tables_are_tried_where_little_time_is_left_for_their_cells(
    rows: int, seconds: float, expected_rows: int, expected_trials: list[int]
) -> None:
    """At 300 µs a row, 30 columns."""
    tried: list[int] = []

    def timed_fit(size: int) -> float:
        tried.append(size)
        return size * 3e-4

    found = budget.affordable_rows(rows, 3, Ticking(seconds), timed_fit, cells=rows * 30)
    assert (found, tried) == (expected_rows, expected_trials)


def test_rows_are_cut_to_what_can_be_answered_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that takes nothing and answers that take a second a row, of 40 a fold holds: 40 s a fit."""
    monkeypatch.setattr(budget, "FEWEST_ROWS", 20)
    monkeypatch.setattr(fit.pacing, "answering", lambda candidate, model: 1.0)
    table = mixed(TaskType.REGRESSION)
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION, cv_folds=4)
    rows, _ = table_rows.read(mixed_table.write(table, tmp_path / "table.arrow"), plan)
    columns = prepare.survey(rows.features, plan.roles)
    candidate = Candidate(plan, "k_nearest_neighbors", rows, columns, 1, 10_000)
    notices: list[Notice] = []
    fit._limit_rows(candidate, Ticking(0.01), lambda *_: None, notices)
    assert candidate.row_limit == 20
    assert [notice.code for notice in notices] == ["rows-sampled"]


def test_a_fold_is_not_begun_that_would_take_the_time_of_what_must_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fold takes 10 s of 60: with the scored fit and the refit to come, three folds fit in."""
    table = mixed(TaskType.REGRESSION)
    plan = mixed_table.plan(table, "target", TaskType.REGRESSION, cv_folds=5)
    rows, _ = table_rows.read(mixed_table.write(table, tmp_path / "table.arrow"), plan)
    columns = prepare.survey(rows.features, plan.roles)
    candidate = Candidate(plan, "ridge", rows, columns, 1, len(rows.y))
    parts = validation.Parts(candidate, table_rows.folds(candidate.rows, candidate.plan))
    clock = Ticking(60.0)
    fitted = validation.attempt

    def slow(*given: object) -> validation.Attempt:
        clock.seconds -= 10
        return fitted(*given)

    monkeypatch.setattr(validation, "attempt", slow)
    monkeypatch.setattr(validation.time, "perf_counter", lambda: 60.0 - clock.seconds)
    heard: list[int] = []
    found = validation.validate(candidate, parts, Settings(), clock, 1.25 * (1 + 1.25), 10.0, heard.append)
    assert found.seconds == 10.0
    assert found.folds == len(found.scores) == 2
    assert heard == [0, 1]
    assert len(found.train) == len(found.oof) == len(found.fold) == 64
