"""What to do with a request on a table: task type, roles, split, models, or every reason why not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from services.trainer import cluster as clusters
from services.trainer import (
    leakage,
    leakage_together,
    plan_folds,
    series,
    split,
    table,
    table_copies,
    table_room,
)
from shared.check_request import USELESS, check_request, task_type_of
from shared.contracts.catalogue import ENSEMBLES, HEADLINE, MODELS
from shared.contracts.files import Profile
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import CannotTrain, InvalidRequest

CHEAP_FIRST = [
    *("seasonal_naive", "seasonal_window_average", "croston", "tsb"),
    *("dynamic_optimized_theta", "auto_ets", "mstl", "auto_theta"),
    *("naive_bayes", "ridge", "elastic_net", "logistic_regression"),
    *("lightgbm", "hist_gradient_boosting", "xgboost", "catboost", "random_forest", "extra_trees"),
    *("k_nearest_neighbors", "mlp", "auto_ces", "auto_arima"),
    *ENSEMBLES,
]
"""So that the leaderboard fills at once, and the time budget runs out on the dear ones."""

MOST_OF_A_KIND = 20
"""Warnings of one code that are listed one by one; more are told in one."""

ARIMA_BUDGET_S = 30
"""From so many seconds on an ARIMA is searched for few short series without being asked for."""


def plan(
    path: Path,
    request: TrainRequest,
    profile: Profile,
    memory_bytes: int | None = None,
    *,
    cluster: bool = False,
) -> Plan:
    """Decide all that the fits of a task share. `path`: the decoded table; `profile`: of that table;
    `memory_bytes`: the guard of one fit, under which a table that is too large is sampled; `cluster`: whether
    there is one, on which some models learn from all of its rows.

    Raises InvalidRequest with every fault that the request and the profile show, CannotTrain for what only
    the rows show. Lines in messages are those of a CSV file with one line a row: the header is line 1.
    """
    faults = check_request(request, table.column_names(path), profile)
    if faults:
        raise InvalidRequest(faults)
    task_type = task_type_of(request, profile)
    assert task_type is not None  # a target of no type is one of the faults
    if task_type is TaskType.TIME_SERIES:
        return _series_plan(path, request, profile)
    return _table_plan(path, request, profile, task_type, memory_bytes, cluster)


def _table_plan(
    path: Path,
    request: TrainRequest,
    profile: Profile,
    task_type: TaskType,
    memory_bytes: int | None,
    cluster: bool,
) -> Plan:
    wanted = [name for name in (request.target, request.group_column) if name is not None]
    whole = table.load(path, wanted)
    y, rows = _target(whole, request.target, task_type)
    warnings = _missing_target(request.target, len(whole), len(rows))
    part = _share(path, request, profile, task_type, memory_bytes)
    if part is not None and part.rows is not None:
        whole[request.target] = table_room.undrawn_masked(whole[request.target], path, part)
        y, rows = _target(whole, request.target, task_type)
        warnings.append(part.notice(len(rows)))
    models = _models(request, task_type)
    wide = sorted(clusters.SPREAD & set(models)) if cluster and part is not None and part.rows else []
    if wide:
        warnings.append(clusters.notice(wide, len(whole)))
    groups = None
    if request.group_column is not None:
        groups = rows[request.group_column].to_numpy()
        warnings += _missing_groups(request.group_column, rows[request.group_column])
    in_use = leakage_together.together(
        path,
        request,
        profile,
        _roles(request, profile),
        np.flatnonzero(whole[request.target].notna()),
        y,
        groups,
    )
    y, groups = in_use.y, in_use.groups
    try:
        train, test = split.holdout(y, groups, task_type, request.test_size, request.seed)
    except ValueError as error:
        raise CannotTrain(f"the rows cannot be split: {error}") from error
    cv_folds, fold_warnings = plan_folds.folds(request, task_type, y, groups, train, test)
    guarded = leakage.guard(path, request, profile, _roles(request, profile), in_use, train, test, task_type)
    details: dict[str, Any] = {"train_rows": len(train), "test_rows": len(test)}
    if part is not None:
        details[table_room.DETAIL] = msgspec.to_builtins(part)
    if wide:
        details[clusters.DETAIL] = wide
    if in_use.rule is not None:
        details[table_copies.DETAIL] = msgspec.to_builtins(in_use.rule)
    return Plan(
        task_type=task_type,
        target=request.target,
        metric=request.metric or HEADLINE[task_type],
        roles=guarded.roles,
        models=models,
        rows=len(y),
        test_size=request.test_size,
        cv_folds=cv_folds,
        seed=request.seed,
        refit=request.refit,
        split_digest=split.digest(test),
        deadline_s=request.time_budget_s,
        labels=_labels(y, len(rows) < len(whole)) if task_type is TaskType.CLASSIFICATION else None,
        group_column=request.group_column,
        warnings=[
            *warnings,
            *fold_warnings,
            *guarded.warnings,
            *_about_columns(request, profile, guarded.settled),
        ],
        details=details,
    )


def _share(
    path: Path, request: TrainRequest, profile: Profile, task_type: TaskType, memory_bytes: int | None
) -> table_room.Share | None:
    """What of the table the fits load; None where that is all of it, as it is."""
    if memory_bytes is None:
        return None
    columns = [*_roles(request, profile), request.target, *filter(None, [request.group_column])]
    classes = task_type is TaskType.CLASSIFICATION
    part = table_room.share(
        path,
        columns,
        request.target,
        classes=classes,
        memory_bytes=memory_bytes,
        seed=request.seed,
        width=table_room.matrix_columns(column for column in profile.columns if column.name in columns),
    )
    return part if part.narrow else None


def _series_plan(path: Path, request: TrainRequest, profile: Profile) -> Plan:
    assert request.time_column is not None  # its absence is one of the faults
    used = [c.name for c in profile.columns if c.name not in request.exclude_columns]
    whole = table.load(path, used)
    facts = _series_facts(whole, request)
    gone, leaks = leakage.guard_series(whole, request, facts.known, facts.horizon)
    if gone:
        facts = _series_facts(whole.drop(columns=gone), request)
    return Plan(
        task_type=TaskType.TIME_SERIES,
        target=request.target,
        metric=request.metric or HEADLINE[TaskType.TIME_SERIES],
        roles=facts.roles,
        models=_series_models(request, facts),
        rows=profile.rows,
        test_size=request.test_size,
        cv_folds=request.cv_folds,
        seed=request.seed,
        refit=request.refit,
        split_digest=facts.split_digest,
        deadline_s=request.time_budget_s,
        time_column=request.time_column,
        series_column=request.series_column,
        horizon=facts.horizon,
        frequency=facts.frequency,
        season_length=facts.season_length,
        warnings=[*leaks, *facts.warnings],
        details=facts.details(),
    )


def _series_facts(frame: pd.DataFrame, request: TrainRequest) -> series.SeriesFacts:
    assert request.time_column is not None
    return series.describe(
        frame,
        request.time_column,
        request.series_column,
        request.target,
        request.horizon,
        request.cv_folds,
    )


def _target(whole: pd.DataFrame, target: str, task_type: TaskType) -> tuple[np.ndarray, pd.DataFrame]:
    """The target's values and the rows that have one. Raises CannotTrain naming lines and values."""
    rows = split.with_target(whole, target)
    y = split.target_values(rows, target, task_type)
    lines = np.flatnonzero(whole[target].notna()) + 2
    given = rows[target]
    if task_type is TaskType.REGRESSION:
        _refuse(np.isnan(y), lines, given, f"regression needs numbers; column {target!r} holds")
    if y.dtype.kind == "f":
        _refuse(np.isinf(y), lines, given, f"column {target!r} is infinite:")
    if len(pd.unique(y)) < 2:
        raise CannotTrain(f"column {target!r} has one value in every row: {plan_folds.shown(given.iloc[0])}")
    return y, rows


