"""Models as .skops: made from the pickle when they are first asked for, by a trainer."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter

from services.api.answers import CACHE_CONTROL, RETRY_AFTER, answer
from services.api.auth import Identity
from services.api.choosing import Chosen, choose, plan_of
from services.api.context import Context, TaskId, parse_id
from services.api.handover import SKOPS, Download, hand_over
from services.api.problems import responses
from services.api.waiting import AGAIN_S, built, not_yet
from shared.contracts import Conversion, ConversionStatus, JobKind, TaskType, not_skops
from shared.db import candidates, conversions, jobs, tasks
from shared.db.pool import without_nulls
from shared.errors import (
    ConversionFailed,
    ConversionNotFound,
    ModelNotFound,
    NotConvertible,
    TaskNotFound,
)
from shared.queue import hint
from shared.storage import skops_key


async def download(
    request: Request[Identity, Any, Any],
    api: Context,
    task_id: uuid.UUID,
    task_type: TaskType,
    chosen: Chosen,
    *,
    filename: str,
    wait_s: float,
    saved: uuid.UUID | None = None,
) -> Response[Any]:
    """The model `chosen` of a run as .skops, or 202 where that takes longer than `wait_s`. `saved`: the saved
    model that it is handed over as.

    Raises NotConvertible for a model that is not scikit-learn's, before anything is asked for, and for one
    that turned out not to be; ConversionFailed; ModelNotFound where it is gone meanwhile.
    """
    user_id = request.user.user_id
    if reason := not_skops(task_type, chosen.slug):
        raise NotConvertible(reason)
    conversion = await _ask(api, user_id, task_id, chosen.slug)

    async def look() -> Any:
        async with api.db.transaction(user_id) as c:
            return await conversions.get(c, task_id, chosen.slug, user_id)

    if conversion["status"] == ConversionStatus.BUILDING:
        conversion = await built(api, look, wait_s) or conversion
    if conversion["status"] == ConversionStatus.FAILED:
        raise (NotConvertible if conversion["final"] else ConversionFailed)(conversion["error"])
    if conversion["status"] == ConversionStatus.BUILDING:
        location = f"/ml/conversions/{task_id}/{chosen.slug}"
        return not_yet(
            request,
            _conversion(conversion),
            location=location,
            doing="Converting your model",
            bar="<progress></progress>",
        )
    file = Download(
        what="model",
        subject_id=saved or task_id,
        saved=saved is not None,
        bucket=api.store.artifacts,
        key=skops_key(user_id, task_id, chosen.slug, chosen.attempt, conversion["attempt"]),
        filename=filename,
        content_type=SKOPS,
        size_bytes=conversion["size_bytes"],
        sha256=conversion["sha256"],
        types=conversion["types"],
    )
    return await hand_over(request, api, file)


async def _ask(api: Context, user_id: uuid.UUID, task_id: uuid.UUID, slug: str) -> Any:
    job_id = None
    async with api.db.transaction(user_id) as c:
        conversion = await conversions.ask(c, task_id, slug, user_id)
        if conversion is None:  # deleted since it was chosen
            raise ModelNotFound
        if conversion["build"]:
            subject, attempt = conversion["candidate_id"], conversion["attempt"]
            job_id = await jobs.insert(c, JobKind.CONVERT, subject, user_id, attempt=attempt)
    if job_id is not None:
        await hint(api.redis, [(JobKind.CONVERT, job_id)])
    return conversion


def _conversion(row: Any) -> Conversion:
    fields = without_nulls(row, "types", "requires", "size_bytes", "sha256", "error")
    return msgspec.convert({k: v for k, v in fields.items() if k in Conversion.__struct_fields__}, Conversion)


@get(
    "/conversions/{task_id:str}/{model_name:str}",
    summary="A model as .skops, and what it needs",
    responses=responses(TaskNotFound, ModelNotFound, ConversionNotFound)
    | {
        200: answer(
            Conversion, "How it is getting on, and what opening it needs", CACHE_CONTROL, f"{RETRY_AFTER}?"
        )
    },
)
async def get_conversion(
    task_id: TaskId,
    model_name: Annotated[str, PathParameter(description="A model's slug or label, or `best_model`")],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> Response[Conversion]:
    """`types` is what to look through, and then to give to `skops.io.load(path, trusted=types)`; `requires`
    is what has to be installed. 404 where the model was not asked for as .skops yet."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await tasks.results(c, user.user_id, parsed)
        if task is None:
            raise TaskNotFound
        rows = await candidates.board(c, parsed, user.user_id)
        chosen = choose(rows, plan_of(task["plan"]), model_name)
        conversion = await conversions.get(c, parsed, chosen.slug, user.user_id)
    if conversion is None:
        raise ConversionNotFound
    building = conversion["status"] == ConversionStatus.BUILDING
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": AGAIN_S} if building else {})
    return Response(_conversion(conversion), headers=headers)
