"""What is told of forecasts: the steps to come, an example for the card, and a plot beside what came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from msgspec import UNSET

from services.trainer import plots, series
from services.trainer.candidates import time_series
from services.trainer.outcome import Example
from services.trainer.series_candidate import Candidate
from services.trainer.series_rows import Columns
from services.trainer.series_times import as_text
from shared.contracts.results import ForecastPoint, PlotData

EXAMPLE_ROWS = 1_000
"""An example forecasts no more rows than this, with a shorter horizon where there are many series."""


def drawn(candidate: Candidate, compared: pd.DataFrame, train: pd.DataFrame) -> list[PlotData]:
    """One plot: of the series with the most behind it. `compared`: forecasts beside what came."""
    columns = candidate.columns
    shown = train[columns.id].value_counts(sort=False).idxmax()
    ahead = compared[compared[columns.id] == shown]
    past = train[(train[columns.id] == shown) & train[columns.target].notna()]
    bands = {}
    for level in time_series.LEVELS:
        sides = [time_series.bound("lower", level), time_series.bound("upper", level)]
        if set(sides) <= set(ahead) and np.isfinite(ahead[sides]).all(axis=None):
            bands[str(level)] = (ahead[sides[0]].to_numpy(), ahead[sides[1]].to_numpy())
    return plots.forecast(
        candidate.model_name,
        [as_text(moment) for moment in ahead[columns.time]],
        [None if np.isnan(value) else float(value) for value in ahead[columns.target]],
        ahead[series.MEAN].to_numpy(),
        bands,
        ([as_text(moment) for moment in past[columns.time]], past[columns.target].to_numpy()),
        series=str(shown) if candidate.plan.series_column else None,
    )


def known_ahead(candidate: Candidate, behind: int) -> pd.DataFrame | None:
    """The columns known ahead of the steps after the last that a forecaster has seen, `behind` of which are
    the table's own."""
    if candidate.future is None or not behind:
        return candidate.future
    columns = candidate.columns
    own = candidate.long.groupby(columns.id, sort=False).tail(behind)
    every = pd.concat([own[candidate.future.columns], candidate.future], ignore_index=True)
    return every.sort_values([columns.id, columns.time], kind="stable").reset_index(drop=True)


def points(candidate: Candidate, predicted: pd.DataFrame) -> list[ForecastPoint]:
    """The last `horizon` steps of each series: MEAN, and the bounds that are numbers."""
    columns = candidate.columns
    predicted = predicted.groupby(columns.id, sort=False).tail(candidate.horizon)
    bands = [name for name in predicted.columns if name.startswith(("@lower_", "@upper_"))]
    made = []
    for row in predicted.to_dict("records"):
        point = ForecastPoint(time=as_text(row[columns.time]), mean=float(row[series.MEAN]))
        if candidate.plan.series_column:
            point.series = str(row[columns.id])
        for name in bands:
            setattr(point, name[1:], float(row[name]) if np.isfinite(row[name]) else UNSET)
        made.append(point)
    return made


def example_horizon(candidate: Candidate) -> int:
    """The steps of an example that asks for nothing else."""
    return max(1, min(candidate.horizon, EXAMPLE_ROWS // int(candidate.long[candidate.columns.id].nunique())))


def example(candidate: Candidate, ahead: pd.DataFrame | None, predicted: pd.DataFrame) -> Example:
    """What `predict` of the pickle answered, row for row, with times as text: to `h`, or to the rows of a
    table that holds what the model has to know of the steps (`ahead`)."""
    columns = candidate.columns
    if ahead is None:
        return Example(rows=[{"h": example_horizon(candidate)}], predictions=_rows(predicted, columns))
    steps = ahead.groupby(columns.id, sort=False).head(candidate.horizon)
    given = steps if candidate.plan.series_column else steps.drop(columns=columns.id)
    return Example(rows=_rows(given, columns), predictions=_rows(predicted, columns))


def _rows(frame: pd.DataFrame, columns: Columns) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    for row in rows:
        row[columns.time] = as_text(row[columns.time])
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]
