"""The fit of one candidate on time series: backtested, scored on the held-out end, refitted, written."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from msgspec import Struct, structs
from threadpoolctl import threadpool_limits

from services.trainer import (
    backtests,
    loading,
    predictions,
    series,
    series_candidate,
    series_intervals,
    series_notices,
    series_outcome,
    series_pace,
    series_uncertainty,
)
from services.trainer.backtests import Window
from services.trainer.budget import Clock
from services.trainer.candidates import lag_models, series_models, time_series
from services.trainer.candidates.time_series import Forecaster
from services.trainer.outcome import MODEL_FILE, Example, FitOutcome, Progress
from services.trainer.series_candidate import Candidate
from services.trainer.series_deadline import OutOfTime, within
from services.trainer.series_intervals import Intervals
from shared.contracts.results import ForecastPoint
from shared.contracts.training import Plan
from shared.errors import CannotTrain

COMPRESSION = ("zlib", 1)
SLACK = 1.3
"""A fit on more steps, while others share the machine, may take so much longer than the last one."""
_TESTING = 0.9
"""Of the time there is, less what finishing takes: when the backtests are to be done at the latest."""
_SEARCHING = 0.4
"""Of what is left of that: when a first search among all forms of a model gives way to a single one."""
_TRIED_WITH = 4
"""Fits that there has to be time for after another transform of a lag model is tried."""
_TRIED_SERIES = 200
_TRIED_ROWS = 300_000
"""The transforms of a lag model are compared on so many series, in tables of no more rows."""

_PACKAGES = {
    "statsforecast": ["statsforecast", "utilsforecast", "coreforecast", "statsmodels", "scipy"],
    "mlforecast": ["mlforecast", "utilsforecast", "coreforecast", "lightgbm", "scikit-learn", "scipy"],
}
_ALWAYS = ["pandas", "numpy", "joblib"]


class Tested(Struct):
    """What the backtests gave: the windows, forecasts beside what came, metrics, and the seasonal
    naive's metrics of the same steps. `kept`: at how many cut-offs parameters of an earlier one were used.
    """

    windows: list[Window]
    compared: list[pd.DataFrame]
    scores: list[dict[str, float | None]]
    naive: list[dict[str, float | None]]
    kept: int


def fit(
    table_path: Path,
    plan: Plan,
    model_name: str,
    scratch: Path,
    soft_deadline_s: float,
    threads: int,
    progress: Progress,
) -> FitOutcome:
    """Fit one forecaster; the pickle is left in `scratch / MODEL_FILE`, its backtests beside it.

    Every model of a plan is backtested on the same steps. Where estimating it anew at each cut-off, or
    fitting it again on the whole series, would not be done in `soft_deadline_s` seconds from now, that is
    left out, and the warnings say so. Raises CannotTrain where the model fails, InvalidRequest where the
    table is not what the plan was made for.
    """
    furthest = 0.0

    def further(done: float, what: str) -> None:  # also where a part is done again
        nonlocal furthest
        furthest = max(furthest, done)
        progress(furthest, what)

    clock = Clock(soft_deadline_s)
    further(0.0, "Reading the series")
    candidate = series_candidate.read(table_path, plan, model_name, threads, clock)
    with threadpool_limits(threads):
        return _run(candidate, scratch, further)


def _run(candidate: Candidate, scratch: Path, progress: Progress) -> FitOutcome:
    plan, columns, horizon = candidate.plan, candidate.columns, candidate.horizon
    held = backtests.window(candidate.long, columns, horizon, 0)

    progress(0.02, "Trying a part of the series")
    try:
        with _limited(candidate, _TESTING):
            earliest, seconds, tested = _tried(candidate, held.before, progress)
    except OutOfTime:
        raise CannotTrain(
            f"its backtests were not done within {candidate.clock.elapsed():,.1f} s, which is what there was "
            "for them; a larger time_budget_s or fewer models would do"
        ) from None
    intervals = series_intervals.study(tested.compared, columns, candidate.scales(held.before))
    tested_naive = plan.metric, backtests.averages(tested.scores), backtests.averages(tested.naive)
    beats = None if candidate.model_name == "seasonal_naive" else series_notices.beats(*tested_naive)

    scored, anew = earliest, False
    if candidate.clock.fits(SLACK * seconds * (1 + plan.refit)):
        progress(0.75, "Fitting on the training part")
        started = time.perf_counter()
        with contextlib.suppress(OutOfTime), _limited(candidate, 1.0):
            scored, anew = candidate.fitted(held.before), True
    if anew:
        seconds = time.perf_counter() - started
        series_intervals.apply(scored, intervals, horizon, candidate.scales(held.before))
    compared = series_intervals.bounded(
        candidate.forecast(scored, held, anew=anew), intervals, columns, candidate.scales(held.before)
    )
    metrics = candidate.metrics(compared, held.before)
    drawn = series_outcome.drawn(candidate, compared, held.before)

    final, behind = scored, horizon * (1 if anew else 1 + tested.windows[0].number)
    if plan.refit and candidate.clock.fits(SLACK * seconds):
        progress(0.85, "Fitting on the whole series")
        with contextlib.suppress(OutOfTime), _limited(candidate, 1.0):
            final, behind = candidate.fitted(candidate.long), 0
    if behind == 0:
        series_intervals.apply(final, intervals, horizon, candidate.scales(candidate.long))
    notices = series_notices.about(
        candidate.model_name,
        final,
        series=candidate.long[columns.id].nunique(),
        longest=int(candidate.long[columns.id].value_counts(sort=False).max()),
        history=int(candidate.choices.get("history", time_series.HISTORY)),
        kept=tested.kept,
        cut_offs=len(tested.windows),
        refit_skipped=plan.refit and behind > 0,
        naive=None if beats is not False else tested_naive,
    )

    path = scratch / MODEL_FILE
    joblib.dump(final, path, compress=COMPRESSION)
    described = _described(final)
    del final, scored, earliest
    reloaded = loading.reopened(path)
    progress(0.95, "Forecasting")
    future, predict_ms = _forecast(candidate, reloaded, intervals, behind)
    predictions.write(scratch, _predictions(tested, compared))
    progress(1.0, "Done")
    values = [value for score in tested.scores if (value := score[plan.metric]) is not None]
    cv_mean = float(np.mean(values)) if values else None
    return FitOutcome(
        cv_mean=cv_mean,
        cv_std=float(np.std(values)) if values else None,
        metrics=metrics,
        fit_seconds=seconds,
        predict_ms_per_row=predict_ms,
        packages=packages(reloaded),
        example=_example(candidate, reloaded, behind),
        plots=drawn,
        forecast=future,
        warnings=notices,
        beats_seasonal_naive=beats,
        uncertainty=series_uncertainty.measured(
            plan,
            columns,
            [held, *tested.windows],
            [compared, *tested.compared],
            cv_mean,
            metrics[plan.metric],
        ),
        details={
            "frequency": plan.frequency,
            "season_length": candidate.season_length,
            "horizon": horizon,
            "series": int(candidate.long[columns.id].nunique()),
            "steps_train": len(held.before),
            "steps_held_out": len(held.steps),
            "windows": len(tested.windows),
            "validation": tested_naive[1],
            "validation_seasonal_naive": tested_naive[2],
            "intervals": None if intervals is None else intervals.described(),
            "held_out_coverage": series_intervals.coverage(compared, columns.target),
            "refit": behind == 0,
            "behind": behind,
            **described,
        },
    )


def packages(forecaster: Forecaster) -> list[str]:
    """Exact requirements of what the pickle imports, as installed here."""
    family = type(forecaster).__module__.split(".")[0]
    return [f"{name}=={metadata.version(name)}" for name in [*_PACKAGES[family], *_ALWAYS]]


def _limited(candidate: Candidate, share: float) -> AbstractContextManager[None]:
    """OutOfTime in the block once a share of the time left has passed. Not for the seasonal naive: all others
    are measured by it, and it takes next to none."""
    if candidate.model_name == "seasonal_naive":
        return contextlib.nullcontext()
    return within(candidate.clock.share_of(share))


def _tried(candidate: Candidate, train: pd.DataFrame, progress: Progress) -> tuple[Forecaster, float, Tested]:
    """What `_backtest` answers, with the choices that there is time for and that learn these series best; or
    with the next best, where those fail on a backtest."""
    if candidate.model_name not in lag_models.BUILDERS:
        candidate.choices = _pace(candidate, train)
        return _backtest(candidate, progress)
    transforms = _transforms(candidate)
    found = series_pace.shared_history(
        train,
        candidate.columns,
        candidate.season_length,
        candidate.clock,
        lambda part: series_pace.seconds(lambda: candidate.fitted(part)),
    )
    history = {"history": len(candidate.long) if found is None else found}
    for transform in transforms[:-1]:
        candidate.choices = {"transform": transform} | history
        with contextlib.suppress(CannotTrain):
            return _backtest(candidate, progress)
    candidate.choices = {"transform": transforms[-1]} | history
    return _backtest(candidate, progress)


def _pace(candidate: Candidate, train: pd.DataFrame) -> dict[str, Any]:
    """The effort and the history that there is time for."""

    def timed(part: pd.DataFrame, effort: series_models.Effort) -> float:
        candidate.choices = {"effort": effort}
        return series_pace.seconds(lambda: candidate.fitted(part))

    effort, history = series_pace.pace(
        candidate.model_name, train, candidate.columns, candidate.season_length, candidate.clock, timed
    )
    return {"effort": effort} | ({} if history is None else {"history": history})


def _transforms(candidate: Candidate) -> list[str]:
    """Target transforms, the one first that forecasts the window before the earliest backtest best."""
    columns, horizon = candidate.columns, candidate.horizon
    number = series_candidate.cut_offs(candidate)[0] + 1
    window = backtests.window(candidate.long, columns, horizon, number)
    names = window.steps[columns.id].unique()
    if not len(names) or len(candidate.long) > _TRIED_ROWS:
        return [lag_models.TRANSFORMS[0]]
    tried = names[np.linspace(0, len(names) - 1, min(_TRIED_SERIES, len(names))).astype(int)]
    window = Window(number, *(part[part[columns.id].isin(tried)] for part in (window.before, window.steps)))
    lengths = candidate.long.groupby(columns.id, sort=False).size()
    given = structs.replace(candidate.situation(candidate.long), shortest=int(lengths.min()))
    least = float(candidate.long[columns.target].min())
    losses: dict[str, float] = {}
    took = 0.0
    for transform in lag_models.choices(given, least):
        if losses and not candidate.clock.fits(SLACK * took * (1 + _TRIED_WITH)):
            break
        started = time.perf_counter()
        candidate.choices = {"transform": transform}
        try:
            compared = candidate.forecast(candidate.fitted(window.before), window, anew=True)
        except CannotTrain:
            continue
        found = candidate.metrics(compared, window.before)
        took = time.perf_counter() - started
        loss = found[candidate.plan.metric]
        losses[transform] = np.inf if loss is None else loss
    return sorted(losses, key=lambda name: losses[name]) or [lag_models.TRANSFORMS[0]]


def _backtest(candidate: Candidate, progress: Progress) -> tuple[Forecaster, float, Tested]:
    """The forecaster of the earliest cut-off, the seconds of its fit, and what all cut-offs gave.

    At each the model is estimated anew while there is time to do that, to fit it on the training part and to
    fit it again; then its state goes on to the other cut-offs with the parameters of the earliest.
    """
    plan, columns, clock = candidate.plan, candidate.columns, candidate.clock
    numbers = series_candidate.cut_offs(candidate)
    tested = Tested([], [], [], [], 0)
    earliest, seconds, cut_off_s = None, 0.0, 0.0
    for done, number in enumerate(numbers):
        progress(0.1 + 0.65 * done / len(numbers), f"Backtest {done + 1} of {len(numbers)}")
        began = time.perf_counter()
        window = backtests.window(candidate.long, columns, candidate.horizon, number)
        forecaster = None
        if earliest is None:
            forecaster = earliest = _earliest(candidate, window.before)
            seconds = time.perf_counter() - began
        elif not tested.kept:
            to_come = cut_off_s * (len(numbers) - done) + seconds * (1 + plan.refit)
            if clock.fits(SLACK * to_come):
                # it may take far longer than the last one did, but not the time that the rest needs
                with contextlib.suppress(OutOfTime), _limited(candidate, 0.5):
                    forecaster = candidate.fitted(window.before)
                    seconds = time.perf_counter() - began
        tested.windows.append(window)
        tested.kept += forecaster is None
        compared = candidate.forecast(forecaster or earliest, window, anew=forecaster is not None)
        tested.compared.append(compared)
        tested.scores.append(candidate.metrics(compared, window.before))
        whole = series.filled(window.before, columns)
        naive = backtests.naive(whole, window.steps, columns, candidate.season_length)
        against = backtests.against(naive, window.steps, columns)
        tested.naive.append(candidate.metrics(against, window.before))
        cut_off_s = time.perf_counter() - began
    return earliest, seconds, tested


def _earliest(candidate: Candidate, before: pd.DataFrame) -> Forecaster:
    """Fitted for the first time: of a model that searches among forms, on a single one where there is no time
    to search."""
    searching = candidate.model_name in series_models.SEARCHING
    if searching and candidate.choices.get("effort", "full") != "single":
        with contextlib.suppress(OutOfTime), _limited(candidate, _SEARCHING):
            return candidate.fitted(before)
        candidate.choices |= {"effort": "single"}
    return candidate.fitted(before)


def _described(final: Forecaster) -> dict[str, Any]:
    return {
        "output_column": time_series.output(final),
        "replaced_series": len(time_series.replaced(final)),
        "settings": time_series.settings(final),
    }


def _predictions(tested: Tested, compared: pd.DataFrame) -> predictions.Predictions:
    """Positions are rows of the long frame (`series.prepare`)."""
    return predictions.Predictions(
        train=np.concatenate([part.index.to_numpy() for part in tested.compared]),
        oof=np.concatenate([part[series.MEAN].to_numpy() for part in tested.compared]),
        fold=np.concatenate([np.full(len(part), at) for at, part in enumerate(tested.compared)]),
        test=compared[series.MEAN].to_numpy(),
    )


def _forecast(
    candidate: Candidate, forecaster: Forecaster, intervals: Intervals | None, behind: int
) -> tuple[list[ForecastPoint], float]:
    """The `horizon` steps after the table's last ones, and milliseconds a step. `behind`: steps of the table
    that the model has not seen."""
    columns = candidate.columns
    ahead = series_outcome.known_ahead(candidate, behind)
    started = time.perf_counter()
    predicted = time_series.forecast(forecaster, candidate.horizon + behind, columns, ahead, intervals=True)
    predict_ms = (time.perf_counter() - started) * 1e3 / len(predicted)
    if time_series.is_lag_model(forecaster):
        time_series.check_near(predicted, candidate.long, columns)
    predicted = series_intervals.bounded(predicted, intervals, columns, candidate.scales(candidate.long))
    return series_outcome.points(candidate, predicted), predict_ms


def _example(candidate: Candidate, forecaster: Forecaster, behind: int) -> Example:
    ahead = series_outcome.known_ahead(candidate, behind)
    if ahead is None or not time_series.uses_future(forecaster, candidate.columns):
        horizon, ahead = series_outcome.example_horizon(candidate), None
    else:
        horizon = candidate.horizon
    predicted = time_series.raw_forecast(forecaster, horizon, candidate.columns, ahead)
    return series_outcome.example(candidate, ahead, predicted)
