"""The texts of a run, and predict.py on real pickles in a folder of its own."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import hashlib
import importlib.metadata
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
from msgspec import UNSET
from packaging.requirements import Requirement
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from services.trainer import report
from services.trainer.explain import example as example_of
from services.trainer.outcome import Example, FitOutcome, Importance
from services.trainer.report import ReportContext, advice, card, requirements
from services.trainer.report.glossary import METRIC_MEANING
from shared import leaderboard
from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.files import ColumnProfile, Profile
from shared.contracts.problems import Notice
from shared.contracts.results import Intervals, LeaderboardRow, PlotData
from shared.contracts.states import CandidateStatus, PlotKind, TaskType, uuid7
from shared.contracts.training import Plan, TrainRequest

LABELS = ["Adélie", "=Gentoo"]


def penguins() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 60
    species = np.array(LABELS, dtype=object)[rng.integers(0, 2, n)]
    mass = np.where(species == LABELS[0], 3700, 5000) + rng.normal(0, 300, n)
    island = rng.choice(["001", "002"], n).astype(object)
    mass[3], island[4] = np.nan, None
    return pd.DataFrame({"species": species, "mass": mass, "island": island, "note": "unused"})


def pins(*names: str) -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def outcome(example: Example, **changes: Any) -> FitOutcome:
    made = FitOutcome(
        cv_mean=0.9,
        cv_std=0.02,
        metrics={"accuracy": 0.88, "log_loss": None},
        fit_seconds=0.5,
        predict_ms_per_row=0.01,
        packages=pins("scikit-learn", "pandas", "numpy", "scipy", "joblib"),
        example=example,
        importance=[Importance("mass", 0.3, 0.05), Importance("island", 0.01, 0.01)],
        details={
            "rows_train": 48,
            "rows_held_out": 12,
            "folds": 5,
            "refit": True,
            "settings": "LogisticRegression()",
        },
    )
    return msgspec.structs.replace(made, **changes)


def row(slug: str, task_type: TaskType, cv_mean: float | None, **changes: Any) -> LeaderboardRow:
    choice = MODELS[task_type][slug]
    made = LeaderboardRow(
        rank=None,
        model_name=slug,
        label=choice.label,
        algorithm=choice.algorithm,
        metrics={"accuracy": 0.88, "mase": 0.7},
        cv_mean=cv_mean,
        cv_std=0.02,
        fit_seconds=0.5,
        predict_ms_per_row=0.01,
        size_bytes=1234,
        status=CandidateStatus.DONE,
        reason=None,
    )
    return msgspec.structs.replace(made, **changes)


def plan(**changes: Any) -> Plan:
    made = Plan(
        task_type=TaskType.CLASSIFICATION,
        target="species",
        metric="accuracy",
        roles={"island": "categorical", "mass": "numeric"},
        models=["logistic_regression", "mlp"],
        rows=60,
        test_size=0.2,
        cv_folds=5,
        seed=7,
        refit=True,
        split_digest="d1" * 32,
        deadline_s=300,
        labels=LABELS,
    )
    return msgspec.structs.replace(made, **changes)


def context(outcomes: dict[str, FitOutcome], **changes: Any) -> ReportContext:
    the_plan = changes.pop("plan", plan())
    rows = [row(slug, the_plan.task_type, o.cv_mean) for slug, o in outcomes.items()]
    rows += changes.pop("more_rows", [])
    made = ReportContext(
        task_id=str(uuid7()),
        name="Penguins of the | Palmer <b>Archipelago</b>",
        request=TrainRequest(file_id=uuid7(), target=the_plan.target),
        plan=the_plan,
        file_name="penguins.csv",
        sha256="ab" * 32,
        rows=62,
        columns=4,
        leaderboard=leaderboard.rank(rows, the_plan.metric, the_plan.task_type),
        best=next(iter(outcomes), None),
        outcomes=outcomes,
        python_version="3.11.7",
        created_at=dt.datetime(2026, 3, 4, 5, 6, tzinfo=dt.UTC),
    )
    return msgspec.structs.replace(made, **changes)


def column(name: str, role: str, dtype: str) -> ColumnProfile:
    return ColumnProfile(name=name, role=role, dtype=dtype, missing=0, distinct=2)


PROFILE = Profile(
    rows=62,
    columns=[
        column("species", "categorical", "object"),
        column("mass", "numeric", "float64"),
        column("island", "categorical", "object"),
        column("note", "constant", "object"),
    ],
    suggested_target="species",
    suggested_task_type=TaskType.CLASSIFICATION,
    reason="",
    warnings=[],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the ZIP unpacks to, of two real pipelines."""
    folder = tmp_path_factory.mktemp("run")
    table = penguins()
    features = table.drop(columns="species")
    outcomes = {}
    for slug, strength in (("logistic_regression", 1.0), ("mlp", 1e-6)):
        model = make_pipeline(
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore"), ["island"]), (StandardScaler(), ["mass"])
            ),
            LogisticRegression(C=strength),
        )
        model.fit(features.fillna({"mass": 4000}), table["species"])
        joblib.dump(model, folder / f"{slug}.pkl")
        outcomes[slug] = outcome(example_of(model, features, np.arange(5, 10)))
    shutil.copy(folder / "logistic_regression.pkl", folder / "best_model.pkl")
    for name, content in report.assemble(context(outcomes, profile=PROFILE)).items():
        (folder / name).write_bytes(content)
    features[5:].to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "run")


