from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import UNSET
from statsforecast.utils import AirPassengersDF
from statsmodels.datasets import co2, sunspots

from services.trainer import fit_series, predictions, report, series, series_pace, series_rows
from services.trainer.budget import Clock
from services.trainer.candidates import time_series
from services.trainer.outcome import MODEL_FILE, FitOutcome
from services.trainer.report import predict
from shared.contracts.catalogue import ENSEMBLES, METRICS, MODELS
from shared.contracts.states import TaskType
from shared.errors import CannotTrain
from tests.unit.trainer.series_fits import SLUGS, air, fitted, macro, plan_for

OTHERS = sorted(set(MODELS[TaskType.TIME_SERIES]) - {*SLUGS, *ENSEMBLES})


@pytest.fixture(scope="module")
def passengers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FitOutcome, Path]]:
    folder = tmp_path_factory.mktemp("air")
    frame = air()
    plan = plan_for(frame, "month", "passengers")
    return {slug: (fitted(frame, plan, slug, folder / slug), folder / slug) for slug in SLUGS}


@pytest.mark.parametrize("slug", SLUGS)
def test_every_model_is_scored_and_forecasts(
    slug: str, passengers: dict[str, tuple[FitOutcome, Path]]
) -> None:
    outcome, _ = passengers[slug]
    assert list(outcome.metrics) == list(METRICS[TaskType.TIME_SERIES])
    assert all(value is not None and math.isfinite(value) for value in outcome.metrics.values())
    assert outcome.cv_mean is not None and outcome.cv_std is not None
    assert (outcome.details["windows"], outcome.details["refit"]) == (5, True)
    assert outcome.fit_seconds > 0 and outcome.predict_ms_per_row > 0
    assert outcome.warnings == []

    times = [f"{t:%Y-%m-%d}T00:00:00Z" for t in pd.date_range("1961-01-31", periods=14, freq="ME")]
    assert [point.time for point in outcome.forecast] == times
    for point in outcome.forecast:
        assert point.series is UNSET
        assert point.lower_95 < point.lower_80 < point.mean < point.upper_80 < point.upper_95
        assert 300 < point.mean < 800

    (plot,) = outcome.plots
    assert (plot.model_name, plot.kind) == (slug, "forecast")
    assert plot.svg.lstrip().startswith(("<?xml", "<svg"))
    assert plot.data["actual"] == AirPassengersDF["y"].tolist()[-14:]
    assert set(plot.data["bands"]) == {"80", "95"}
    for requirement in outcome.packages:
        name, version = requirement.split("==")
        assert metadata.version(name) == version


def test_the_models_are_ahead_of_the_seasonal_naive(passengers: dict[str, tuple[FitOutcome, Path]]) -> None:
    baseline = passengers["seasonal_naive"][0]
    assert baseline.cv_mean is not None and baseline.beats_seasonal_naive is None
    for slug in SLUGS[1:]:
        outcome = passengers[slug][0]
        assert outcome.cv_mean is not None and outcome.cv_mean < baseline.cv_mean
        assert outcome.beats_seasonal_naive is True
        # all are measured against the same steps of the same baseline
        assert outcome.details["validation_seasonal_naive"]["mase"] == pytest.approx(baseline.cv_mean)


def test_intervals_hold_what_they_promise(passengers: dict[str, tuple[FitOutcome, Path]]) -> None:
    for outcome, _ in passengers.values():
        found = outcome.details["intervals"]
        assert found["steps"] == 70
        assert found["method"] in ("widened", "conformal")
        assert abs(found["coverage"]["80"] - 0.8) < 0.15 and abs(found["coverage"]["95"] - 0.95) < 0.06
        if found["method"] == "widened":
            # what the model itself would have said held too little
            assert found["factor"] > 1 and found["own_coverage"]["95"] < found["coverage"]["95"]


