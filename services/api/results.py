"""A run's results, put together from its row and its candidates'. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypedDict, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from services.api.choosing import plan_of, ranked
from shared import leaderboard
from shared.contracts.catalogue import METRICS
from shared.contracts.problems import Notice
from shared.contracts.results import ForecastPoint, Intervals
from shared.contracts.states import CandidateStatus, PlotKind, TaskStatus, TaskType
from shared.contracts.training import Plan

_PLOT_KINDS = frozenset(PlotKind)


class ResultPlot(Struct, kw_only=True):
    """`data` is for drawing it oneself; `svg_url` the plot as it was drawn. All are of held-out rows, but for
    `learning_curve` (validation scores by the rows fitted on), which only models have that were the best of
    the run when they ended, and an ensemble of theirs: of its best member, whose label is `member`."""

    model_name: str
    kind: PlotKind
    data: dict[str, Any]
    svg_url: str


class FeatureImportance(Struct, kw_only=True):
    """Permutation importance on held-out rows: by how much the headline metric worsens."""

    feature: str
    mean: float
    std: float


class ScoreInterval(Struct, kw_only=True):
    """A bootstrap over rows: how far the headline metric would move had other rows been drawn. `validation`:
    around `cv_mean`, from the `rows` that were validated; `held_out`: around the held-out metric. Lower and
    upper end each, null where the rows leave it undefined."""

    level: float
    rows: int
    validation: tuple[float, float] | None
    held_out: tuple[float, float] | None


class ColumnRole(Struct, kw_only=True):
    name: str
    role: str


class ResultSchema(Struct, kw_only=True):
    """What the models were trained to take and to answer; `labels` are the classes."""

    task_type: TaskType
    target: str
    columns: list[ColumnRole]
    labels: list[str] | UnsetType = UNSET
    group_column: str | UnsetType = UNSET
    time_column: str | UnsetType = UNSET
    series_column: str | UnsetType = UNSET
    horizon: int | UnsetType = UNSET
    frequency: str | UnsetType = UNSET


class _Standing(TypedDict):
    rank: int | None
    model_name: str
    label: str
    algorithm: str
    cv_mean: float | None
    cv_std: float | None
    fit_seconds: float | None
    predict_ms_per_row: float | None
    size_bytes: int | None
    status: CandidateStatus
    reason: str | None
    score_low: float | None
    score_high: float | None
    tied_with_best: bool | None


class LeaderboardRow(_Standing, total=False):
    """One model. Every metric of the task type is there, between `algorithm` and `cv_mean`, null where it is
    undefined; those of other task types are not. `score_low`, `score_high`: the bootstrap interval around
    `cv_mean`. `tied_with_best`: whether the interval of the difference to the best contains zero; null for
    the best itself and where it is unknown. Of an ensemble, `fit_seconds`, `predict_ms_per_row` and
    `size_bytes` are those of all its members together."""

    accuracy: float | None
    balanced_accuracy: float | None
    f1_macro: float | None
    f1_weighted: float | None
    precision_macro: float | None
    recall_macro: float | None
    roc_auc: float | None
    average_precision: float | None
    log_loss: float | None
    matthews_corrcoef: float | None
    brier: float | None
    r2: float | None
    rmse: float | None
    mae: float | None
    mape: float | None
    median_absolute_error: float | None
    max_error: float | None
    explained_variance: float | None
    mase: float | None
    smape: float | None
    wape: float | None
    rmsse: float | None


class Results(Struct, kw_only=True):
    """Filled while the run goes on: before it is planned, the leaderboard is empty and `schema` null.

    `leaderboard`: one row a model, best first.
    `importance`, `uncertainty` and, for a regression, `intervals` (prediction intervals): by model_name.
    `forecast`: the best model's, for time series.
    """

    task_id: uuid.UUID
    status: TaskStatus
    metric: str | None
    greater_is_better: dict[str, bool]
    leaderboard: list[LeaderboardRow]
    plots: list[ResultPlot]
    importance: dict[str, list[FeatureImportance]]
    uncertainty: dict[str, ScoreInterval]
    intervals: dict[str, Intervals]
    schema: ResultSchema | None
    warnings: list[Notice]
    forecast: list[ForecastPoint] | UnsetType = UNSET


def compose(task_id: uuid.UUID, task: Any, candidates: Sequence[Any]) -> Results:
    """`task`: a row of `tasks.results`; `candidates`: rows of `candidates.of_task`."""
    plan = plan_of(task["plan"])
    outcomes = {
        row["model_name"]: row["outcome"]
        for row in candidates
        if row["status"] == CandidateStatus.DONE and row["outcome"] is not None
    }
    spreads = leaderboard.uncertainties(outcomes)
    board = ranked(candidates, plan)
    if plan is not None:
        board = leaderboard.marked(board, spreads, plan.metric, plan.task_type)
    best = leaderboard.best(board)
    ordered = [row.model_name for row in board if row.model_name in outcomes]
    forecast = outcomes.get(best.model_name, {}).get("forecast") if best is not None else None
    return Results(
        task_id=task_id,
        status=TaskStatus(task["status"]),
        metric=plan.metric if plan else None,
        greater_is_better=METRICS[plan.task_type] if plan else {},
        leaderboard=[cast(LeaderboardRow, row.flat()) for row in board],
        plots=[plot for name in ordered for plot in _plots(task_id, name, outcomes[name])],
        importance={
            name: msgspec.convert(outcomes[name]["importance"], list[FeatureImportance])
            for name in ordered
            if outcomes[name].get("importance")
        },
        uncertainty={
            name: ScoreInterval(
                level=spread.level,
                rows=spread.rows,
                validation=_pair(spread.low, spread.high),
                held_out=_pair(spread.held_out_low, spread.held_out_high),
            )
            for name in ordered
            if (spread := spreads.get(name)) is not None
        },
        intervals={
            name: msgspec.convert(outcomes[name]["intervals"], Intervals)
            for name in ordered
            if outcomes[name].get("intervals")
        },
        schema=_schema(plan) if plan else None,
        warnings=msgspec.convert(task["warnings"], list[Notice]),
        forecast=msgspec.convert(forecast, list[ForecastPoint]) if forecast else UNSET,
    )


def _plots(task_id: uuid.UUID, name: str, outcome: dict[str, Any]) -> list[ResultPlot]:
    return [
        ResultPlot(
            model_name=name,
            kind=PlotKind(plot["kind"]),
            data=plot["data"],
            svg_url=f"/ml/plots/{task_id}/{name}/{plot['kind']}.svg",
        )
        for plot in outcome.get("plots", [])
        # a newer trainer may draw what this API does not know yet
        if plot["kind"] in _PLOT_KINDS
    ]


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _schema(plan: Plan) -> ResultSchema:
    fields = ("labels", "group_column", "time_column", "series_column", "horizon", "frequency")
    given = {name: value for name in fields if (value := getattr(plan, name)) is not None}
    return ResultSchema(
        task_type=plan.task_type,
        target=plan.target,
        columns=[ColumnRole(name=name, role=role) for name, role in plan.roles.items()],
        **given,
    )
