"""The fit of one candidate on time series: backtested, scored on the held-out end, refitted, written."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from msgspec import UNSET, Struct
from threadpoolctl import threadpool_limits

from services.trainer import evaluate_series, loading, plots, series, table
from services.trainer.budget import Clock
from services.trainer.candidates import time_series
from services.trainer.candidates.time_series import Forecaster
from services.trainer.outcome import MODEL_FILE, Example, FitOutcome, Progress
from services.trainer.series_times import as_text
from shared.contracts import ForecastPoint, Notice, Plan, PlotData
from shared.errors import CannotTrain, InvalidRequest

COMPRESSION = ("zlib", 1)
EXAMPLE_ROWS = 1_000
"""An example forecasts no more rows than this, with a shorter horizon where there are many series."""

PROBED_SERIES = 5
"""Fitted first where there are many, to tell how long all of them will take."""
PROBE_ABOVE_SERIES = 20

_PACKAGES = {
    "statsforecast": ["statsforecast", "utilsforecast", "coreforecast", "statsmodels", "scipy"],
    "mlforecast": ["mlforecast", "utilsforecast", "coreforecast", "lightgbm", "scikit-learn", "scipy"],
}
_ALWAYS = ["pandas", "numpy", "joblib"]


class Candidate(Struct):
    """One model on one table: what every one of its fits shares. `long` may have gaps."""

    plan: Plan
    model_name: str
    long: pd.DataFrame
    columns: series.Columns
    horizon: int
    season_length: int
    threads: int

    def fitted(self, part: pd.DataFrame, *, intervals: bool) -> Forecaster:
        whole = series.filled(part, self.columns)
        lengths = whole.groupby(self.columns.id, sort=False).size()
        given = time_series.Situation(
            columns=self.columns,
            frequency=str(self.plan.frequency),
            season_length=self.season_length,
            horizon=self.horizon,
            series=len(lengths),
            shortest=int(lengths.min()),
            rows=len(whole),
            seed=self.plan.seed,
            threads=self.threads,
            intervals=intervals,
        )
        return time_series.fit(time_series.build(self.model_name, given), whole, given)

    def against(self, forecasts: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
        """`forecasts` with what really came in `part` beside them, step by step."""
        return part.merge(forecasts, on=[self.columns.id, self.columns.time], how="inner", validate="1:1")

    def metrics(self, scored: pd.DataFrame, before: pd.DataFrame) -> dict[str, float | None]:
        return evaluate_series.evaluate(scored, before, self.columns, self.season_length)


def fit(
    table_path: Path,
    plan: Plan,
    model_name: str,
    scratch: Path,
    soft_deadline_s: float,
    threads: int,
    progress: Progress,
) -> FitOutcome:
    """Fit one forecaster; the pickle is left in `scratch / MODEL_FILE`.

    Backtests, then the refit, are left out where they would not fit in `soft_deadline_s` seconds from now,
    and the warnings say so. Raises CannotTrain where the model fails, InvalidRequest where the table is not
    what the plan was made for.
    """
    clock = Clock(soft_deadline_s)
    progress(0.0, "Reading the series")
    candidate = _candidate(table_path, plan, model_name, threads)
    with threadpool_limits(threads):
        return _run(candidate, clock, scratch, progress)


def _candidate(table_path: Path, plan: Plan, model_name: str, threads: int) -> Candidate:
    if plan.time_column is None or plan.horizon is None:
        raise InvalidRequest([("/time_column", "a time series needs a time column")])
    wanted = [plan.target, plan.time_column, *([plan.series_column] if plan.series_column else [])]
    return Candidate(
        plan=plan,
        model_name=model_name,
        long=series.prepare(table.load(table_path, wanted), plan),
        columns=series.columns(plan.target, plan.time_column, plan.series_column),
        horizon=plan.horizon,
        season_length=plan.season_length or 1,
        threads=threads,
    )


def _run(candidate: Candidate, clock: Clock, scratch: Path, progress: Progress) -> FitOutcome:
    plan, columns, horizon = candidate.plan, candidate.columns, candidate.horizon
    train, held = _split(candidate.long, columns, horizon)
    notices: list[Notice] = []

    progress(0.02, "Trying a part of the series")
    _refuse_too_slow(candidate, train, clock)
    # first, because its time tells how many backtests there is time for
    progress(0.05, "Fitting on the training part")
    started = time.perf_counter()
    scored = candidate.fitted(train, intervals=True)
    fit_seconds = time.perf_counter() - started
    metrics, drawn, predict_ms = _held_out(candidate, scored, train, held)

    scores = _backtest(candidate, train, clock, fit_seconds, progress, notices)

    final, refitted = scored, False
    if plan.refit and clock.fits(1.2 * fit_seconds):
        progress(0.85, "Fitting on the whole series")
        final, refitted = candidate.fitted(candidate.long, intervals=True), True
    elif plan.refit:
        notices.append(_refit_skipped())
    _say_what_was_left_out(candidate, final, notices)

    path = scratch / MODEL_FILE
    joblib.dump(final, path, compress=COMPRESSION)
    name, fallbacks = time_series.output(final), time_series.replaced(final)
    settings = time_series.settings(final)
    del final
    reloaded = loading.reopened(path)
    progress(0.95, "Forecasting")
    future = _forecast(candidate, reloaded, beyond=0 if refitted else horizon)
    example = _example(candidate, reloaded)
    progress(1.0, "Done")
    values = [value for score in scores if (value := score.get(plan.metric)) is not None]
    return FitOutcome(
        cv_mean=float(np.mean(values)) if values else None,
        cv_std=float(np.std(values)) if values else None,
        metrics=metrics,
        fit_seconds=fit_seconds,
        predict_ms_per_row=predict_ms,
        packages=packages(reloaded),
        example=example,
        plots=drawn,
        forecast=future,
        warnings=notices,
        details={
            "frequency": plan.frequency,
            "season_length": candidate.season_length,
            "horizon": horizon,
            "series": int(candidate.long[columns.id].nunique()),
            "steps_train": len(train),
            "steps_held_out": len(held),
            "windows": len(scores),
            "validation": _averages(scores),
            "refit": refitted,
            "output_column": name,
            "replaced_series": len(fallbacks),
            "settings": settings,
        },
    )


def packages(forecaster: Forecaster) -> list[str]:
    """Exact requirements of what the pickle imports, as installed here."""
    family = type(forecaster).__module__.split(".")[0]
    return [f"{name}=={metadata.version(name)}" for name in [*_PACKAGES[family], *_ALWAYS]]


def _split(long: pd.DataFrame, columns: series.Columns, horizon: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The long frame without the last `horizon` steps of each series, and those steps."""
    from_end = long.groupby(columns.id, sort=False).cumcount(ascending=False)
    return long[from_end >= horizon], long[from_end < horizon]


