"""An ensemble of forecasters: what it is made of, and the one file that is made of them.

The first step sees the members' backtests, the target and nothing else, the second opens the pickles of those
chosen. No model is fitted in either. What is handed over is a plain dict of fitted forecasters, weights and
conformal scores, which the download's `predict.py` forecasts with (`average`). That script opens pickles, so
nothing here imports it; what it answers is compared with the example recorded here (tests/e2e).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from msgspec import Struct
from threadpoolctl import threadpool_limits

from services.trainer import (
    backtests,
    loading,
    predictions,
    series,
    series_candidate,
    series_ensemble,
    series_intervals,
    series_notices,
    series_outcome,
    series_uncertainty,
)
from services.trainer.backtests import Window
from services.trainer.budget import Clock
from services.trainer.candidates import time_series
from services.trainer.fit_series import COMPRESSION
from services.trainer.outcome import MODEL_FILE, Choice, FitOutcome, Member, Progress
from services.trainer.series_candidate import Candidate
from services.trainer.series_intervals import Intervals
from shared.contracts.training import Plan
from shared.errors import CannotTrain

OUTPUT = "WeightedEnsemble"
"""The column of its forecasts, as a library would name it after a model."""
_OVER_SERIES = frozenset({"mase", "rmsse", "smape"})
_SCALED = frozenset({"mase", "rmsse"})
_SQUARED = frozenset({"rmse", "rmsse"})

Ensemble = dict[str, Any]
"""`weights` and fitted `members`, by slug; `id`, `time`, `output`: its columns' names; `scores`, `scale`: see
`series_intervals`, None without intervals."""


class Panel(Struct):
    """Backtests side by side. `members`: best first; `windows`: the earliest first; `said`: of each window
    (m, steps); `test`: (m, held-out steps) of `held`; `losses`: (m, w), see `series_ensemble`."""

    members: list[Member]
    windows: list[Window]
    held: Window
    said: list[np.ndarray]
    test: np.ndarray
    losses: np.ndarray


def choose(
    table_path: Path,
    plan: Plan,
    model_name: str,
    members: Sequence[Member],
    seconds: float,
    progress: Progress,
) -> Choice:
    """Which of `members` an ensemble is made of. Their predictions are read, not their pickles."""
    progress(0.1, "Weighing the models")
    panel = side_by_side(members, series_candidate.read(table_path, plan, model_name, 1, Clock(seconds)))
    if len(panel.members) < 2:
        return Choice(weights={}, reason="fewer than two models forecast the same steps")
    shares = series_ensemble.weights(panel.losses)
    if (shares > 0).sum() < 2:
        alone = panel.members[int(shares.argmax())].label
        return Choice(weights={}, reason=f"{alone} is so far ahead that no average with it is better")
    told = zip(panel.members, shares, strict=True)
    return Choice(weights={member.slug: round(float(share), 6) for member, share in told if share > 0})


def combine(
    table_path: Path,
    plan: Plan,
    model_name: str,
    members: Sequence[Member],
    choice: Choice,
    scratch: Path,
    seconds: float,
    threads: int,
    progress: Progress,
) -> FitOutcome:
    """The ensemble of a choice; its pickle is left in `scratch / MODEL_FILE`.

    `members`: all that `choose` was given, of which those chosen have their pickles in the scratch folder.
    Raises StorageCorrupt where one of those is another, CannotTrain where a forecast is no number.
    """
    candidate = series_candidate.read(table_path, plan, model_name, threads, Clock(seconds))
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _combine(candidate, members, choice, scratch, progress)


def _combine(
    candidate: Candidate, members: Sequence[Member], choice: Choice, scratch: Path, progress: Progress
) -> FitOutcome:
    plan, columns = candidate.plan, candidate.columns
    started = time.monotonic()
    progress(0.2, "Weighing the models on the other cut-offs")
    panel = side_by_side(members, candidate)
    chosen = [member for member in panel.members if member.slug in choice.weights]
    shares = np.array([choice.weights.get(member.slug, 0.0) for member in panel.members])
    shares /= shares.sum()
    tested = _tested(candidate, panel, np.tile(shares, (len(panel.windows), 1)))
    scores = _scores(candidate, panel.windows, tested)
    # how far off it may be is told by averages that had not seen the cut-off
    crossed = _tested(candidate, panel, series_ensemble.crossed(panel.losses))
    scales = candidate.scales(panel.held.before)
    intervals = series_intervals.study(crossed, columns, scales)
    compared = _beside(shares @ panel.test, panel.held, candidate)
    compared = series_intervals.bounded(compared, intervals, columns, scales)
    metrics = candidate.metrics(compared, panel.held.before)
    compare = plan.metric, backtests.averages(scores), backtests.averages(_naive(candidate, panel.windows))
    beats = series_notices.beats(*compare)
    took = time.monotonic() - started

    progress(0.5, "Putting the models together")
    behind = chosen[0].behind
    seen = candidate.scales(panel.held.before if behind else candidate.long)
    made = _assembled(chosen, choice, candidate, intervals, seen)
    path = scratch / MODEL_FILE
    joblib.dump(made, path, compress=COMPRESSION)
    del made
    reopened = loading.reopened(path)

    progress(0.8, "Forecasting")
    began = time.perf_counter()
    said = _forecast(reopened, candidate, candidate.horizon + behind, behind)
    predict_ms = (time.perf_counter() - began) * 1e3 / len(said)
    future = time_series.renamed(said, reopened["output"], columns)
    if not np.isfinite(future[series.MEAN]).all():
        raise CannotTrain("its members do not forecast the same steps of every series")
    future = series_intervals.bounded(future, intervals, columns, candidate.scales(candidate.long))
    ahead = series_outcome.known_ahead(candidate, behind)
    if not any(time_series.uses_future(each, columns) for each in reopened["members"].values()):
        ahead = None
    shown = series_outcome.example_horizon(candidate) if ahead is None else candidate.horizon
    values = [value for score in scores if (value := score[plan.metric]) is not None]
    cv_mean = float(np.mean(values)) if values else None
    progress(1.0, "Done")
    return FitOutcome(
        cv_mean=cv_mean,
        cv_std=float(np.std(values)) if values else None,
        metrics=metrics,
        fit_seconds=took + sum(member.fit_seconds for member in chosen),
        predict_ms_per_row=predict_ms,
        packages=list(
            {each.partition("==")[0]: each for m in reversed(chosen) for each in m.packages}.values()
        ),
        example=series_outcome.example(candidate, ahead, _forecast(reopened, candidate, shown, behind)),
        plots=series_outcome.drawn(candidate, compared, panel.held.before),
        forecast=series_outcome.points(candidate, future),
        warnings=[series_notices.loses(*compare)] if beats is False else [],
        beats_seasonal_naive=beats,
        uncertainty=series_uncertainty.measured(
            plan,
            columns,
            [panel.held, *panel.windows],
            [compared, *tested],
            cv_mean,
            metrics[plan.metric],
        ),
        details={
            "frequency": plan.frequency,
            "season_length": candidate.season_length,
            "horizon": candidate.horizon,
            "series": int(candidate.long[columns.id].nunique()),
            "steps_train": len(panel.held.before),
            "steps_held_out": len(panel.held.steps),
            "windows": len(panel.windows),
            "validation": compare[1],
            "validation_seasonal_naive": compare[2],
            "validation_crossed": backtests.averages(_scores(candidate, panel.windows, crossed)),
            "intervals": None if intervals is None else intervals.described(),
            "held_out_coverage": series_intervals.coverage(compared, columns.target),
            "refit": behind == 0,
            "behind": behind,
            "output_column": reopened["output"],
            "members": choice.weights,
            "settings": " + ".join(f"{choice.weights[each.slug]:.2f} {each.label}" for each in chosen),
        },
    )


def side_by_side(members: Sequence[Member], candidate: Candidate) -> Panel:
    """The members that forecast every backtest's steps, and go on from the same one.

    Left out are those whose file is not what a fit leaves and, where others were fitted again on the whole
    series, those that were not: an average is of forecasts of the same steps.
    """
    columns = candidate.columns
    numbers = series_candidate.cut_offs(candidate)
    windows = [backtests.window(candidate.long, columns, candidate.horizon, each) for each in numbers]
    held = backtests.window(candidate.long, columns, candidate.horizon, 0)
    at = np.concatenate([window.steps.index.to_numpy() for window in windows])
    order = np.argsort(at, kind="stable")
    fold = np.concatenate([np.full(len(window.steps), nth) for nth, window in enumerate(windows)])[order]
    freshest = min((member.behind for member in members), default=0)
    kept: list[tuple[Member, predictions.Predictions]] = []
    for member in sorted(members, key=lambda each: each.cv_mean):
        try:
            told = predictions.read(member.predictions, columns=1)
        except ValueError:
            continue
        same = np.array_equal(told.train, at[order]) and np.array_equal(told.fold, fold)
        if same and len(told.test) == len(held.steps) and member.behind == freshest:
            kept.append((member, told))
    said = []
    for window in windows:
        # positions ascend in the file, whereas a window has one series after another
        place = np.searchsorted(at[order], window.steps.index)
        said.append(np.array([told.oof[place, 0] for _, told in kept]).reshape(len(kept), -1))
    return Panel(
        members=[member for member, _ in kept],
        windows=windows,
        held=held,
        said=said,
        test=np.array([told.test[:, 0] for _, told in kept]).reshape(len(kept), -1),
        losses=np.array(
            [_losses(candidate, window, each) for window, each in zip(windows, said, strict=True)]
        ).T.reshape(len(kept), len(windows)),
    )


def _losses(candidate: Candidate, window: Window, said: np.ndarray) -> np.ndarray:
    """(m,) how far off the members' forecasts (m, steps) are by the plan's metric; NaN of no step."""
    columns, metric = candidate.columns, candidate.plan.metric
    truth = window.steps[columns.target].to_numpy(dtype=float)
    known = np.isfinite(truth)
    if not known.any():
        return np.full(len(said), np.nan)
    ids = window.steps[columns.id][known]
    truth, said = truth[known], said[:, known]
    off = np.abs(said - truth)
    if metric in _SCALED:
        off = off / ids.map(candidate.scales(window.before)).to_numpy(dtype=float)
    elif metric == "smape":
        size = np.abs(said) + np.abs(truth)
        off = off / np.where(size > 0, size, 1.0)
    power = 2 if metric in _SQUARED else 1
    row = (
        1 / ids.map(ids.value_counts()).to_numpy(dtype=float) if metric in _OVER_SERIES else np.ones(len(ids))
    )
    return np.average(off**power, axis=1, weights=row) ** (1 / power)


def _tested(candidate: Candidate, panel: Panel, weights: np.ndarray) -> list[pd.DataFrame]:
    """What averages by `weights` (w, m) said at each cut-off beside what came."""
    told = zip(weights, panel.said, panel.windows, strict=True)
    return [_beside(shares @ said, window, candidate) for shares, said, window in told]


def _beside(values: np.ndarray, window: Window, candidate: Candidate) -> pd.DataFrame:
    columns = candidate.columns
    return window.steps[[columns.id, columns.time, columns.target]].assign(**{series.MEAN: values})


def _scores(
    candidate: Candidate, windows: Sequence[Window], tested: Sequence[pd.DataFrame]
) -> list[dict[str, float | None]]:
    """Metrics of each window, as of every model."""
    both = zip(windows, tested, strict=True)
    return [candidate.metrics(compared, window.before) for window, compared in both]


def _naive(candidate: Candidate, windows: Sequence[Window]) -> list[dict[str, float | None]]:
    """Metrics of the seasonal naive on the same steps."""
    columns = candidate.columns
    said = []
    for window in windows:
        whole = series.filled(window.before, columns)
        forecasts = backtests.naive(whole, window.steps, columns, candidate.season_length)
        said.append(backtests.against(forecasts, window.steps, columns))
    return _scores(candidate, windows, said)


def _assembled(
    chosen: Sequence[Member],
    choice: Choice,
    candidate: Candidate,
    intervals: Intervals | None,
    scales: dict[object, float],
) -> Ensemble:
    whole = sum(choice.weights[member.slug] for member in chosen)
    known = intervals is not None and intervals.scores is not None
    return {
        "weights": {member.slug: choice.weights[member.slug] / whole for member in chosen},
        "members": {member.slug: loading.verified(member.model, member.sha256) for member in chosen},
        "id": candidate.columns.id,
        "time": candidate.columns.time,
        "output": time_series.output_name(OUTPUT, candidate.columns),
        "scores": intervals.scores if intervals is not None and known else None,
        "scale": scales if known else None,
    }


def _forecast(made: Ensemble, candidate: Candidate, steps: int, behind: int) -> pd.DataFrame:
    """What `average` of the download's `predict.py` answers: the next steps after the last that the members
    have seen, `behind` of which are the table's own."""
    ahead = series_outcome.known_ahead(candidate, behind)
    said = {
        slug: time_series.raw_forecast(member, steps, candidate.columns, ahead)
        for slug, member in made["members"].items()
    }
    # added by series and time, whatever the order of the rows
    parts = [
        said[slug].set_index([made["id"], made["time"]]).iloc[:, 0] * weight
        for slug, weight in made["weights"].items()
    ]
    total: pd.Series = sum(parts[1:], start=parts[0])
    return total.rename(made["output"]).reset_index()
