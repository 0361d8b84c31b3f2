"""How far forecasts are from what came, in the natural sign of each metric; undefined ones are None.

The formulas are utilsforecast's (https://nixtlaverse.nixtla.io/utilsforecast/losses.html); mase and rmsse are
Hyndman's, scaled by the seasonal naive's errors inside the training part (https://otexts.com/fpp3/accuracy.html).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from utilsforecast import losses

from services.trainer.series import MEAN, Columns
from shared.contracts.catalogue import METRICS
from shared.contracts.states import TaskType

_NO_SCALE = 1e-9
"""A seasonal naive whose errors are below this share of the values has none but rounding's."""


def evaluate(
    forecasts: pd.DataFrame, train: pd.DataFrame, columns: Columns, season_length: int
) -> dict[str, float | None]:
    """Every time series metric.

    `forecasts`: a long frame with the column MEAN beside the target; `train`: the long frame that came
    before. Steps without a target (gaps) count in neither. mase, rmsse and smape (0..200) are means over the
    series that define them; rmse, mae and wape (0..) are over all steps of all series.
    """
    names = {columns.id: "unique_id", columns.time: "ds", columns.target: "y"}
    scored = forecasts[[*names, MEAN]].rename(columns=names).dropna(subset=["y"])
    known = train[list(names)].rename(columns=names)
    if scored.empty:
        return dict.fromkeys(METRICS[TaskType.TIME_SERIES])
    model = [MEAN]
    pooled = scored.assign(unique_id="all")
    scalable = scored[scored["unique_id"].isin(_scalable(known, season_length))]
    scaled: dict[str, float | None] = {"mase": None, "rmsse": None}
    if len(scalable):
        seen = known[known["unique_id"].isin(scalable["unique_id"].unique())]
        for name, loss in (("mase", losses.mase), ("rmsse", losses.rmsse)):
            scaled[name] = _mean(loss(scalable, model, season_length, seen))
    share = _mean(losses.smape(scored, model))
    found = {
        "mase": scaled["mase"],
        "smape": None if share is None else 200 * share,
        "wape": _mean(losses.wape(pooled, model)),
        "rmse": _mean(losses.rmse(pooled, model)),
        "mae": _mean(losses.mae(pooled, model)),
        "rmsse": scaled["rmsse"],
    }
    return {name: found[name] for name in METRICS[TaskType.TIME_SERIES]}


def of_each(
    metric: str, forecasts: pd.DataFrame, train: pd.DataFrame, columns: Columns, season_length: int
) -> pd.Series:
    """mase, rmsse or smape of each series, by its name; NaN of one that does not define it. Parameters as
    those of `evaluate`, whose means these are. Raises KeyError for a metric that is no mean over series."""
    names = {columns.id: "unique_id", columns.time: "ds", columns.target: "y"}
    scored = forecasts[[*names, MEAN]].rename(columns=names).dropna(subset=["y"])
    known = train[list(names)].rename(columns=names)
    every = pd.Series(np.nan, index=scored["unique_id"].unique())
    if metric == "smape":
        found = 200 * losses.smape(scored, [MEAN]).set_index("unique_id")[MEAN]
    else:
        loss = {"mase": losses.mase, "rmsse": losses.rmsse}[metric]
        scored = scored[scored["unique_id"].isin(_scalable(known, season_length))]
        if scored.empty:
            return every
        known = known[known["unique_id"].isin(scored["unique_id"].unique())]
        found = loss(scored, [MEAN], season_length, known).set_index("unique_id")[MEAN]
    return found.reindex(every.index).replace([np.inf, -np.inf], np.nan)


def _scalable(train: pd.DataFrame, season_length: int) -> list[object]:
    """The series whose seasonal naive makes errors in the training part."""
    series = train.groupby("unique_id", sort=False)["y"]
    errors = series.diff(season_length).abs().groupby(train["unique_id"], sort=False).mean()
    size = train["y"].abs().groupby(train["unique_id"], sort=False).mean()
    return list(errors.index[(errors > _NO_SCALE * size).to_numpy()])


def _mean(by_series: pd.DataFrame) -> float | None:
    values = by_series[MEAN].to_numpy(dtype=float)
    if not len(values):
        return None
    with np.errstate(all="ignore"):
        value = float(values.mean())
    return value if math.isfinite(value) else None
