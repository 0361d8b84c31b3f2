"""How sure the score of a forecaster is: a bootstrap over the series of a table.

Errors of neighbouring steps go together, and so do those of a series in one backtest after another; series
are what can be drawn. Of a few series, and of metrics that are not means over series, nothing is told.
"""

from __future__ import annotations

import pandas as pd

from services.trainer import evaluate_series, uncertainty
from services.trainer.backtests import Window
from services.trainer.series_rows import Columns
from shared.contracts.results import Uncertainty
from shared.contracts.training import Plan

MEANS_OVER_SERIES = ("mase", "smape", "rmsse")
MOST_SERIES = 5_000


def measured(
    plan: Plan,
    columns: Columns,
    windows: list[Window],
    compared: list[pd.DataFrame],
    cv_mean: float | None,
    held_out_score: float | None,
) -> Uncertainty | None:
    """`windows`: the held-out one first, then the backtests; `compared`: for each the forecasts beside what
    came, a long frame with the column MEAN."""
    if plan.metric not in MEANS_OVER_SERIES or len(windows) < 2:
        return None
    of_windows = [
        evaluate_series.of_each(plan.metric, told, window.before, columns, plan.season_length or 1)
        for window, told in zip(windows, compared, strict=True)
    ]
    held_out, *backtests = of_windows
    table = pd.concat(backtests, axis=1)
    if len(table) > MOST_SERIES:
        return None
    # by name as text: the same order, and so the same draws, for every model of the run
    table.index, held_out.index = table.index.astype(str), held_out.index.astype(str)
    return uncertainty.of_units(
        plan.metric,
        cv_mean,
        held_out_score,
        table.mean(axis=1).sort_index().to_numpy(dtype=float),
        held_out.sort_index().to_numpy(dtype=float),
        seed=plan.seed,
    )
