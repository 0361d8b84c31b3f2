"""Training: asking for a run, stopping it, going on with it, forgetting it."""

from __future__ import annotations

import contextlib
import uuid
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api.answers import LOCATION, REPLAYED, RETRY_AFTER, answer
from services.api.audit import record
from services.api.auth import Identity
from services.api.body import ALSO_FAULTY
from services.api.context import Context, TaskId, parse_id
from services.api.idempotency import Once
from services.api.paging import Cursor, Limit, Page, after_id, id_cursor
from services.api.problems import responses
from services.api.quotas import room_for_a_run
from shared import needs
from shared.check_request import by_slug, check_request
from shared.contracts.accounts import AuditAction
from shared.contracts.catalogue import MODELS, ModelChoice
from shared.contracts.files import File, Profile
from shared.contracts.states import TERMINAL, JobKind, TaskStatus, TaskType, uuid7
from shared.contracts.training import Task, TrainRequest
from shared.db import files, jobs, tasks
from shared.db.pool import Connection
from shared.errors import (
    Conflict,
    DatabaseUnavailable,
    FileNotFound,
    InvalidRequest,
    KeyInUse,
    KeyReused,
    MalformedRequest,
    QuotaExceeded,
    TaskNotFound,
    TooLarge,
    UnsupportedMedia,
)

log = structlog.get_logger(__name__)

LONGEST_NAME = 200

ACCEPTED = {
    202: answer(
        Task, "The run as it is now; watch it at Location", LOCATION, f"{RETRY_AFTER}?", f"{REPLAYED}?"
    )
}


async def _also_faulty(request: Request[Identity, Any, Any], sound: dict[str, Any]) -> list[tuple[str, str]]:
    """What the file's profile says of the fields that have no fault of form."""
    if "file_id" not in sound:
        return []
    asked = by_slug(msgspec.convert({"target": "any", **sound}, TrainRequest))
    if "target" not in sound:  # no column has such a name: nothing more is said of the target
        asked = msgspec.structs.replace(asked, target="")
    user_id = request.user.user_id
    with contextlib.suppress(DatabaseUnavailable):
        async with request.app.state.context.db.transaction(user_id) as c:
            try:
                await _refuse_untrainable(c, user_id, asked)
            except InvalidRequest as error:
                return [fault for fault in error.errors if asked.target or fault[0] != "/target"]
    return []


@post(
    "/train",
    status_code=202,
    opt={ALSO_FAULTY: _also_faulty},
    summary="Train models on a file",
    responses=responses(
        MalformedRequest,
        UnsupportedMedia,
        TooLarge,
        FileNotFound,
        InvalidRequest,
        KeyInUse,
        KeyReused,
        QuotaExceeded,
    )
    | ACCEPTED,
)
async def train(
    data: JSONBody[TrainRequest],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    once: NamedDependency[Once],
) -> Response[Task]:
    """Answers at once; the run is watched at `Location`. What cannot be trained is refused with every
    reason, where the file's profile already tells. `models` are asked for by slug or label."""
    data = by_slug(data)
    task_id = uuid7()
    async with api.db.transaction(user.user_id) as c:
        if (known := await once.replay(c)) is not None:
            return known
        await room_for_a_run(api, c, user.user_id)
        file = await files.get(c, user.user_id, data.file_id)
        if file is None:
            raise FileNotFound
        await _refuse_untrainable(c, user.user_id, data)
        name = data.name or _default_name(file, data.target)
        held = await files.hold(c, user.user_id, data.file_id)
        if not held or not await tasks.insert(
            c, task_id=task_id, user_id=user.user_id, request=data, name=name
        ):
            raise FileNotFound
        job_id = await jobs.insert(c, JobKind.PLAN, task_id, user.user_id, needs=needs.of_request(data))
        await record(c, user, AuditAction.RUN_STARTED, task_id, name=name, file_id=str(data.file_id))
        answer = await _accepted(api, c, user.user_id, task_id, once)
    await api.changed(task_id, (JobKind.PLAN, job_id))
    log.info("task queued", task_id=str(task_id))
    return answer