def _held_out(
    candidate: Candidate, scored: Forecaster, train: pd.DataFrame, held: pd.DataFrame
) -> tuple[dict[str, float | None], list[PlotData], float]:
    """Every metric and the plot on the held-out steps, and milliseconds a forecast step."""
    columns, horizon = candidate.columns, candidate.horizon
    started = time.perf_counter()
    time_series.forecast(scored, horizon, columns, intervals=False)
    predict_ms = (time.perf_counter() - started) * 1e3 / len(held)
    compared = candidate.against(time_series.forecast(scored, horizon, columns, intervals=True), held)
    metrics = candidate.metrics(compared, train)

    # one plot: of the series with the most behind it
    shown = train[columns.id].value_counts(sort=False).idxmax()
    ahead = compared[compared[columns.id] == shown]
    past = train[(train[columns.id] == shown) & train[columns.target].notna()]
    bands = {}
    for level in time_series.LEVELS:
        sides = [time_series.bound("lower", level), time_series.bound("upper", level)]
        if set(sides) <= set(ahead) and np.isfinite(ahead[sides]).all(axis=None):
            bands[str(level)] = (ahead[sides[0]].to_numpy(), ahead[sides[1]].to_numpy())
    drawn = plots.forecast(
        candidate.model_name,
        [as_text(moment) for moment in ahead[columns.time]],
        [None if np.isnan(value) else float(value) for value in ahead[columns.target]],
        ahead[series.MEAN].to_numpy(),
        bands,
        ([as_text(moment) for moment in past[columns.time]], past[columns.target].to_numpy()),
        series=str(shown) if candidate.plan.series_column else None,
    )
    return metrics, drawn, predict_ms


def _backtest(
    candidate: Candidate,
    train: pd.DataFrame,
    clock: Clock,
    fit_seconds: float,
    progress: Progress,
    notices: list[Notice],
) -> list[dict[str, float | None]]:
    """Every metric of each backtest there was time for, the latest window first.

    A window is the `horizon` steps before the next one, forecast from all that came before it. The first is
    always done, or the model could not be ranked; where time is short, on some of the series.
    """
    planned = max(1, int(candidate.plan.details.get("windows", 1)))
    to_follow = 1.2 * fit_seconds * candidate.plan.refit
    scores: list[dict[str, float | None]] = []
    spent: list[float] = []
    before = _affordable_series(candidate, train, clock, fit_seconds, notices)
    for number in range(planned):
        if spent and not clock.fits(float(np.mean(spent)) + to_follow):
            notices.append(_windows_skipped(number, planned))
            break
        progress(0.25 + 0.6 * number / planned, f"Backtest {number + 1} of {planned}")
        before, window = _split(before, candidate.columns, candidate.horizon)
        started = time.perf_counter()
        forecaster = candidate.fitted(before, intervals=False)
        predicted = time_series.forecast(forecaster, candidate.horizon, candidate.columns, intervals=False)
        spent.append(time.perf_counter() - started)
        scores.append(candidate.metrics(candidate.against(predicted, window), before))
    return scores


