"""What is wrong with a training request, as far as the table's profile tells: every fault, not the first.

The API asks at POST time, so that a request that cannot be trained is refused at once; the plan asks again
with the table at hand. No I/O and nothing but the contracts.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from shared.contracts.catalogue import ENSEMBLES, METRICS, MODELS
from shared.contracts.files import ColumnProfile, Profile
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest

LEAST_ROWS = 10
"""Rows with a target below which nothing can be held out and validated."""

LEAST_HELD_OUT = 2
"""One row alone has no variance: r2 would be undefined."""

MOST_CLASSES = 20
"""A column of whole numbers with more distinct values than this is a quantity, not a class."""

LEAST_MEMBERS = 2
"""Models that an ensemble is made of at least."""

USELESS = {"constant": "constant", "empty": "empty", "identifier": "an identifier"}
"""Roles that are no feature → how a message says it."""

Fault = tuple[str, str]
"""(JSON pointer into the request, what is wrong there)."""

_NUMERIC_DTYPES = ("int", "uint", "float")


def by_slug(request: TrainRequest) -> TrainRequest:
    """`request` with the models it asks for by label, or in other letters, under their slugs; one that is
    not known stays as it is, for `check_request` to name."""
    if request.models is None:
        return request
    known = {choice.label.casefold(): slug for of_kind in MODELS.values() for slug, choice in of_kind.items()}
    known |= {slug: slug for of_kind in MODELS.values() for slug in of_kind}
    return replace(request, models=[known.get(name.strip().casefold(), name) for name in request.models])


def check_request(request: TrainRequest, columns: Sequence[str], profile: Profile | None) -> list[Fault]:
    """All faults of `request` on a table with these columns, one a pointer; empty where it can be tried.

    Without a profile only names are checked.
    """
    found: dict[str, str] = {}
    for pointer, said in _faults(request, columns, profile):
        found.setdefault(pointer, said)  # the first is what the others follow from
    return list(found.items())


def _faults(request: TrainRequest, columns: Sequence[str], profile: Profile | None) -> list[Fault]:
    described = {} if profile is None else {column.name: column for column in profile.columns}
    target = described.get(request.target)
    task_type = task_type_of(request, profile)
    faults = [*_names(request, columns), *_task_fields(request, task_type), *_choices(request, task_type)]
    if profile is None or target is None:
        return faults
    faults += _target(request, target, profile.rows, task_type)
    faults += _special_columns(request, described)
    if task_type is TaskType.TIME_SERIES:
        faults += _horizon(request, described, profile.rows)
    else:
        faults += _amounts(request, described, profile.rows)
        faults += _features(request, described)
    return faults


def task_type_of(request: TrainRequest, profile: Profile | None) -> TaskType | None:
    """The task type asked for or, for "auto", the one that the time column or the target calls for.

    None where that cannot be told: without a profile, or for a target that is neither.
    """
    if request.task_type != "auto":
        return TaskType(request.task_type)
    if request.time_column is not None:
        return TaskType.TIME_SERIES
    if profile is None:
        return None
    target = next((column for column in profile.columns if column.name == request.target), None)
    return None if target is None else suggested_task_type(target, profile.rows)[0]


def suggested_task_type(column: ColumnProfile, rows: int) -> tuple[TaskType | None, str]:
    """Classification, regression or, where neither fits, None for a target; and why, as half a sentence."""
    present = rows - column.missing
    if column.role in ("empty", "constant") or column.distinct < 2:
        return None, "it has no two different values"
    if column.role == "datetime":
        return None, "it holds dates"
    if column.role in ("boolean", "categorical", "text"):
        if column.distinct * 2 > present:
            return None, f"it has {column.distinct:,} distinct values in {present:,} rows"
        return TaskType.CLASSIFICATION, f"it has {column.distinct} distinct values that are not numbers"
    if not is_number(column):
        return None, "nearly every row has a value of its own"
    few = column.distinct == 2 or column.distinct <= min(MOST_CLASSES, present / 10)
    if few and _whole(column):
        return TaskType.CLASSIFICATION, f"it has only {column.distinct} distinct whole numbers"
    return TaskType.REGRESSION, f"it holds numbers, {column.distinct:,} distinct ones"


def is_number(column: ColumnProfile) -> bool:
    """Whether its values are numbers, also where they are written as text."""
    return column.role == "numeric" or (
        column.role in ("identifier", "constant") and column.dtype.startswith(_NUMERIC_DTYPES)
    )


def no_such_column(name: str, columns: Sequence[str]) -> str:
    """What to say of a column that the table hasn't, with the names it may have been meant for."""
    lowered = {column.casefold().strip(): column for column in columns}
    near = [lowered[key] for key in difflib.get_close_matches(name.casefold().strip(), lowered, n=3)]
    if near:
        return f"column {_shown(name)} is not in the table; nearest: {', '.join(map(_shown, near))}"
    listed = ", ".join(_shown(column) for column in columns[:8]) + (", …" if len(columns) > 8 else "")
    return f"column {_shown(name)} is not in the table; it has: {listed}"


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")