@pytest.mark.parametrize("slug", OTHERS)
def test_models_for_some_kinds_of_series(slug: str, tmp_path: Path) -> None:
    """Demand that is mostly none, two weeks and a half of it, with a day and a week that recur; by the day
    for the model that takes half a minute over seasons of 24 steps."""
    rng = np.random.default_rng(3)
    periods, freq, horizon = (140, "D", 14) if slug == "auto_arima" else (400, "h", 24)
    times = pd.date_range("2024-01-01", periods=periods, freq=freq)
    busy = ((times.hour > 8) | (freq == "D")) & (times.dayofweek < 5)
    frame = pd.DataFrame({"at": times, "sold": rng.poisson(np.where(busy, 1.0, 0.1))})
    plan = plan_for(frame, "at", "sold", horizon=horizon)
    outcome = fitted(frame, plan, slug, tmp_path)
    assert outcome.cv_mean is not None and outcome.details["intervals"]["steps"] == 5 * horizon
    (said,) = [w.evidence for w in outcome.warnings if w.code == "loses-to-seasonal-naive"] or [None]
    assert (said is None) is outcome.beats_seasonal_naive
    assert all(p.lower_95 < p.lower_80 < p.mean < p.upper_80 < p.upper_95 for p in outcome.forecast)


def test_pickles_open_elsewhere_without_our_code(
    passengers: dict[str, tuple[FitOutcome, Path]], tmp_path: Path
) -> None:
    program = """
import json, sys, joblib
answers = {}
for path in sys.argv[1:]:
    model = joblib.load(path)
    predicted = model.predict(h=14)
    predicted["month"] = predicted["month"].map(lambda t: t.isoformat() + "Z")
    answers[path] = predicted.to_dict("records")
assert not [name for name in sys.modules if name.split(".")[0] in ("services", "shared")]
print(json.dumps(answers))
"""
    paths = {slug: str(folder / MODEL_FILE) for slug, (_, folder) in passengers.items()}
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", program, *paths.values()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for slug, (outcome, _) in passengers.items():
        assert outcome.example.rows == [{"h": 14}]
        assert answers[paths[slug]] == outcome.example.predictions
        column = outcome.details["output_column"]
        assert list(outcome.example.predictions[0]) == ["unique_id", "month", column]
        # the forecast in the results is the pickle's own
        assert [row[column] for row in outcome.example.predictions] == [p.mean for p in outcome.forecast]


@pytest.mark.parametrize("slug", ["auto_ets", "lightgbm"])
def test_held_out_steps_are_not_seen_by_what_is_scored(slug: str, tmp_path: Path) -> None:
    frame = air()
    plan = plan_for(frame, "month", "passengers", refit=False)
    changed = frame.copy()
    changed.loc[130:, "passengers"] = 1e6 + np.arange(14.0)
    one, other = (fitted(f, plan, slug, tmp_path / str(n)) for n, f in enumerate((frame, changed)))
    assert one.cv_mean == other.cv_mean
    assert one.example.predictions == other.example.predictions
    assert one.metrics["mae"] != other.metrics["mae"]
    # without a refit the pickle forecasts the held-out steps, the results those after the table's end
    assert one.example.predictions[0]["month"] == "1959-11-30T00:00:00Z"
    assert one.forecast[0].time == "1961-01-31T00:00:00Z" and len(one.forecast) == 14


@pytest.mark.parametrize("slug", ["seasonal_naive", "auto_ets", "auto_ces", "lightgbm", "ridge"])
def test_several_series_of_other_ends_with_gaps(slug: str, tmp_path: Path) -> None:
    frame = macro()
    plan = plan_for(frame, "q", "value", "what", horizon=4)
    outcome = fitted(frame, plan, slug, tmp_path)
    assert outcome.cv_mean is not None
    assert all(value is not None for value in outcome.metrics.values())
    starts = {str(p.series): p.time for p in reversed(outcome.forecast)}
    assert starts == {
        "cpi": "2009-10-01T00:00:00Z",
        "gdp": "2008-01-01T00:00:00Z",
        "unemp": "2009-10-01T00:00:00Z",
    }
    assert len(outcome.forecast) == len(outcome.example.predictions) == 12
    # the longest series is shown; the gap in what was held out is left open
    assert outcome.plots[0].data["series"] == "cpi"
    assert [value is None for value in outcome.plots[0].data["actual"]] == [False, True, False, False]