def _refuse(bad: np.ndarray, lines: np.ndarray, given: pd.Series, said: str) -> None:
    at = np.flatnonzero(bad)
    if not len(at):
        return
    named = ", ".join(f"{str(given.iloc[i])[:60]!r} in line {lines[i]}" for i in at[: plan_folds.MOST_NAMED])
    more = f" and {len(at) - plan_folds.MOST_NAMED:,} more" if len(at) > plan_folds.MOST_NAMED else ""
    raise CannotTrain(f"{said} {named}{more}")


def _labels(y: np.ndarray, rows_dropped: bool) -> list[str]:
    """The classes as text, in the order in which scikit-learn sorts them."""
    if y.dtype == object:
        return sorted({str(value) for value in y})
    if y.dtype.kind != "f":
        return [str(value) for value in np.unique(y)]
    if not (y == np.floor(y)).all():  # fractions are handled as text
        return sorted({str(value) for value in y})
    # beside missing values pandas reads 0 and 1 as 0.0 and 1.0
    return [str(int(value)) if rows_dropped else str(value) for value in np.unique(y)]


def _roles(request: TrainRequest, profile: Profile) -> dict[str, str]:
    taken = {request.target, request.group_column, *request.exclude_columns}
    return {c.name: c.role for c in profile.columns if c.name not in taken and c.role not in USELESS}