def _given(request: TrainRequest) -> dict[str, str]:
    """Pointer → column of every field that names one, but for exclude_columns."""
    fields = ("target", "group_column", "time_column", "series_column")
    return {f"/{field}": name for field in fields if (name := getattr(request, field)) is not None}


def _names(request: TrainRequest, columns: Sequence[str]) -> Iterator[Fault]:
    known, used = set(columns), dict[str, str]()
    for pointer, name in _given(request).items():
        if name not in known:
            yield pointer, no_such_column(name, columns)
        elif name in used:
            yield pointer, f"column {_shown(name)} is already the {used[name][1:]}"
        used.setdefault(name, pointer)
    for i, name in enumerate(request.exclude_columns):
        if name not in known:
            yield f"/exclude_columns/{i}", no_such_column(name, columns)
        elif name in used:
            yield f"/exclude_columns/{i}", f"column {_shown(name)} is the {used[name][1:]}"


def _task_fields(request: TrainRequest, task_type: TaskType | None) -> Iterator[Fault]:
    if task_type is TaskType.TIME_SERIES:
        if request.time_column is None:
            yield "/time_column", "a time series needs the column that holds its times"
        if request.group_column is not None:
            yield "/group_column", "time series are split by time: leave it out, or use series_column"
        return
    if request.time_column is not None:
        yield "/time_column", f"only time series have one; task_type is {request.task_type!r}"
    for field in ("series_column", "horizon"):
        if getattr(request, field) is not None:
            yield f"/{field}", "only time series have one: give time_column, or leave it out"


def _choices(request: TrainRequest, task_type: TaskType | None) -> Iterator[Fault]:
    types = [task_type] if task_type else list(TaskType)
    of = f" for {task_type.value}" if task_type else ""
    models = [slug for kind in types for slug in MODELS[kind]]
    metrics = [name for kind in types for name in METRICS[kind]]
    for i, slug in enumerate(request.models or []):
        if slug not in models:
            yield (
                f"/models/{i}",
                f"no model {_shown(slug)}{of}; there are: {', '.join(dict.fromkeys(models))}",
            )
        elif slug in (request.models or [])[:i]:
            yield f"/models/{i}", f"model {slug!r} is asked for twice"
        elif slug in ENSEMBLES and len(set(request.models or []) - set(ENSEMBLES)) < LEAST_MEMBERS:
            yield (
                f"/models/{i}",
                f"model {slug!r} is made of other models: ask for {LEAST_MEMBERS} or more of them beside it",
            )
    if request.metric is not None and request.metric not in metrics:
        known = ", ".join(dict.fromkeys(metrics))
        yield "/metric", f"no metric {_shown(request.metric)}{of}; there are: {known}"