def promoted(known: int = 10) -> pd.DataFrame:
    """Two shops whose sales follow a price that is planned `known` days ahead; the weather is not."""
    rng = np.random.default_rng(1)
    shops = []
    for shop, level in (("a", 50.0), ("b", 80.0)):
        days = pd.date_range("2024-01-01", periods=150 + known)
        off = rng.random(len(days)) < 0.2
        sold = level + 5 * (days.dayofweek == 5) + 30 * off + rng.normal(0, 1, len(days))
        frame = pd.DataFrame({"shop": shop, "day": days.astype(str), "sold": sold, "off": off})
        frame["plan"] = np.where(off, "campaign", "none")
        frame["weather"] = rng.normal(size=len(days))
        frame.loc[150:, ["sold", "weather"]] = np.nan
        shops.append(frame)
    return pd.concat(shops, ignore_index=True)


@pytest.mark.parametrize("slug", ["lightgbm", "ridge", "auto_arima", "seasonal_naive"])
def test_what_is_known_of_the_time_to_come_is_used(slug: str, tmp_path: Path) -> None:
    frame = promoted()
    plan = plan_for(frame, "day", "sold", "shop", details_windows=2)
    assert plan.details["known"] == ["off", "plan"]
    outcome = fitted(frame, plan, slug, tmp_path)
    by_day = {(p.series, p.time[:10]): p.mean for p in outcome.forecast}
    to_come = frame[frame["sold"].isna()]
    means = [by_day[(row.shop, row.day)] for row in to_come.itertuples()]
    lift = np.mean(np.array(means)[to_come["off"]]) - np.mean(np.array(means)[~to_come["off"]])
    assert bool(lift > 20) is (slug != "seasonal_naive")

    # the script that goes with the pickle answers the same, and says what it lacks
    schema = report.schema(plan)
    path = tmp_path / MODEL_FILE
    if slug == "seasonal_naive":
        assert outcome.example.rows == [{"h": 10}]
        rows = None
    else:
        assert set(outcome.example.rows[0]) == {"shop", "day", "off", "plan"}
        with pytest.raises(
            predict.Problem, match=r"goes by what is known of the steps to come.*'shop', 'day'"
        ):
            predict.forecast(path, 10, None, schema, None)
        rows = to_come.sample(frac=1, random_state=0)
        assert predict.columns_ahead(predict.open_model(path), schema) == (
            ["off"] if slug == "auto_arima" else ["off", "plan"]
        )
    answered = predict.forecast(path, 10, rows, schema, 80)
    column = outcome.details["output_column"]
    assert answered[column].tolist() == pytest.approx([p.mean for p in outcome.forecast])
    assert answered[f"{column}-lo-80"].tolist() == pytest.approx([p.lower_80 for p in outcome.forecast])


def test_a_series_that_is_too_short_is_forecast_all_the_same(tmp_path: Path) -> None:
    frame = air().assign(line="old")
    short = pd.DataFrame({"month": frame["month"].tail(5), "passengers": [3.0, 4, 3, 5, 4], "line": "new"})
    plan = plan_for(pd.concat([frame, short]), "month", "passengers", "line", horizon=6)
    assert "short-series" in [w.code for w in plan.warnings]
    for slug in ("auto_ets", "auto_ces", "dynamic_optimized_theta", "lightgbm", "ridge"):
        outcome = fitted(pd.concat([frame, short]), plan, slug, tmp_path / slug)
        assert [p.series for p in outcome.forecast] == ["new"] * 6 + ["old"] * 6
        assert all(0 < p.mean < 20 for p in outcome.forecast[:6])
        # what it says is counted in no score
        assert outcome.details["steps_held_out"] == 6


def test_steps_counted_by_year_stay_numbers(tmp_path: Path) -> None:
    frame = sunspots.load_pandas().data
    outcome = fitted(frame, plan_for(frame, "YEAR", "SUNACTIVITY"), "lightgbm", tmp_path)
    assert [point.time for point in outcome.forecast] == ["2009", "2010"]
    assert outcome.details["windows"] == 6


