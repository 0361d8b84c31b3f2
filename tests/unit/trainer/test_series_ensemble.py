from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from services.trainer import predictions, report, series_ensemble, steps
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, Choice, FitOutcome, Member
from services.trainer.report import predict
from shared.check_request import check_request
from shared.contracts.downloads import not_onnx, not_skops
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from tests.unit.trainer.series_fits import air, fitted, plan_for
from tests.unit.trainer.test_fit_series import promoted

SLUGS = ("seasonal_naive", "dynamic_optimized_theta", "ridge")


class Run(msgspec.Struct):
    table: Path
    plan: Plan
    outcomes: dict[str, FitOutcome]
    members: list[Member]

    def choose(self, members: list[Member] | None = None) -> Choice:
        return steps.choose(
            table=str(self.table),
            plan=self.plan,
            model_name="weighted_ensemble",
            members=self.members if members is None else members,
            seconds=30.0,
            scratch=self.table.parent,
            progress=lambda *_: None,
        )

    def combine(self, choice: Choice, scratch: Path) -> FitOutcome:
        scratch.mkdir(exist_ok=True)
        outcome = steps.combine(
            table=str(self.table),
            plan=self.plan,
            model_name="weighted_ensemble",
            members=self.members,
            choice=choice,
            seconds=30.0,
            threads=1,
            scratch=scratch,
            progress=lambda *_: None,
        )
        return msgspec.json.decode(msgspec.json.encode(outcome), type=FitOutcome)


def run_of(frame: pd.DataFrame, plan: Plan, folder: Path, slugs: tuple[str, ...] = SLUGS) -> Run:
    outcomes = {slug: fitted(frame, plan, slug, folder / slug) for slug in slugs}
    members = [
        Member(
            slug=slug,
            label=slug,
            predictions=folder / slug / PREDICTIONS_FILE,
            model=folder / slug / MODEL_FILE,
            sha256=hashlib.sha256((folder / slug / MODEL_FILE).read_bytes()).hexdigest(),
            cv_mean=outcome.cv_mean,
            fit_seconds=outcome.fit_seconds,
            refit=outcome.details["refit"],
            packages=outcome.packages,
            importance=[],
            behind=outcome.details["behind"],
        )
        for slug, outcome in outcomes.items()
    ]
    return Run(folder / slugs[0] / "table.arrow", plan, outcomes, members)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    frame = air()
    return run_of(frame, plan_for(frame, "month", "passengers"), tmp_path_factory.mktemp("air"))


@pytest.fixture(scope="module")
def combined(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitOutcome, Path]:
    folder = tmp_path_factory.mktemp("ensemble")
    return run.combine(run.choose(), folder), folder


def test_a_smaller_error_weighs_more_and_too_little_weighs_nothing() -> None:
    losses = np.array([[2.0, 2, 2], [1, 1, 1], [9, 9, 9], [2, 2, 2]])
    assert series_ensemble.weights(losses) == pytest.approx([1 / 18, 16 / 18, 0, 1 / 18])
    # where there are too few cut-offs to tell them apart, they weigh more alike
    assert series_ensemble.weights(losses[:, :2]) == pytest.approx([1 / 6, 4 / 6, 0, 1 / 6])
    # a cut-off that scores none of them changes nothing
    undefined = np.c_[losses, [np.nan] * 4]
    assert series_ensemble.weights(undefined) == pytest.approx(series_ensemble.weights(losses))
    many = series_ensemble.weights(np.tile(np.arange(1.0, 9)[:, None], 4))
    assert (many > 0).sum() <= series_ensemble.MOST_MEMBERS and many.sum() == pytest.approx(1)
    assert series_ensemble.weights(np.array([[0.0] * 3, [1] * 3])) == pytest.approx([1, 0])


def test_the_weights_of_a_cut_off_owe_nothing_to_it() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, (4, 5))
    crossed = series_ensemble.crossed(losses)
    losses[:, 2] = [5, 1, 9, 2]
    changed = series_ensemble.crossed(losses)
    assert (changed[2] == crossed[2]).all() and (changed[[0, 1, 3, 4]] != crossed[[0, 1, 3, 4]]).any(
        axis=1
    ).all()


def test_an_ensemble_is_scored_by_what_its_members_had_said(
    run: Run, combined: tuple[FitOutcome, Path]
) -> None:
    choice, outcome = run.choose(), combined[0]
    assert set(choice.weights) == {"dynamic_optimized_theta", "ridge"} and outcome.details["windows"] == 5
    told = {
        slug: predictions.read(m.predictions, columns=1) for slug, m in zip(SLUGS, run.members, strict=True)
    }
    said = sum(weight * told[slug].test[:, 0] for slug, weight in choice.weights.items())
    came = air()["passengers"].to_numpy()[-14:]
    assert outcome.metrics["mae"] == pytest.approx(np.abs(said - came).mean(), rel=1e-5)
    crossed = outcome.details["validation_crossed"]["mase"]
    assert crossed != outcome.cv_mean and abs(crossed / outcome.cv_mean - 1) < 0.1
    # an average of two is between them, or better than both
    assert outcome.cv_mean < max(run.outcomes[slug].cv_mean for slug in choice.weights)
    assert outcome.beats_seasonal_naive is True and outcome.warnings == []
    naive = run.outcomes["seasonal_naive"].cv_mean
    assert outcome.details["validation_seasonal_naive"]["mase"] == pytest.approx(naive)
    found = outcome.details["intervals"]
    assert found["method"] == "conformal" and found["steps"] == 70
    assert abs(found["coverage"]["80"] - 0.8) < 0.13 and abs(found["coverage"]["95"] - 0.95) < 0.08
    assert set(outcome.details["held_out_coverage"]) == {"80", "95"}
    assert {each.split("==")[0] for each in outcome.packages} >= {"statsforecast", "mlforecast", "joblib"}