def run_inside(folder: Path, *arguments: str) -> int:
    """predict.py's `main`, in this process: a process of its own costs seconds of imports."""
    main: Callable[[list[str]], int] = runpy.run_path(str(folder / "predict.py"))["main"]
    return main(list(arguments))


# --- predict.py ---------------------------------------------------------------------------------


def test_predict_runs_by_itself_and_answers_the_example(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ran = subprocess.run(
        [sys.executable, "-I", folder / "predict.py", folder / "example.json"],
        cwd=elsewhere,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == json.loads((folder / "example.json").read_bytes())["predictions"]
    assert set(json.loads(ran.stdout)) <= set(LABELS)
    assert "matches the recorded predictions" in ran.stderr


def test_a_changed_prediction_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = json.loads((folder / "example.json").read_bytes())
    example["predictions"][2] = "someone else"
    (folder / "example.json").write_text(json.dumps(example))
    assert run_inside(folder, str(folder / "example.json")) == 1
    assert "row 3: recorded 'someone else'" in capsys.readouterr().err

    del example["predictions"][2:]
    (folder / "example.json").write_text(json.dumps(example))
    assert run_inside(folder, str(folder / "example.json")) == 1
    assert "2 were recorded, now 5" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mlp", "mlp.pkl"])
def test_every_model_has_its_recorded_predictions(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    example = json.loads((folder / "example.json").read_bytes())
    assert run_inside(folder, str(folder / "example.json"), "--model", name) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == example["other_models"]["mlp"]
    assert "matches" in said.err

    del example["other_models"]
    (folder / "example.json").write_text(json.dumps(example))
    assert run_inside(folder, str(folder / "example.json"), "--model", name) == 0
    assert "nothing was compared" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_answered_as_csv_in_the_order_of_its_rows(
    folder: Path, separator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = penguins()[5:]
    table = table[["note", "island", "mass", "species"]].assign(extra=1)
    table.to_csv(folder / "new.csv", index=False, sep=separator)
    assert run_inside(folder, str(folder / "new.csv")) == 0
    answered = pd.read_csv(io.StringIO(capsys.readouterr().out))
    model = joblib.load(folder / "best_model.pkl")
    assert list(answered.columns) == ["species"]
    # "001" was read as text: as the number 1 it would be a category never seen
    assert answered["species"].tolist() == model.predict(table).tolist()


def test_out_decides_the_format_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(folder / "table.csv")
    assert run_inside(folder, table, "--out", str(folder / "p.csv")) == 0
    assert run_inside(folder, table, "--out", str(folder / "p.json")) == 0
    assert capsys.readouterr().out == ""
    as_csv = pd.read_csv(folder / "p.csv")["species"].tolist()
    assert as_csv == json.loads((folder / "p.json").read_bytes())
    assert len(as_csv) == 55


def test_json_rows_without_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = json.loads((folder / "example.json").read_bytes())
    (folder / "rows.json").write_text(json.dumps(example["rows"]))
    (folder / "row.json").write_text(json.dumps(example["rows"][0]))
    assert run_inside(folder, str(folder / "rows.json")) == 0
    assert json.loads(capsys.readouterr().out) == example["predictions"]
    assert run_inside(folder, str(folder / "row.json")) == 0
    assert json.loads(capsys.readouterr().out) == example["predictions"][:1]


def test_probabilities_follow_the_label(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_inside(folder, str(folder / "table.csv"), "--proba", "--batch", "7") == 0
    answered = pd.read_csv(io.StringIO(capsys.readouterr().out))
    model = joblib.load(folder / "best_model.pkl")
    table = penguins()[5:]
    assert list(answered.columns) == ["species", *(f"probability of {label}" for label in model.classes_)]
    assert answered["species"].tolist() == model.predict(table).tolist()
    assert np.allclose(answered.iloc[:, 1:], model.predict_proba(table))
    # the example is checked all the same
    assert run_inside(folder, str(folder / "example.json"), "--proba") == 0
    said = capsys.readouterr()
    assert set(json.loads(said.out)[0]) == set(answered.columns)
    assert "matches" in said.err


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_come_by_standard_input(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = penguins()[5:9].drop(columns="species")
    given = rows.to_csv(index=False) if form == "csv" else rows.to_json(orient="records")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + given))
    assert run_inside(folder, "-", "--format", "json") == 0
    expected = joblib.load(folder / "best_model.pkl").predict(rows).tolist()
    assert json.loads(capsys.readouterr().out) == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    assert run_inside(folder, "-", "--out", str(folder / "p.csv")) == 0
    assert pd.read_csv(folder / "p.csv")["species"].tolist() == expected


def test_intervals_are_those_of_where_the_prediction_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    model = LinearRegression().fit(table, 10 * table["x"])
    joblib.dump(model, tmp_path / "best_model.pkl")
    known = Intervals(
        rows=30,
        edges=[15.0],
        lower={"80": [-1.0, -2.0]},
        upper={"80": [1.5, 2.5]},
        coverage={"80": 0.8},
        mean_width={"80": 3.0},
    )
    example = Example(rows=table.to_dict("records"), predictions=[0.0, 10.0, 20.0])
    the_plan = plan(
        task_type=TaskType.REGRESSION, target="y", metric="r2", roles={"x": "numeric"}, labels=None
    )
    files = report.assemble(context({"ridge": outcome(example, intervals=known)}, plan=the_plan))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert run_inside(tmp_path, str(tmp_path / "example.json"), "--interval", "80", "--format", "csv") == 0
    said = capsys.readouterr()
    answered = pd.read_csv(io.StringIO(said.out))
    assert "matches" in said.err
    assert np.allclose(answered, [[0, -1, 1.5], [10, 9, 11.5], [20, 18, 22.5]])
    assert list(answered.columns) == ["y", "lower 80 %", "upper 80 %"]
    assert run_inside(tmp_path, str(tmp_path / "example.json"), "--interval", "95") == 2
    assert "--interval is one of these: 80" in capsys.readouterr().err


def test_what_cannot_be_answered_is_said_without_a_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*arguments: str) -> str:
        assert run_inside(folder, *arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        assert len(said.err.splitlines()) == 1
        return said.err

    table = str(folder / "table.csv")
    (folder / "short.csv").write_text("note,other\nx,1\n")
    short = says(str(folder / "short.csv"))
    assert "lacks 2 of the model's columns: 'mass', 'island'; it has 'note', 'other'" in short
    (folder / "empty.csv").write_text("mass,island\n")
    assert "no rows" in says(str(folder / "empty.csv"))
    (folder / "nothing.csv").write_text("")
    assert "cannot be read as a table" in says(str(folder / "nothing.csv"))
    (folder / "bad.json").write_text("{")
    assert "not JSON" in says(str(folder / "bad.json"))
    (folder / "numbers.json").write_text("[1, 2]")
    assert "list of objects" in says(str(folder / "numbers.json"))
    assert "there is no file" in says(str(folder / "absent.csv"))
    assert "name the table" in says()
    assert "--interval is for" in says(table, "--interval", "80")
    assert "at least one row" in says(table, "--batch", "0")
    (folder / "best.onnx").write_bytes(b"no graph")
    assert "best.onnx needs" in says(table, "--model", "best.onnx")
    (folder / "onnx.json").write_text(
        '{"models": {"logistic_regression": {"file": null, "reason": "why not"}}}'
    )
    why = says(table, "--model", "best_model.onnx")
    assert "there is no graph of logistic_regression: why not" in why
    assert "time series" in says("--horizon", "3")
    assert "in this folder: best_model.pkl, logistic_regression.pkl, mlp.pkl" in says(table, "--model", "x")
    (folder / "words.csv").write_text("mass,island\nheavy,001\n")
    assert "cannot predict these rows (ValueError" in says(str(folder / "words.csv"))
    (folder / "broken.pkl").write_bytes(b"no pickle")
    assert "cannot be opened" in says(table, "--model", "broken.pkl")
    (folder / "foreign.pkl").write_bytes(b"cnot_a_package_here\nThing\n.")
    assert "the package not_a_package_here is missing" in says(table, "--model", "foreign.pkl")


def test_a_model_other_than_listed_is_not_opened(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256((folder / "best_model.pkl").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  best_model.pkl\n{digest}  mlp.pkl\n")
    table = str(folder / "table.csv")
    assert run_inside(folder, table) == 0
    capsys.readouterr()
    assert run_inside(folder, table, "--model", "mlp.pkl") == 2
    assert "not opened" in capsys.readouterr().err


def test_the_tolerance_is_that_of_another_processor(made: Path) -> None:
    there = runpy.run_path(str(made / "predict.py"))
    same = functools.partial(there["same"], absolute=there["ABSOLUTE_TOLERANCE"])
    assert same({"a": [1]} | {"t": "2024-01-01"}, {"a": [1]} | {"t": "2024-01-01T00:00:00Z"})
    assert same(1000.0, 1000.0000001)
    assert same(1, 1.0)
    assert same(None, None)
    assert not same(1000.0, 1000.1)
    assert not same("2024-01-01", "2024-01-02")
    assert not same(True, 1)
    assert not same(None, 0.0)
    assert not same({"a": 1}, {"b": 1})


def test_a_series_is_forecast_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    times = pd.date_range("2020-01-01", periods=24, freq="MS")
    long = pd.DataFrame({"shop": "a", "month": times, "sales": np.arange(24.0)})
    model = StatsForecast([SeasonalNaive(12, alias="sales")], freq="MS")
    model.fit(long, id_col="shop", time_col="month", target_col="sales")
    joblib.dump(model, tmp_path / "best_model.pkl")
    predictions = [
        {"shop": "a", "month": f"2022-{i:02}-01T00:00:00Z", "sales": 11.0 + i} for i in range(1, 4)
    ]
    made = outcome(
        Example(rows=[{"h": 3}], predictions=predictions),
        metrics={"mase": 0.7},
        importance=[],
        details={"windows": 2, "refit": True},
    )
    of_series = plan(
        task_type=TaskType.TIME_SERIES,
        target="sales",
        metric="mase",
        roles={},
        labels=None,
        time_column="month",
        series_column="shop",
        horizon=12,
        frequency="month",
        season_length=12,
    )
    texts = report.assemble(context({"seasonal_naive": made}, plan=of_series))
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)

    assert run_inside(tmp_path, str(tmp_path / "example.json")) == 0
    said = capsys.readouterr()
    assert "matches the recorded predictions (3 rows)" in said.err
    assert json.loads(said.out) == predictions
    for arguments, steps in (["--horizon", "5"], 5), ([], 12):
        assert run_inside(tmp_path, *arguments) == 0
        answered = pd.read_csv(io.StringIO(capsys.readouterr().out))
        assert list(answered.columns) == ["shop", "month", "sales"]
        assert len(answered) == steps
    assert run_inside(tmp_path, "--horizon", "0") == 2
    (tmp_path / "table.csv").write_text("shop,sales\na,3\n")
    assert run_inside(tmp_path, str(tmp_path / "table.csv")) == 2
    assert "give --horizon" in capsys.readouterr().err

    schema = json.loads(texts["schema.json"])
    assert (schema["time_column"], schema["series_column"], schema["horizon"]) == ("month", "shop", 12)
    readme = texts["README.md"].decode()
    assert "The last 12 steps of each series were held out" in readme
    assert "in 2 backtests" in readme
    assert "python predict.py --horizon 12" in readme
    assert "fitted again on the whole series" in readme


# --- requirements.txt ---------------------------------------------------------------------------


def parsed(text: str) -> list[Requirement]:
    """As pip reads it: comments begin with ` #`."""
    lines = [re.sub(r"(^|\s+)#.*$", "", line) for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


PLATFORMS = {
    ("linux", "x86_64"): "xgboost-cpu",
    ("linux", "aarch64"): "xgboost-cpu",
    ("linux", "riscv64"): "xgboost",
    ("win32", "AMD64"): "xgboost-cpu",
    ("win32", "ARM64"): "xgboost-cpu",
    ("darwin", "arm64"): "xgboost",
    ("darwin", "x86_64"): "xgboost",
}


@pytest.mark.parametrize("written_with", ["xgboost", "xgboost-cpu"])
@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_xgboost_has_one_wheel_on_every_platform(written_with: str, system: str, machine: str) -> None:
    text = requirements.text({"xgboost": [f"{written_with}==3.2.0"]}, "xgboost", "3.11.7")
    environment = {"sys_platform": system, "platform_machine": machine}
    wanted = [r for r in parsed(text) if r.marker is not None and r.marker.evaluate(environment)]
    assert [r.name for r in wanted] == [PLATFORMS[system, machine]]
    assert [str(r.specifier) for r in wanted] == ["==3.2.0"]


def test_requirements_are_exact_and_say_who_needs_them() -> None:
    shared = ["joblib==1.6.0", "pandas==2.3.3"]
    packages = {"mlp": shared, "lightgbm": [*shared, "lightgbm==4.7.0"]}
    text = requirements.text(packages, "mlp", "3.12.1")
    assert [str(r) for r in parsed(text)] == ["joblib==1.6.0", "lightgbm==4.7.0", "pandas==2.3.3"]
    assert "# Python 3.12 (they were written with 3.12.1)" in text
    assert "libgomp1" in text
    assert "lightgbm==4.7.0  # for lightgbm" in text.splitlines()
    assert "libgomp1" not in requirements.text({"mlp": shared}, "mlp", "3.12.1")


def test_of_two_versions_the_best_models_is_pinned() -> None:
    packages = {"a": ["numpy==1"], "mlp": ["numpy==2"], "z": ["numpy==2"]}
    text = requirements.text(packages, "mlp", "3.11.7")
    assert [str(r) for r in parsed(text)] == ["numpy==2"]
    assert "# a.pkl was written with numpy 1" in text.splitlines()


# --- the other files ----------------------------------------------------------------------------


def test_files_of_a_run(made: Path) -> None:
    schema = json.loads((made / "schema.json").read_bytes())
    assert schema == {
        "task_type": "classification",
        "target": "species",
        "metric": "accuracy",
        "labels": LABELS,
        "model": "logistic_regression",
        "columns": [
            {"name": "mass", "role": "numeric", "dtype": "float64"},
            {"name": "island", "role": "categorical", "dtype": "object"},
        ],
    }
    example = json.loads((made / "example.json").read_bytes())
    assert example["model"] == "logistic_regression"
    assert len(example["rows"]) == len(example["predictions"]) == 5
    assert set(example["rows"][0]) == {"mass", "island", "note"}
    rows = list(csv.DictReader(io.StringIO((made / "leaderboard.csv").read_text(), newline="")))
    assert [r["rank"] for r in rows] == ["1", "2"]
    assert report.model_file("mlp") == "mlp.pkl"
    assert (made / "mlp.pkl").exists()


def test_schema_without_a_profile_keeps_the_plans_order() -> None:
    assert report.schema(plan())["columns"] == [
        {"name": "island", "role": "categorical"},
        {"name": "mass", "role": "numeric"},
    ]


def test_card_names_what_was_done() -> None:
    example = Example(rows=[{"mass": 1}], predictions=["a"])
    skipped = Notice(
        code="refit-skipped", message="No time.", action="Fitted on the training rows.", evidence="3 s"
    )
    leak = Notice(code="leakage", column="ma|ss", message="Too good.", action="Kept.", evidence="AUC 1.0")
    outcomes = {
        "logistic_regression": outcome(example),
        "mlp": outcome(example, cv_mean=0.8, warnings=[skipped], details={"refit": False, "folds": 2}),
    }
    failed = row(
        "xgboost",
        TaskType.CLASSIFICATION,
        None,
        status=CandidateStatus.FAILED,
        reason="out of memory | <script>",
    )
    made = context(outcomes, warnings=[leak], more_rows=[failed], plan=plan(group_column="nest`s"))
    text = report.assemble(made)["README.md"].decode()
    for words in (
        "# Penguins of the \\| Palmer \\<b\\>Archipelago\\</b\\>",
        "Best model: Logistic Regression",
        "`accuracy`: 0.9 ± 0.02 in validation, 0.88 on held-out rows.",
        "2026-03-04 at 05:06 UTC",
        "SHA-256 `" + "ab" * 32,
        "`" + "d1" * 32 + "`",
        "Seed: 7",
        "62 rows, 4 columns",
        "which were used: 60",
        "12 rows were held out",
        "fitted 2 to 5 times, on all of 5 folds but one",
        "share a value of `` nest`s ``",
        "fitted again on all 60 rows",
        "Not so `mlp`",
        "`LogisticRegression()`",
        "Written with Python 3.11.7",
        pins("scikit-learn")[0],
        "**leakage** `ma\\|ss`: Too good. (AUC 1.0) Kept.",
        "**refit-skipped** No time. (3 s) Fitted on the training rows. (`mlp`)",
        "XGBoost (`xgboost`): failed, out of memory \\| \\<script\\>",
        "sha256sum -c SHA256SUMS",
        "A pickle runs code when it is opened",
        '"target": "species"',
        "| `log_loss` | undefined | smaller |",
    ):
        assert words in text, words
    assert "<script>" not in text
    assert "None" not in text


def test_one_fold_has_no_spread_and_says_so() -> None:
    alone = outcome(Example(rows=[], predictions=[]), cv_std=0.0, details={"folds": 1, "refit": True})
    text = card.text(context({"mlp": alone}))
    assert "`accuracy`: 0.9 in validation" in text
    assert "fitted once, on all of 5 folds but one" in text
    assert "| Neural Network (MLP) (`mlp`) | 0.9 | 0.88 |" in text


def test_the_best_model_is_shown_in_pictures_and_without_what_was_not_set() -> None:
    found = [Importance("mass", 0.3, 0.05), Importance("island", 0.0, 0.0), Importance("year", -0.01, 0.0)]
    drawn = [
        PlotData(model_name="xgboost", kind=kind, data={})
        for kind in (PlotKind.ROC_CURVE, PlotKind.IMPORTANCE)
    ]
    settings = "XGBClassifier(base_score=None, booster=None, max_depth=4, missing=nan, seed=None)"
    best = outcome(
        Example(rows=[], predictions=[]), importance=found, plots=drawn, details={"settings": settings}
    )
    text = card.text(context({"xgboost": best}))
    assert "![Roc curve](plots/xgboost_roc_curve.svg)\n![Importance](plots/xgboost_importance.svg)" in text
    assert "`XGBClassifier(max_depth=4, missing=nan)`" in text
    assert "| `mass` | 0.3 ± 0.05 |\n\nThe other 2 lose nothing that could be seen." in text


def test_the_card_says_what_a_forecast_has_to_be_given() -> None:
    steps = [
        {"shop": name, "month": f"2024-0{n}-01T00:00:00Z", "promotion": 1} for name in "ab" for n in (1, 2)
    ]
    said = [{**step, "Ridge": 1.5} for step in steps]
    of_series = plan(
        task_type=TaskType.TIME_SERIES,
        target="sales",
        metric="mase",
        roles={},
        labels=None,
        time_column="month",
        series_column="shop",
        horizon=2,
        details={"known": ["promotion"]},
    )
    plain = outcome(Example(rows=[{"h": 2}], predictions=said), details={"intervals": {}}, importance=[])
    asks = outcome(Example(rows=steps, predictions=said), details={"intervals": None}, importance=[])
    naive_first = card.text(context({"seasonal_naive": plain, "ridge": asks}, plan=of_series))
    for words in (
        "python predict.py --horizon 2 --out forecast.csv",
        "python predict.py --horizon 2 --interval 80",
        "model.predict(h=2)",
        "a row for each, with its series `shop`, its time `month` and the forecast",
        "**`ridge` goes by what is known of the steps to come** (`promotion`)",
        "with a row for each step of each series",
        "in the columns `shop`, `month`, `promotion`. As many steps",
        "| `shop` | `month` | `promotion` |",
        "| `a` | `2024-01-01T00:00:00Z` | `1` |",
    ):
        assert words in naive_first, words
    ridge_first = card.text(context({"ridge": asks}, plan=of_series))
    assert "python predict.py steps_to_come.csv --out forecast.csv" in ridge_first
    assert "--interval" not in ridge_first
    assert "model.predict(h=" not in ridge_first
    assert "**All models go by what is known" in ridge_first
    assert "`predict.py` is part of Trainyard" in ridge_first


def test_card_tables_have_one_width() -> None:
    outcomes = {"mlp": outcome(Example(rows=[], predictions=[]))}
    text = report.assemble(context(outcomes))["README.md"].decode()
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) == 5
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_without_refit_the_card_says_so() -> None:
    outcomes = {"mlp": outcome(Example(rows=[], predictions=[]), details={})}
    text = report.assemble(context(outcomes, plan=plan(refit=False)))["README.md"].decode()
    assert "those that were measured: fitted on the training rows only" in text
    assert "fitted again" not in text


def test_undefined_scores_are_called_undefined() -> None:
    blank = outcome(Example(rows=[], predictions=[]), cv_mean=None, cv_std=None, metrics={})
    text = report.assemble(context({"mlp": blank}))["README.md"].decode()
    assert "Its `accuracy` could not be validated." in text
    assert "nan" not in text.lower().split()


def test_a_run_without_a_model_has_its_leaderboard_and_card_only() -> None:
    failed = row("mlp", TaskType.CLASSIFICATION, None, status=CandidateStatus.FAILED, reason="no memory")
    files = report.assemble(context({}, more_rows=[failed]))
    assert sorted(files) == ["README.md", "leaderboard.csv"]
    assert "No model could be trained" in files["README.md"].decode()
    assert "no memory" in files["README.md"].decode()
    assert b"no memory" in files["leaderboard.csv"]


def test_every_metric_is_explained() -> None:
    assert set(METRIC_MEANING) == {name for names in METRICS.values() for name in names}
    for task_type, names in card.SHOWN_METRICS.items():
        assert set(names) <= set(METRICS[task_type])


def test_notices_without_column_or_evidence() -> None:
    notice = Notice(code="c", message="m.", action="a.")
    assert (notice.column, notice.evidence) == (UNSET, UNSET)
    assert "- **c** m. a." in advice.warnings(context({}, warnings=[notice])).splitlines()


def test_a_leak_is_told_before_any_score() -> None:
    leak = Notice(code="leaked-target", message="It is the target.", action="Kept.", column="mass")
    other = Notice(code="rows-sampled", message="Sampled.", action="Drawn at random.")
    outcomes = {"mlp": outcome(Example(rows=[], predictions=[]))}
    text = card.text(context(outcomes, warnings=[other, leak]))
    assert (
        text.index("**leaked-target** `mass`") < text.index("**rows-sampled**") < text.index("## Leaderboard")
    )
    assert "too good to be true" in text
    quiet = card.text(context(outcomes, warnings=[other]))
    assert quiet.index("## Leaderboard") < quiet.index("**rows-sampled**")
    assert "too good to be true" not in quiet
    assert quiet.count("## Warnings") == text.count("## Warnings") == 1


def test_the_card_names_whoever_keeps_rows_and_whose_work_is_inside() -> None:
    example = Example(rows=[], predictions=[])
    alone = card.text(context({"mlp": outcome(example)}))
    assert "nearest neighbors" not in alone
    neighbours = card.text(context({"k_nearest_neighbors": outcome(example, packages=["lightgbm==4.6.0"])}))
    assert "save what `k_nearest_neighbors` keeps" in neighbours
    assert "| `lightgbm` | 4.6.0 | MIT |" in neighbours
    within = outcome(example, details={"members": {"k_nearest_neighbors": 0.5, "mlp": 0.5}})
    assert "save what `weighted_ensemble` keeps" in card.text(
        context({"mlp": outcome(example), "weighted_ensemble": within})
    )


def test_the_report_needs_no_table_library() -> None:
    code = (
        "import sys, services.trainer.report\n"
        "assert not {'pandas', 'sklearn', 'numpy', 'joblib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
