"""What a run is judged by: rows of the leaderboard, how sure they are, plots, forecasts."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from shared.contracts.states import CandidateStatus, PlotKind


class LeaderboardRow(Struct, kw_only=True):
    """`metrics` holds every metric of the task type in its natural sign; undefined ones are null.

    On the wire the metrics stand between `algorithm` and `cv_mean`, flat, as the contract has them.
    `fit_seconds`: one fit on the training part; of an ensemble the fits of all its members and what combining
    them took. `predict_ms_per_row`: a row's share of a batch of held-out rows, all members of an ensemble
    asked. `size_bytes`: of the pickle, in which an ensemble holds copies of its members.
    `score_low`, `score_high`: the bootstrap interval around `cv_mean` (`Uncertainty`). `tied_with_best`:
    whether the difference to the best model's may be none; null for the best itself and where it is unknown.
    """

    rank: int | None
    model_name: str
    label: str
    algorithm: str
    metrics: dict[str, float | None]
    cv_mean: float | None
    cv_std: float | None
    fit_seconds: float | None
    predict_ms_per_row: float | None
    size_bytes: int | None
    status: CandidateStatus
    reason: str | None
    score_low: float | None = None
    score_high: float | None = None
    tied_with_best: bool | None = None

    def flat(self) -> dict[str, Any]:
        row = msgspec.structs.asdict(self)
        metrics = row.pop("metrics")
        head = ("rank", "model_name", "label", "algorithm")
        return {k: row[k] for k in head} | metrics | {k: v for k, v in row.items() if k not in head}


class Uncertainty(Struct, kw_only=True):
    """How far a model's headline metric would move had other rows been drawn: a bootstrap over rows.

    `low`, `high`: the `level` interval around `cv_mean`, of the `rows` that were validated;
    `held_out_low`, `held_out_high`: around the held-out metric. None where it is undefined. `deviations`:
    what each resample of the validated rows adds to `cv_mean` (None where it leaves the metric undefined).
    Resample i draws the same rows for every model whose `digest` (of those rows) is the same, so that the
    differences of two models' deviations are a paired bootstrap.
    """

    level: float
    rows: int
    low: float | None
    high: float | None
    held_out_low: float | None
    held_out_high: float | None
    digest: str
    deviations: list[float | None] = []


class Intervals(Struct, kw_only=True):
    """Conformal prediction intervals of a regression, in the target's unit.

    A prediction p lies in bin i where edges[i-1] <= p < edges[i]; its interval is p + lower[level][i] to
    p + upper[level][i]. Levels are percents as text ("80", "95"); one that so few rows do not support is
    left out. `coverage` and `mean_width`: measured on the held-out rows. `rows`: those it was calibrated on.
    """

    rows: int
    edges: list[float]
    lower: dict[str, list[float]]
    upper: dict[str, list[float]]
    coverage: dict[str, float]
    mean_width: dict[str, float]


class PlotData(Struct, kw_only=True):
    """`svg` is the drawn plot, `data` what a frontend draws itself. Once the drawing is in the store,
    `svg` is empty and `size_bytes` and `sha256` say what is there."""

    model_name: str
    kind: PlotKind
    data: dict[str, Any]
    svg: str = ""
    size_bytes: int = 0
    sha256: str = ""


class ForecastPoint(Struct, kw_only=True):
    time: str
    mean: float
    series: str | UnsetType = UNSET
    lower_80: float | UnsetType = UNSET
    upper_80: float | UnsetType = UNSET
    lower_95: float | UnsetType = UNSET
    upper_95: float | UnsetType = UNSET