def test_a_long_season_goes_through_loess(tmp_path: Path) -> None:
    data = co2.load_pandas().data.iloc[:600]
    frame = pd.DataFrame({"date": data.index.astype(str), "ppm": data["co2"].to_numpy()})
    plan = plan_for(frame, "date", "ppm", horizon=8)
    ets = fitted(frame, plan, "auto_ets", tmp_path / "ets")
    naive = fitted(frame, plan, "seasonal_naive", tmp_path / "naive")
    assert ets.details["season_length"] == 52 and ets.details["settings"].startswith("MSTL")
    assert ets.cv_mean is not None and naive.cv_mean is not None and ets.cv_mean < naive.cv_mean


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is time for is decided as ever, and nothing is stopped."""
    monkeypatch.setattr(fit_series, "within", lambda _seconds: contextlib.nullcontext())


def test_no_time_left_means_the_same_cut_offs_with_the_first_parameters(
    tmp_path: Path, no_timer: None
) -> None:
    frame = air()
    plan = plan_for(frame, "month", "passengers")
    hurried = fitted(frame, plan, "auto_ets", tmp_path / "hurried", seconds=0)
    assert [(w.code, w.evidence) for w in hurried.warnings] == [
        ("validation-shortened", "4 of 5"),
        ("refit-skipped", UNSET),
    ]
    assert hurried.details["refit"] is False and hurried.details["windows"] == 5
    # the model has seen nothing of the last six horizons; the results go on from the table's end all the same
    assert hurried.example.predictions[0]["month"] == "1954-01-31T00:00:00Z"
    assert hurried.forecast[0].time == "1961-01-31T00:00:00Z" and len(hurried.forecast) == 14
    # what is forecast is the same for every model of the run, however much time it had
    unhurried = fitted(frame, plan, "seasonal_naive", tmp_path / "unhurried")
    files = [tmp_path / name / predictions.PREDICTIONS_FILE for name in ("hurried", "unhurried")]
    one, other = (predictions.read(file, columns=1) for file in files)
    assert one.train.tolist() == other.train.tolist() == list(range(60, 130))
    assert one.fold.tolist() == other.fold.tolist() and len(one.test) == 14
    assert unhurried.beats_seasonal_naive is None and hurried.beats_seasonal_naive is True


def many(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "t": np.tile(np.arange(40), count),
            "y": rng.normal(10, 1, 40 * count),
            "id": np.repeat(np.arange(count), 40),
        }
    )


@pytest.mark.parametrize(
    ("late", "kept", "behind"),
    [(1, None, None), (3, 3, 0), (6, 0, 0), (7, 0, 14)],
    ids=["earliest cut-off", "third cut-off", "training part", "whole series"],
)
def test_a_fit_that_runs_out_of_time_is_done_without(
    late: int, kept: int | None, behind: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer rings in the middle of one of the fits: five cut-offs, the training part, the whole."""
    fits = 0
    real = time_series.fit

    def interrupted(*arguments: object) -> object:
        nonlocal fits
        fits += 1
        if fits == late:
            signal.raise_signal(signal.SIGALRM)
        return real(*arguments)

    monkeypatch.setattr(time_series, "fit", interrupted)
    frame = air()
    plan = plan_for(frame, "month", "passengers")
    if kept is None:
        with pytest.raises(
            CannotTrain, match=r"its backtests were not done within .* a larger time_budget_s"
        ):
            fitted(frame, plan, "seasonal_window_average", tmp_path)
        return
    outcome = fitted(frame, plan, "seasonal_window_average", tmp_path)
    said = {notice.code: notice.evidence for notice in outcome.warnings}
    assert said.get("validation-shortened") == (f"{kept} of 5" if kept else None)
    assert outcome.details["behind"] == behind and ("refit-skipped" in said) is (behind > 0)
    assert outcome.forecast[0].time == "1961-01-31T00:00:00Z" and len(outcome.forecast) == 14