def _models(request: TrainRequest, task_type: TaskType) -> list[str]:
    defaults = [slug for slug, choice in MODELS[task_type].items() if choice.default]
    return sorted(request.models or defaults, key=CHEAP_FIRST.index)


def _series_models(request: TrainRequest, facts: series.SeriesFacts) -> list[str]:
    """The models that were named, or the defaults and those that series of this kind call for; and always
    the one that every other has to be ahead of."""
    chosen = set(_models(request, TaskType.TIME_SERIES)) | {"seasonal_naive"}
    if request.models is None:
        chosen |= {"mstl"} if len(facts.seasons) > 1 else set()
        chosen |= {"croston", "tsb", "seasonal_window_average"} if facts.intermittent else set()
        chosen |= {"auto_arima"} if facts.small and request.time_budget_s >= ARIMA_BUDGET_S else set()
    return sorted(chosen, key=CHEAP_FIRST.index)


def _missing_target(target: str, rows: int, present: int) -> list[Notice]:
    if present == rows:
        return []
    return [
        Notice(
            code="missing-target",
            column=target,
            message=f"{rows - present:,} of {rows:,} rows have no {target!r}.",
            evidence=f"{(rows - present) / rows:.1%} of the rows",
            action="They are left out.",
        )
    ]


def _missing_groups(group: str, values: pd.Series) -> list[Notice]:
    missing = int(values.isna().sum())
    if not missing:
        return []
    return [
        Notice(
            code="missing-group",
            column=group,
            message=f"{missing:,} rows have no {group!r}.",
            evidence=f"{missing / len(values):.1%} of the rows",
            action="They are one group together.",
        )
    ]


def _about_columns(
    request: TrainRequest, profile: Profile, settled: Collection[tuple[str, str | None]]
) -> list[Notice]:
    """The profile's warnings of the columns in use, less what the leakage guard has said better (`settled`:
    code and column); many of one code are told in one."""
    unused = {*request.exclude_columns, request.group_column}
    told = [
        notice
        for notice in profile.warnings
        if notice.column not in unused and (notice.code, notice.column or None) not in settled
    ]
    by_code: dict[str, list[Notice]] = {}
    for notice in told:
        by_code.setdefault(notice.code, []).append(notice)
    made: list[Notice] = []
    for code, notices in by_code.items():
        if len(notices) <= MOST_OF_A_KIND:
            made += notices
            continue
        names = ", ".join(repr(notice.column) for notice in notices[:MOST_OF_A_KIND])
        made.append(
            Notice(
                code=code,
                message=f"{len(notices)} columns, such as the first: {notices[0].message}",
                evidence=f"{names} and {len(notices) - MOST_OF_A_KIND} more",
                action=notices[0].action,
            )
        )
    return made