def _target(
    request: TrainRequest, target: ColumnProfile, rows: int, task_type: TaskType | None
) -> Iterator[Fault]:
    name, present = _shown(target.name), rows - target.missing
    if target.role == "empty":
        yield "/target", f"column {name} is empty: no row has a target"
        return
    if target.distinct < 2:
        value = f" ({_shown(target.top[0].value)})" if target.top else ""
        yield "/target", f"column {name} has one value in every row{value}: there is nothing to learn"
        return
    if task_type is None:
        why = suggested_task_type(target, rows)[1]
        yield "/target", f"column {name} is neither classes nor a quantity: {why}"
    elif task_type is TaskType.CLASSIFICATION:
        if target.distinct * 2 > present:
            yield (
                "/target",
                f"column {name} has {target.distinct:,} distinct values in {present:,} rows: "
                "too few rows a class",
            )
    elif not is_number(target):
        example = f", such as {_shown(target.top[0].value)}" if target.top else ""
        yield "/target", f"{task_type.value} needs numbers; column {name} holds {_kind(target)}{example}"


def _special_columns(request: TrainRequest, described: dict[str, ColumnProfile]) -> Iterator[Fault]:
    for pointer, name in _given(request).items():
        column = described.get(name)
        if pointer != "/target" and column is not None and column.role == "empty":
            yield pointer, f"column {_shown(name)} is empty"
    time = described.get(request.time_column or "")
    if time is not None and time.role == "constant":
        yield "/time_column", f"column {_shown(time.name)} holds the same time in every row"


def _horizon(request: TrainRequest, described: dict[str, ColumnProfile], rows: int) -> Iterator[Fault]:
    """Nothing can be forecast further than it is known: of a part of that it is left to the plan."""
    series = described.get(request.series_column or "")
    many = max(1, series.distinct) if series is not None else 1
    known = (rows - described[request.target].missing) // many
    if request.horizon is not None and request.horizon >= known > 0:
        of = f"the shortest of {many:,} series has at most" if many > 1 else "the series has at most"
        yield (
            "/horizon",
            f"a horizon of {request.horizon:,} is too far: {of} {known:,} values of {_shown(request.target)}",
        )


def _amounts(request: TrainRequest, described: dict[str, ColumnProfile], rows: int) -> Iterator[Fault]:
    target = described[request.target]
    present = rows - target.missing
    if target.role == "empty":
        return
    if present < LEAST_ROWS:
        missing = f" ({target.missing:,} of {rows:,} rows lack it)" if target.missing else ""
        yield (
            "/target",
            f"{present} rows have a value in {_shown(target.name)}{missing}; "
            f"at least {LEAST_ROWS} are needed",
        )
        return
    held = math.ceil(present * request.test_size)
    if held < LEAST_HELD_OUT:
        yield (
            "/test_size",
            f"{request.test_size:g} of {present} rows leaves {held} to score on; at least {LEAST_HELD_OUT}",
        )
    elif present - held < 2 * LEAST_HELD_OUT:
        yield (
            "/test_size",
            f"{request.test_size:g} of {present} rows leaves {present - held} to train on; at least 4",
        )
    group = described.get(request.group_column or "")
    if group is not None and group.role != "empty":
        groups = group.distinct + bool(group.missing)
        if groups < request.cv_folds + 1:
            yield (
                "/group_column",
                f"column {_shown(group.name)} has {groups} groups; {request.cv_folds} folds and "
                f"a held-out part need at least {request.cv_folds + 1}"
                + (f" (cv_folds can be {groups - 1} at most)" if groups > 2 else ""),
            )


def _features(request: TrainRequest, described: dict[str, ColumnProfile]) -> Iterator[Fault]:
    taken = {*_given(request).values(), *request.exclude_columns}
    others = [column for name, column in described.items() if name not in taken]
    if any(column.role not in USELESS for column in others):
        return
    why = "; ".join(f"{_shown(column.name)} is {USELESS[column.role]}" for column in others[:8])
    pointer = "/exclude_columns" if request.exclude_columns else "/target"
    yield pointer, "no feature column is left" + (f": {why}" if why else "")


def _kind(column: ColumnProfile) -> str:
    return {"boolean": "true and false", "datetime": "dates"}.get(column.role, "text")


def _whole(column: ColumnProfile) -> bool:
    """Whether its values are whole numbers; `top` lists all of them where they are few."""
    if column.dtype.startswith(("int", "uint")):
        return True
    try:
        return bool(column.top) and all(float(entry.value).is_integer() for entry in column.top or [])
    except (TypeError, ValueError):
        return False