def test_a_search_that_takes_too_long_gives_way_to_a_single_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time_series.fit

    def interrupted(forecaster: object, long: pd.DataFrame, given: time_series.Situation) -> object:
        if given.effort != "single":
            signal.raise_signal(signal.SIGALRM)
        return real(forecaster, long, given)

    monkeypatch.setattr(time_series, "fit", interrupted)
    frame = air()
    outcome = fitted(frame, plan_for(frame, "month", "passengers", details_windows=1), "auto_ets", tmp_path)
    assert [notice.code for notice in outcome.warnings] == ["search-shortened"]


def test_too_many_series_for_the_time_are_refused_before_they_are_fitted(
    tmp_path: Path, no_timer: None
) -> None:
    frame = many(60)
    with pytest.raises(CannotTrain, match=r"on 60 series would take about .* s, and 0 s are left"):
        fitted(frame, plan_for(frame, "t", "y", "id"), "auto_ets", tmp_path, seconds=0)


@pytest.mark.parametrize(
    ("slug", "cost", "answer"),
    [
        ("auto_ets", {"full": 0.2, "narrow": 0.1, "single": 0.01}, ("full", None)),
        ("auto_ets", {"full": 1, "narrow": 0.2, "single": 0.01}, ("narrow", None)),
        ("auto_ets", {"full": 9, "narrow": 3, "single": 0.2}, ("single", None)),
        ("auto_ces", {"full": 1}, ("full", 2_666)),
    ],
)
def test_what_there_is_time_for_is_found_out_on_a_part(
    slug: str, cost: dict[str, float], answer: tuple[str, int | None]
) -> None:
    columns = series_rows.Columns(id="id", time="t", target="y")
    long = pd.DataFrame({"id": "a", "t": np.arange(10_000), "y": 0.0})
    found = series_pace.pace(slug, long, columns, 7, Clock(10), lambda _part, effort: cost[effort])
    assert found[0] == answer[0]
    # 1,000 steps take a second, all of them thrice 30 s, and there are 8
    assert found[1] is None if answer[1] is None else found[1] == pytest.approx(answer[1], rel=0.2)


@pytest.mark.parametrize(("a_row", "steps"), [(1e-6, None), (4e-5, 333), (1e-3, "30 steps of each of 200")])
def test_a_model_for_all_series_sees_as_much_of_them_as_there_is_time_for(
    a_row: float, steps: int | str | None
) -> None:
    columns = series_rows.Columns(id="id", time="t", target="y")
    long = pd.DataFrame(
        {"id": np.repeat(np.arange(200), 1_000), "t": np.tile(np.arange(1_000), 200), "y": 0.0}
    )

    def found() -> int | None:
        return series_pace.shared_history(long, columns, 7, Clock(10), lambda part: a_row * len(part))

    if isinstance(steps, str):
        with pytest.raises(CannotTrain, match=steps):
            found()
    else:  # 8 s for three fits of 200 series
        assert found() == (None if steps is None else pytest.approx(steps, rel=0.05))


