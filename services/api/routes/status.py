"""Watching a run: polls, long polls, server-sent events. None holds a connection while it waits."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import ServerSentEventMessage, Stream
from msgspec import Meta, Struct

from services.api.answers import BUFFERING, CACHE_CONTROL, ETAG, RETRY_AFTER, answer
from services.api.auth import Identity
from services.api.context import Context, TaskId, parse_id
from services.api.long_poll import Seen
from services.api.problems import responses
from services.api.run_log import MOST_DEEDS, entries
from services.api.tokens import Claims
from shared.contracts.states import TERMINAL, TaskStatus
from shared.contracts.training import RunLog, Task
from shared.db import audit, candidates, tasks
from shared.errors import DatabaseUnavailable, InvalidRequest, TaskNotFound


class TaskEvent(Struct, kw_only=True):
    """One server-sent event: `id` is the run's version, `data` the whole Task as JSON."""

    event: Literal["task"]
    id: Annotated[str, Meta(pattern="^[0-9]+$")]
    data: Annotated[
        str,
        Meta(
            extra_json_schema={
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/Task"},
            }
        ),
    ]


JSON = "application/json"
LONGEST_WAIT_S = 60
HEARTBEAT_S = 15.0
RECONNECT_MS = 1000
"""How long a browser waits before it connects again."""

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


@get(
    "/status/{task_id:str}",
    summary="How a run is getting on",
    responses=responses(TaskNotFound, InvalidRequest)
    | {
        200: answer(Task, "The run", ETAG, CACHE_CONTROL, f"{RETRY_AFTER}?"),
        304: answer(None, "Nothing changed since that ETag", ETAG, CACHE_CONTROL, f"{RETRY_AFTER}?"),
    },
)
async def get_status(
    task_id: TaskId,
    request: Request[Identity, Claims, Any],
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
    """A weak ETag grows with every change; `Retry-After` is there while the run has not ended. While it
    is queued, `queue_position` says how many runs, this one included, begin until it has begun."""
    # nothing is asked for as often as this: what is injected elsewhere is taken from where it is
    api: Context = request.app.state.context
    user, parsed = request.user, parse_id(task_id, TaskNotFound)
    if if_none_match is not None or wait:
        seen = api.watches.fresh(user.user_id, parsed) or await _look(api, user, parsed)
        same = if_none_match is None or _matches(if_none_match, seen.version)
        if wait and same and not seen.ended:
            await api.watches.changed(user.user_id, parsed, seen.version, wait)
            seen = await _look(api, user, parsed)
        if if_none_match is not None and _matches(if_none_match, seen.version):
            return Response(None, status_code=304, headers=_headers(seen))
    key = (user.user_id, parsed)
    view = api.views.get(key)
    if view is not None and (seen := await _look(api, user, parsed)).version == view.version:
        return Response(view.body, media_type=JSON, headers=_headers(seen))  # type: ignore[arg-type]
    task = await _read(api, user, parsed)
    body, seen = msgspec.json.encode(task), Seen(task.version, task.status in TERMINAL)
    api.views.keep(key, seen.version, seen.ended, body)
    return Response(body, media_type=JSON, headers=_headers(seen))  # type: ignore[arg-type]


async def _look(api: Context, user: Identity, task_id: uuid.UUID) -> Seen:
    seen = await api.watches.look(user.user_id, task_id)
    if seen is None:
        raise TaskNotFound
    return seen


async def _read(api: Context, user: Identity, task_id: uuid.UUID) -> Task:
    began = asyncio.get_running_loop().time()
    async with api.db.connection() as c:
        task = await tasks.get(c, user.user_id, task_id)
        if task is None:
            raise TaskNotFound
        if task.status is TaskStatus.QUEUED:
            place = await api.places.of(c, user.user_id, task_id)
            if place is not None:
                task.queue_position = place
    api.watches.remember(user.user_id, task_id, Seen(task.version, task.status in TERMINAL), began)
    return task


def _matches(if_none_match: str, version: int) -> bool:
    """Weak comparison (RFC 9110, section 8.8.3.2)."""
    return if_none_match.strip() == "*" or str(version) in _TAG.findall(if_none_match)


def _headers(seen: Seen) -> dict[str, str]:
    headers = {"ETag": f'W/"{seen.version}"', "Cache-Control": "private, no-cache"}
    return headers if seen.ended else headers | {"Retry-After": "1"}


@get(
    "/events/{task_id:str}",
    summary="A run as server-sent events",
    media_type="text/event-stream",
    responses=responses(TaskNotFound, InvalidRequest)
    | {
        200: answer(
            TaskEvent,
            "Such events, one after another",
            CACHE_CONTROL,
            BUFFERING,
            media_type="text/event-stream",
        ),
        204: answer(None, "The run has ended and Last-Event-ID is its last event: no need to connect again"),
    },
)
async def stream_events(
    task_id: TaskId,
    request: Request[Identity, Claims, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    last_event_id: Annotated[
        str | None,
        HeaderParameter(name="Last-Event-ID", description="The event seen last; an EventSource sends it"),
    ] = None,
) -> Response[Any]:
    """The run as it is now and then whenever it changes; a comment every 15 s shows that the connection
    lives. Ends after the event that tells of the end, and when the token expires."""
    parsed = parse_id(task_id, TaskNotFound)
    task = await _read(api, user, parsed)
    seen = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,18}", last_event_id) else None
    if seen == task.version and task.status in TERMINAL:
        return Response(None, status_code=204)
    expires_at = request.auth.expires_at
    left = expires_at.timestamp() - time.time() if expires_at is not None else float("inf")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold events back
    return Stream(_events(api, user, task, seen, left), media_type="text/event-stream", headers=headers)


async def _events(
    api: Context, user: Identity, task: Task, seen: int | None, seconds: float
) -> AsyncGenerator[bytes, None]:
    """From `task` on, which the client knows already where `seen` is its version."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    yield ServerSentEventMessage(data=None, retry=RECONNECT_MS).encode()
    shown = (seen, task.queue_position)
    while True:
        if (task.version, task.queue_position) != shown:
            yield ServerSentEventMessage(
                data=msgspec.json.encode(task), event="task", id=task.version
            ).encode()
            shown = (task.version, task.queue_position)
        if task.status in TERMINAL:
            return
        try:
            rest = max(min(HEARTBEAT_S, until - clock()), 0)
            if not await api.watches.changed(user.user_id, task.task_id, task.version, rest):
                if api.watches.stopping or clock() >= until:
                    return  # the client connects again, with another process or a new token
                yield ServerSentEventMessage(data=None, comment="heartbeat").encode()
            task = await _read(api, user, task.task_id)
        except TaskNotFound:
            return  # deleted
        except DatabaseUnavailable:
            yield ServerSentEventMessage(data=None, comment="the database is away").encode()
            await api.watches.rest(1.0)


@get("/tasks/{task_id:str}/log", summary="What happened to a run", responses=responses(TaskNotFound))
async def get_log(task_id: TaskId, api: NamedDependency[Context], user: NamedDependency[Identity]) -> RunLog:
    """When it was asked for, began and ended, was cancelled and resumed, and the same of each of its models;
    asked for while it goes on, what there is so far."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await tasks.get(c, user.user_id, parsed)
        rows = await candidates.history(c, parsed, user.user_id)
        deeds = await audit.of_run(c, user.user_id, parsed, limit=MOST_DEEDS)
    if task is None:
        raise TaskNotFound
    return RunLog(items=entries(task, rows, deeds))


router = Router(path="/ml", route_handlers=[get_status, stream_events, get_log], tags=["Training"])