async def _accepted(
    api: Context, c: Connection, user_id: uuid.UUID, task_id: uuid.UUID, once: Once
) -> Response[Task]:
    task = await tasks.get(c, user_id, task_id)
    if task is None:
        raise TaskNotFound
    if task.status is TaskStatus.QUEUED:
        place = await api.places.of(c, user_id, task_id, if_cheap=True)
        if place is not None:
            task.queue_position = place
    headers = {"Location": f"/ml/status/{task_id}"}
    return await once.answer(c, task, headers if task.status in TERMINAL else headers | {"Retry-After": "1"})


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
async def list_model_choices(
    task_type: Annotated[TaskType | None, QueryParameter(description="Only this task type's")] = None,
) -> Page[ModelChoice]:
    """All of one task type are tried where `models` is null."""
    kinds = [task_type] if task_type is not None else list(MODELS)
    return Page(items=[choice for kind in kinds for choice in MODELS[kind].values()], next_cursor=None)


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


@post(
    "/cancel/{task_id:str}",
    status_code=202,
    summary="Stop a run",
    responses=responses(TaskNotFound, Conflict, KeyInUse, KeyReused, InvalidRequest) | ACCEPTED,
)
async def cancel_task(
    task_id: TaskId,
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    once: NamedDependency[Once],
) -> Response[Task]:
    """Work stops within seconds, and the run is then `cancelled`; models that are done stay, and can be
    downloaded and saved. Asking again while it stops changes nothing; 409 for a run that has ended."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        if (known := await once.replay(c)) is not None:
            return known
        if (seen := await tasks.version(c, user.user_id, parsed)) is None:
            raise TaskNotFound
        if await tasks.request_cancel(c, user.user_id, parsed) is None:
            raise Conflict(f"The run has ended already: it is {seen['status']}")
        job_id = await jobs.insert(c, JobKind.FINISH, parsed, user.user_id)
        await record(c, user, AuditAction.RUN_CANCELLED, parsed)
        answer = await _accepted(api, c, user.user_id, parsed, once)
    await api.changed(parsed, (JobKind.FINISH, job_id))
    log.info("cancel requested", task_id=task_id)
    return answer


@post(
    "/resume/{task_id:str}",
    status_code=202,
    summary="Go on with a run",
    responses=responses(TaskNotFound, Conflict, KeyInUse, KeyReused, InvalidRequest, QuotaExceeded)
    | ACCEPTED,
)
async def resume_task(
    task_id: TaskId,
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    once: NamedDependency[Once],
) -> Response[Task]:
    """A run that failed or was cancelled is queued again, with its whole time budget: models that are
    done stay as they are, the others are tried (again). 409 for a run in another state, and where the
    file that it reads was deleted."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        if (known := await once.replay(c)) is not None:
            return known
        await room_for_a_run(api, c, user.user_id)
        task = await tasks.results(c, user.user_id, parsed)
        if task is None:
            raise TaskNotFound
        status = TaskStatus(task["status"])
        if status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            raise Conflict(f"Only a run that failed or was cancelled can go on; this one is {status}")
        if task["file_id"] is None or not await files.hold(c, user.user_id, task["file_id"]):
            raise Conflict("The file that the run reads was deleted: upload it and train anew")
        # the job before the task, as workers lock them: the other way round the two could deadlock
        asked = needs.of_request(needs.stored(task["request"]))
        job_id = await jobs.insert_or_lock(c, JobKind.PLAN, parsed, user.user_id, needs=asked)
        if not await tasks.request_resume(c, user.user_id, parsed):
            raise Conflict("The run was changed by another request meanwhile")
        await record(c, user, AuditAction.RUN_RESUMED, parsed)
        answer = await _accepted(api, c, user.user_id, parsed, once)
    await api.changed(parsed, (JobKind.PLAN, job_id))
    log.info("resumed", task_id=task_id)
    return answer


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
        await record(c, user, AuditAction.RUN_DELETED, parsed)
    await api.changed(parsed, (JobKind.PURGE, job_id))


router = Router(
    path="/ml",
    route_handlers=[train, list_model_choices, list_tasks, cancel_task, resume_task, delete_task],
    tags=["Training"],
)