def test_a_model_that_fails_says_why(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": np.arange(40), "y": np.tile([1.0, 2, 3, 4], 10)})
    plan = plan_for(frame, "t", "y", season_length=4)
    with pytest.raises(CannotTrain, match="could not be fitted: no model able to be fitted"):
        fitted(frame, plan, "auto_ces", tmp_path)


def test_a_series_that_a_model_cannot_take_gets_a_stand_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    odd = pd.DataFrame({"t": np.arange(40), "y": np.tile([1.0, 2, 3, 4], 10), "id": "odd"})
    well = pd.DataFrame({"t": np.arange(40), "y": rng.normal(10, 1, 40), "id": "well"})
    frame = pd.concat([odd, well])
    outcome = fitted(frame, plan_for(frame, "t", "y", "id", season_length=4), "auto_ces", tmp_path)
    assert [(w.code, w.evidence) for w in outcome.warnings] == [("series-replaced", "'odd'")]
    assert [p.mean for p in outcome.forecast if p.series == "odd"][:2] == [1.0, 2.0]


def test_a_model_for_all_series_that_runs_away_learns_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[bool] = []
    real = time_series.forecast

    def wild(forecaster: object, *arguments: object, **named: object) -> pd.DataFrame:
        said = real(forecaster, *arguments, **named)
        learnt.append("Sklearn" in str(forecaster.ts.target_transforms))  # logarithms
        return said.assign(**{series.MEAN: said[series.MEAN] * (1e6 if learnt[-1] else 1)})

    monkeypatch.setattr(time_series, "forecast", wild)
    monkeypatch.setattr(fit_series, "_transforms", lambda _candidate: ["log", "difference"])
    frame = air()
    plan = plan_for(frame, "month", "passengers", details_windows=2)
    outcome = fitted(frame, plan, "ridge", tmp_path)
    assert learnt[0] and not any(learnt[1:])
    assert all(100 < point.mean < 1_000 for point in outcome.forecast)
    monkeypatch.setattr(fit_series, "_transforms", lambda _candidate: ["log"])
    with pytest.raises(CannotTrain, match="run away from the series"):
        fitted(frame, plan, "ridge", tmp_path)


def test_a_forecast_that_runs_away_is_not_taken() -> None:
    long = many(2).assign(id=lambda frame: frame["id"].map(str))
    given = _situation("id", "t", "y")
    given.frequency, given.season_length = "1", 1
    model = time_series.fit(time_series.build("auto_ets", given), long, given)
    for fitted_one in model.fitted_[:, 0]:
        fitted_one.forward = lambda *, h, **_: {"mean": np.geomspace(10, 1e9, h)}
    steps = pd.DataFrame({"id": np.repeat(["0", "1"], 3), "t": [40, 41, 42] * 2})
    given.series = 2
    said = time_series.onward(model, long, steps, given)
    assert said[series.MEAN].between(5, 15).all()


@pytest.mark.parametrize("slug", ["auto_ets", "lightgbm"])
def test_columns_may_be_called_what_the_libraries_use(slug: str, tmp_path: Path) -> None:
    own = time_series.output(time_series.build(slug, _situation("a", "b", "c")))
    frame = air().set_axis(["month", "mean"], axis=1).assign(**{own: 7})
    plan = plan_for(frame, "month", "mean", own, horizon=3)
    outcome = fitted(frame, plan, slug, tmp_path)
    assert list(outcome.example.predictions[0]) == [own, "month", f"{own}_forecast"]
    assert outcome.forecast[0].series == "7"


@pytest.mark.parametrize("slug", SLUGS)
def test_the_shortest_series_allowed_is_fitted(slug: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"year": np.arange(2000, 2010), "y": rng.normal(10, 1, 10)})
    outcome = fitted(frame, plan_for(frame, "year", "y"), slug, tmp_path)
    assert outcome.cv_mean is not None
    assert [point.time for point in outcome.forecast] == ["2010"]


def _situation(series_column: str, time: str, target: str) -> time_series.Situation:
    return time_series.Situation(
        model_name="auto_ets",
        columns=series_rows.Columns(id=series_column, time=time, target=target),
        frequency="MS",
        season_length=12,
        horizon=3,
        series=1,
        shortest=100,
        usual=100,
        rows=100,
        seed=0,
        threads=1,
    )


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(CannotTrain, match="no time_series model is called 'prophet'"):
        time_series.build("prophet", _situation("a", "b", "c"))


def test_forks_of_a_warmed_up_process_can_use_threads() -> None:
    """Fits are forked from a process that has run `warm_up`; a pool of threads left there would hang them."""
    program = """
import os
import numpy as np, pandas as pd
from services.trainer.candidates import time_series
from services.trainer.series_rows import Columns
time_series.warm_up()
pid = os.fork()
if pid == 0:
    columns = Columns(id="id", time="t", target="y")
    times = pd.date_range("1990-01-01", periods=100, freq="MS")
    long = pd.DataFrame({"id": "a", "t": times, "y": np.sin(np.arange(100.0))})
    for slug in ("lightgbm", "auto_ets"):
        given = time_series.Situation(model_name=slug, columns=columns, frequency="MS", season_length=12,
                                      horizon=3, series=1, shortest=100, usual=100, rows=100, seed=0,
                                      threads=2)
        model = time_series.fit(time_series.build(slug, given), long, given)
        time_series.forecast(model, 3, columns, intervals=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.strip() == "0", done.stderr