def _refuse_too_slow(candidate: Candidate, train: pd.DataFrame, clock: Clock) -> None:
    """Raise CannotTrain where a single fit of all series would take more time than there is.

    A model for each series takes as long as there are series; LightGBM is one model for all.
    """
    series_column = candidate.columns.id
    count = int(train[series_column].nunique())
    if candidate.model_name == "lightgbm" or count <= PROBE_ABOVE_SERIES:
        return
    started = time.perf_counter()
    candidate.fitted(_some_series(train, series_column, PROBED_SERIES), intervals=False)
    expected = (time.perf_counter() - started) * count / PROBED_SERIES
    if expected > clock.left():
        raise CannotTrain(
            f"fitting this model on {count:,} series would take about {expected:,.0f} s, and "
            f"{max(clock.left(), 0):,.0f} s are left for it; a larger time_budget_s would do"
        )


def _affordable_series(
    candidate: Candidate, train: pd.DataFrame, clock: Clock, fit_seconds: float, notices: list[Notice]
) -> pd.DataFrame:
    """All series where one backtest of them is affordable, else as many of them as are."""
    series_column = candidate.columns.id
    count = int(train[series_column].nunique())
    if count <= PROBE_ABOVE_SERIES or clock.fits(fit_seconds):
        return train
    share = max(clock.left(), 0.0) * 0.8 / fit_seconds
    chosen = max(PROBED_SERIES, int(count * share))
    notices.append(
        Notice(
            code="validation-shortened",
            message=f"Backtested on {chosen:,} of {count:,} series: there was no time for more.",
            action="The series were taken evenly; held-out metrics are over all of them.",
            evidence=f"{chosen} of {count}",
        )
    )
    return _some_series(train, series_column, chosen)


def _some_series(long: pd.DataFrame, series_column: str, count: int) -> pd.DataFrame:
    names = long[series_column].unique()
    chosen = names[np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)]
    return long[long[series_column].isin(chosen)]


def _averages(scores: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Each metric's mean over the windows that define it."""
    means = {}
    for name in scores[0]:
        values = [value for score in scores if (value := score[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
    return means


def _forecast(candidate: Candidate, forecaster: Forecaster, *, beyond: int) -> list[ForecastPoint]:
    """The `horizon` steps after the table's last ones; `beyond`: steps that the model has not seen of it."""
    columns, horizon = candidate.columns, candidate.horizon
    predicted = time_series.forecast(forecaster, horizon + beyond, columns, intervals=True)
    predicted = predicted.groupby(columns.id, sort=False).tail(horizon)
    bands = [name for name in predicted.columns if name.startswith(("@lower_", "@upper_"))]
    points = []
    for row in predicted.to_dict("records"):
        point = ForecastPoint(time=as_text(row[columns.time]), mean=float(row[series.MEAN]))
        if candidate.plan.series_column:
            point.series = str(row[columns.id])
        for name in bands:
            setattr(point, name[1:], float(row[name]) if np.isfinite(row[name]) else UNSET)
        points.append(point)
    return points


def _example(candidate: Candidate, forecaster: Forecaster) -> Example:
    """What `predict(h=…)` of the pickle answers, row for row, with times as text."""
    count = int(candidate.long[candidate.columns.id].nunique())
    horizon = max(1, min(candidate.horizon, EXAMPLE_ROWS // count))
    predicted = forecaster.predict(h=horizon)
    rows: list[dict[str, Any]] = predicted.to_dict("records")
    for row in rows:
        row[candidate.columns.time] = as_text(row[candidate.columns.time])
    return Example(rows=[{"h": horizon}], predictions=rows)


def _say_what_was_left_out(candidate: Candidate, final: Forecaster, notices: list[Notice]) -> None:
    columns = candidate.columns
    longest = int(candidate.long[columns.id].value_counts(sort=False).max())
    if candidate.model_name != "lightgbm" and longest > time_series.HISTORY:
        notices.append(
            Notice(
                code="history-shortened",
                message=f"This model was fitted on the last {time_series.HISTORY:,} steps of each series.",
                action="Earlier steps were left out: its time grows with them, what it learns hardly does.",
                evidence=f"the longest series has {longest:,} steps",
            )
        )
    replaced = time_series.replaced(final)
    if not replaced:
        return
    count = int(candidate.long[columns.id].nunique())
    if len(replaced) == count:
        raise CannotTrain("the model could not be fitted on any of the series")
    notices.append(
        Notice(
            code="series-replaced",
            column=columns.id,
            message=f"This model could not be fitted on {len(replaced)} of {count} series.",
            action="A seasonal naive forecasts them in its place.",
            evidence=", ".join(repr(name) for name in replaced[:3]),
        )
    )


def _windows_skipped(done: int, planned: int) -> Notice:
    return Notice(
        code="validation-shortened",
        message=f"Backtested on {done} of {planned} windows: there was no time for more.",
        action="The validation score is the mean of the latest windows, which were done.",
        evidence=f"{done} of {planned}",
    )


def _refit_skipped() -> Notice:
    return Notice(
        code="refit-skipped",
        message="There was no time to fit the model again on the whole series.",
        action="The model handed over has not seen the held-out steps: it forecasts from before them.",
    )
