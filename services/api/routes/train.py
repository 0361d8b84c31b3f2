"""Training: asking for a run, watching it, forgetting it."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import Body, HeaderParameter, QueryParameter

from services.api.auth import Identity
from services.api.context import Context, TaskId, parse_id
from services.api.paging import Cursor, Limit, Page, after_id, id_cursor
from services.api.problems import responses
from shared.check_request import check_request
from shared.contracts import (
    MODELS,
    TERMINAL,
    File,
    JobKind,
    ModelChoice,
    Profile,
    Task,
    TaskStatus,
    TaskType,
    TrainRequest,
    uuid7,
)
from shared.db import files, jobs, tasks
from shared.db.pool import Connection
from shared.errors import FileNotFound, InvalidRequest, MalformedRequest, TaskNotFound, UnsupportedMedia
from shared.queue import hint

log = structlog.get_logger(__name__)

LONGEST_NAME = 200
LONGEST_WAIT_S = 60

_TAG = re.compile(r'(?:W/)?"([^"]*)"')

_EXAMPLES = [
    Example(
        id="plain",
        summary="Only what is required",
        value={"file_id": "0198c2f0-6c1e-7cc1-8d6c-0c4b3c0a9d11", "target": "species"},
    ),
    Example(
        id="series",
        summary="A time series",
        value={
            "file_id": "0198c2f0-6c1e-7cc1-8d6c-0c4b3c0a9d11",
            "target": "passengers",
            "task_type": "time_series",
            "time_column": "month",
            "horizon": 12,
            "time_budget_s": 120,
        },
    ),
]


@post(
    "/train",
    status_code=202,
    summary="Train models on a file",
    responses=responses(MalformedRequest, UnsupportedMedia, FileNotFound, InvalidRequest),
)
async def train(
    data: Annotated[TrainRequest, Body(examples=_EXAMPLES)],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> Response[Task]:
    """Answers at once; the run is watched at `Location`. What cannot be trained is refused with every
    reason, where the file's profile already tells."""
    task_id = uuid7()
    async with api.db.transaction(user.user_id) as c:
        file = await files.get(c, user.user_id, data.file_id)
        if file is None:
            raise FileNotFound
        await _refuse_untrainable(c, user.user_id, data)
        name = data.name or _default_name(file, data.target)
        if not await tasks.insert(c, task_id=task_id, user_id=user.user_id, request=data, name=name):
            raise FileNotFound
        job_id = await jobs.insert(c, JobKind.PLAN, task_id, user.user_id)
        task = await tasks.get(c, user.user_id, task_id)
    await hint(api.redis, [(JobKind.PLAN, job_id)])
    if task is None:
        raise TaskNotFound
    log.info("task queued", task_id=str(task_id))
    return Response(task, headers={"Location": f"/ml/status/{task_id}", "Retry-After": "1"})


async def _refuse_untrainable(c: Connection, user_id: uuid.UUID, request: TrainRequest) -> None:
    row = await files.profile(c, user_id, request.file_id)
    if row is not None and row["status"] == "failed":
        raise InvalidRequest([("/file_id", f"the table cannot be read: {row['error']}")])
    if row is not None and row["status"] == "ready":
        profile = msgspec.convert(row["profile"], Profile)
        faults = check_request(request, [column.name for column in profile.columns], profile)
    else:
        # which columns there are is not known yet: take those that are named for granted
        faults = check_request(request, _named_columns(request), None)
    if faults:
        raise InvalidRequest(list(faults))


def _named_columns(request: TrainRequest) -> list[str]:
    special = (request.target, request.group_column, request.time_column, request.series_column)
    return [name for name in (*special, *request.exclude_columns) if name is not None]


def _default_name(file: File, target: str) -> str:
    name = f"{file.name}: {target}"
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


@get("/models", summary="What can be asked for in `models`", responses=responses(InvalidRequest))
async def list_choices(
    task_type: Annotated[TaskType | None, QueryParameter(description="Only this task type's")] = None,
) -> Page[ModelChoice]:
    """All of one task type are tried where `models` is null."""
    kinds = [task_type] if task_type is not None else list(MODELS)
    return Page(items=[choice for kind in kinds for choice in MODELS[kind].values()], next_cursor=None)


@get(
    "/status/{task_id:str}",
    summary="How a run is getting on",
    responses=responses(TaskNotFound, InvalidRequest)
    | {304: ResponseSpec(None, generate_examples=False, description="Nothing changed since that ETag")},
)
async def status(
    task_id: TaskId,
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    if_none_match: Annotated[
        str | None, HeaderParameter(name="If-None-Match", description="The ETag seen last")
    ] = None,
    wait: Annotated[
        float,
        QueryParameter(
            ge=0,
            le=LONGEST_WAIT_S,
            description="Seconds to wait for a change relative to If-None-Match or, without it, to now",
        ),
    ] = 0,
) -> Response[Task | None]:
    """A weak ETag grows with every change; `Retry-After` is there while the run has not ended."""
    parsed = parse_id(task_id, TaskNotFound)
    if if_none_match is not None or wait:
        seen = await _seen(api, user, parsed)
        same = if_none_match is None or _matches(if_none_match, seen["version"])
        if wait and same and not _ended(seen):
            await api.watches.changed(user.user_id, parsed, seen["version"], wait)
            seen = await _seen(api, user, parsed)
        if if_none_match is not None and _matches(if_none_match, seen["version"]):
            return Response(None, status_code=304, headers=_headers(seen["version"], _ended(seen)))
    async with api.db.connection() as c:
        task = await tasks.get(c, user.user_id, parsed)
    if task is None:
        raise TaskNotFound
    return Response(task, headers=_headers(task.version, task.status in TERMINAL))


async def _seen(api: Context, user: Identity, task_id: uuid.UUID) -> Any:
    async with api.db.connection() as c:
        row = await tasks.version(c, user.user_id, task_id)
    if row is None:
        raise TaskNotFound
    return row


def _ended(row: Any) -> bool:
    return TaskStatus(row["status"]) in TERMINAL


def _matches(if_none_match: str, version: int) -> bool:
    """Weak comparison (RFC 9110, section 8.8.3.2)."""
    return if_none_match.strip() == "*" or str(version) in _TAG.findall(if_none_match)


def _headers(version: int, ended: bool) -> dict[str, str]:
    headers = {"ETag": f'W/"{version}"', "Cache-Control": "private, no-cache"}
    return headers if ended else headers | {"Retry-After": "1"}


@get("/tasks", summary="My runs, newest first", responses=responses(InvalidRequest))
async def list_tasks(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[TaskStatus | None, QueryParameter(description="Only runs in this state")] = None,
) -> Page[Task]:
    """A page of the user's runs, only those of one status where it is given."""
    before = after_id(cursor)
    async with api.db.transaction(user.user_id) as c:
        items = await tasks.page(c, user.user_id, limit=limit + 1, before=before, status=status)
    more = len(items) > limit
    items = items[:limit]
    return Page(items=items, next_cursor=id_cursor(items[-1].task_id) if more else None)


@delete("/tasks/{task_id:str}", summary="Delete a run", responses=responses(TaskNotFound))
async def delete_task(
    task_id: TaskId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> None:
    """The run and everything it made go; one that has not ended stops. Saved models stay."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        if not await tasks.mark_deleted(c, user.user_id, parsed):
            raise TaskNotFound
        job_id = await jobs.insert(c, JobKind.PURGE, parsed, user.user_id)
    await hint(api.redis, [(JobKind.PURGE, job_id)])


router = Router(
    path="/ml", route_handlers=[train, list_choices, status, list_tasks, delete_task], tags=["Training"]
)
