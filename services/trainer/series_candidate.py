"""One forecaster on one table, and what its fits at every cut-off share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from msgspec import Struct, structs

from services.trainer import backtests, series, series_intervals, series_pace, table
from services.trainer.backtests import Window
from services.trainer.budget import Clock
from services.trainer.candidates import time_series
from services.trainer.candidates.time_series import Forecaster
from services.trainer.series_rows import Columns
from shared.contracts.training import Plan


class Candidate(Struct):
    """One model on one table: what every one of its fits shares. `long` may have gaps; `future`: see
    `series.Prepared`. `choices`: what was found out about effort, history and transform."""

    plan: Plan
    model_name: str
    long: pd.DataFrame
    future: pd.DataFrame | None
    columns: Columns
    horizon: int
    season_length: int
    threads: int
    clock: Clock
    choices: dict[str, Any] = {}

    def situation(self, whole: pd.DataFrame) -> time_series.Situation:
        """Of a part without gaps."""
        lengths = whole.groupby(self.columns.id, sort=False).size()
        seasons = [int(length) for length in self.plan.details.get("seasons", [])]
        extra = (*self.columns.known, *self.columns.static)
        given = time_series.Situation(
            model_name=self.model_name,
            columns=self.columns,
            frequency=str(self.plan.frequency),
            season_length=self.season_length,
            seasons=tuple(seasons or [self.season_length]),
            horizon=self.horizon,
            series=len(lengths),
            shortest=int(lengths.min()),
            usual=int(lengths.median()),
            rows=len(whole),
            seed=self.plan.seed,
            threads=self.threads,
            texts=tuple(name for name in extra if self.plan.roles[name] == "categorical"),
            # less is fitted in no time, and a model that cannot be ranked is worth nothing
            left=self.clock.left if len(whole) > series_pace.PROBE_ABOVE_ROWS else None,
        )
        return structs.replace(given, **self.choices)

    def fitted(self, part: pd.DataFrame) -> Forecaster:
        whole = series.filled(part, self.columns)
        given = self.situation(whole)
        return time_series.fit(time_series.build(self.model_name, given), whole, given)

    def forecast(self, forecaster: Forecaster, window: Window, *, anew: bool) -> pd.DataFrame:
        """What `forecaster` says of a window beside what came; `anew`: fitted on all before it, not on an
        earlier part. Raises CannotTrain where a model for all series runs away from them."""
        if anew:
            said = time_series.forecast(forecaster, self.horizon, self.columns, window.steps, intervals=True)
        else:
            whole = series.filled(window.before, self.columns)
            said = time_series.onward(forecaster, whole, window.steps, self.situation(whole))
        if time_series.is_lag_model(forecaster):
            time_series.check_near(said, window.before, self.columns)
        return backtests.against(said, window.steps, self.columns)

    def metrics(self, compared: pd.DataFrame, before: pd.DataFrame) -> dict[str, float | None]:
        return backtests.scores(compared, before, self.columns, self.season_length)

    def scales(self, part: pd.DataFrame) -> dict[object, float]:
        return series_intervals.scales(part, self.columns, self.season_length)


def cut_offs(candidate: Candidate) -> list[int]:
    """The numbers of the windows that every model of the plan is backtested on, the earliest first."""
    windows = int(candidate.plan.details.get("windows", 1))
    return backtests.planned(candidate.long, candidate.columns, candidate.horizon, windows)


def read(table_path: Path, plan: Plan, model_name: str, threads: int, clock: Clock) -> Candidate:
    """The series of a plan, ready to be fitted on. Raises InvalidRequest where the table is not what the plan
    was made for."""
    columns = series.columns_of(plan)
    wanted = [plan.target, columns.time, *columns.known, *columns.static]
    wanted += [plan.series_column] if plan.series_column else []
    prepared = series.prepare(table.load(table_path, wanted), plan)
    return Candidate(
        plan=plan,
        model_name=model_name,
        long=prepared.long,
        future=prepared.future,
        columns=columns,
        horizon=int(plan.horizon or 1),
        season_length=plan.season_length or 1,
        threads=threads,
        clock=clock,
    )