def test_the_pickle_and_its_script_run_elsewhere_without_our_code(
    run: Run, combined: tuple[FitOutcome, Path], tmp_path: Path
) -> None:
    outcome, folder = combined
    column = outcome.details["output_column"]
    assert [row[column] for row in outcome.example.predictions] == [p.mean for p in outcome.forecast]
    (tmp_path / "best_model.pkl").write_bytes((folder / MODEL_FILE).read_bytes())
    (tmp_path / "predict.py").write_text(Path(predict.__file__).read_text())
    (tmp_path / "schema.json").write_text(json.dumps(report.schema(run.plan)))
    (tmp_path / "example.json").write_text(
        json.dumps(report.example({"weighted_ensemble": outcome}, "weighted_ensemble"))
    )
    program = "import runpy, sys; sys.argv = ['predict.py', 'example.json', '--interval', '80']\n"
    program += "try: runpy.run_path('predict.py', run_name='__main__')\n"
    program += "finally: assert not {n.split('.')[0] for n in sys.modules} & {'services', 'shared'}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    assert [row[column] for row in answered] == pytest.approx([p.mean for p in outcome.forecast])
    assert [row[f"{column}-hi-80"] for row in answered] == pytest.approx(
        [p.upper_80 for p in outcome.forecast]
    )


def test_members_that_go_by_what_is_known_ahead(tmp_path: Path) -> None:
    frame = promoted()
    plan = plan_for(frame, "day", "sold", "shop", details_windows=2)
    made = run_of(frame, plan, tmp_path, ("ridge", "lightgbm"))
    outcome = made.combine(made.choose(), tmp_path)
    assert set(outcome.details["members"]) == {"ridge", "lightgbm"}
    schema, path = report.schema(plan), tmp_path / MODEL_FILE
    rows = frame[frame["sold"].isna()].sample(frac=1, random_state=0)
    answered = predict.forecast(path, 10, rows, schema, 95)
    assert answered["shop"].tolist() == ["a"] * 10 + ["b"] * 10
    assert answered["WeightedEnsemble"].tolist() == pytest.approx([p.mean for p in outcome.forecast])
    assert answered["WeightedEnsemble-lo-95"].tolist() == pytest.approx(
        [p.lower_95 for p in outcome.forecast]
    )
    with pytest.raises(predict.Problem, match=r"goes by what is known of the steps to come.*'shop', 'day'"):
        predict.forecast(path, 10, None, schema, None)


def test_members_that_have_not_seen_the_same_steps_are_left_out(run: Run, tmp_path: Path) -> None:
    naive, theta, ridge = run.members
    stale = msgspec.structs.replace(theta, behind=14)
    assert set(run.choose([naive, stale, ridge]).weights) <= {"seasonal_naive", "ridge"}
    odd = msgspec.structs.replace(theta, predictions=tmp_path / "odd.npz")
    told = predictions.read(theta.predictions, columns=1)
    told.train = told.train + 1
    predictions.write(tmp_path, told)
    (tmp_path / PREDICTIONS_FILE).rename(odd.predictions)
    assert "fewer than two" in run.choose([ridge, odd]).reason
    (tmp_path / "odd.npz").write_bytes(b"no such file")
    assert "fewer than two" in run.choose([ridge, odd]).reason


def test_bounds_end_where_the_backtests_did(run: Run, combined: tuple[FitOutcome, Path]) -> None:
    path, schema = combined[1] / MODEL_FILE, report.schema(run.plan)
    assert len(predict.forecast(path, 20, None, schema, None)) == 20
    with pytest.raises(predict.Problem, match="known for 14 steps ahead"):
        predict.forecast(path, 20, None, schema, 80)


def test_an_average_of_forecasters_is_asked_for_by_name_and_taken_home_as_a_pickle() -> None:
    request = TrainRequest(
        file_id=uuid.uuid4(),
        target="y",
        task_type="time_series",
        time_column="t",
        models=["auto_ets", "ridge", "weighted_ensemble"],
    )
    assert check_request(request, ["t", "y"], None) == []
    request.models = ["auto_ets", "weighted_ensemble", "stacked_ensemble"]
    assert [pointer for pointer, _ in check_request(request, ["t", "y"], None)] == ["/models/1", "/models/2"]
    for refused in (not_skops, not_onnx):
        assert "take the pickle" in str(refused(TaskType.TIME_SERIES, "weighted_ensemble"))


def test_a_model_far_ahead_of_all_others_stays_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_ensemble, "weights", lambda losses: np.eye(len(losses))[0])
    assert "so far ahead" in run.choose().reason
