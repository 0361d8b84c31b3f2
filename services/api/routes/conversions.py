"""Models as .skops and as ONNX: made from the pickle when they are first asked for, by a trainer."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from services.api.answers import CACHE_CONTROL, RETRY_AFTER, answer
from services.api.auth import Identity
from services.api.choosing import Chosen, choose, plan_of
from services.api.context import Context, TaskId, parse_id
from services.api.handover import PICKLE, Download, hand_over
from services.api.problems import responses
from services.api.waiting import AGAIN_S, built, not_yet
from shared import needs
from shared.contracts.downloads import Conversion, not_onnx, not_skops
from shared.contracts.states import ConversionFormat, ConversionStatus, JobKind, TaskType
from shared.db import candidates, conversions, jobs, tasks
from shared.db.pool import Connection, without_nulls
from shared.errors import (
    ConversionFailed,
    ConversionNotFound,
    InvalidRequest,
    ModelNotFound,
    NotConvertible,
    TaskNotFound,
)
from shared.queue import hint
from shared.storage import onnx_key, skops_key

Format = Annotated[Literal["pickle", "skops", "onnx"], QueryParameter(description="Which file of the model")]

KINDS = {ConversionFormat.SKOPS: JobKind.CONVERT, ConversionFormat.ONNX: JobKind.CONVERT_ONNX}


def refusal(form: ConversionFormat, task_type: TaskType, slug: str) -> str | None:
    """Why a model cannot be had in a format, as far as its name tells."""
    return (not_skops if form is ConversionFormat.SKOPS else not_onnx)(task_type, slug)


async def download(
    request: Request[Identity, Any, Any],
    api: Context,
    task_id: uuid.UUID,
    task_type: TaskType,
    chosen: Chosen,
    form: ConversionFormat,
    *,
    stem: str,
    wait_s: float,
    saved: uuid.UUID | None = None,
) -> Response[Any]:
    """The model `chosen` of a run in another format, or 202 where that takes longer than `wait_s`. The
    file's name is `stem` and the format. `saved`: the saved model that it is handed over as.

    Raises NotConvertible for a model that the format has no form for, before anything is asked for, and for
    one that turned out to have none; ConversionFailed; ModelNotFound where it is gone meanwhile.
    """
    user_id = request.user.user_id
    if reason := refusal(form, task_type, chosen.slug):
        raise NotConvertible(reason)
    conversion = await _ask(api, user_id, task_id, chosen.slug, form)

    async def look() -> Any:
        async with api.db.transaction(user_id) as c:
            return await conversions.get(c, task_id, chosen.slug, user_id, form)

    if conversion["status"] == ConversionStatus.BUILDING:
        conversion = await built(api, look, wait_s) or conversion
    if conversion["status"] == ConversionStatus.FAILED:
        raise (NotConvertible if conversion["final"] else ConversionFailed)(conversion["error"])
    if conversion["status"] == ConversionStatus.BUILDING:
        query = "" if form is ConversionFormat.SKOPS else f"?format={form}"
        location = f"/ml/conversions/{task_id}/{chosen.slug}{query}"
        return not_yet(
            request,
            _conversion(conversion),
            location=location,
            doing="Converting your model",
            bar="<progress></progress>",
        )
    key_of = skops_key if form is ConversionFormat.SKOPS else onnx_key
    file = Download(
        what="model",
        subject_id=saved or task_id,
        saved=saved is not None,
        bucket=api.store.artifacts,
        key=key_of(user_id, task_id, chosen.slug, chosen.attempt, conversion["attempt"]),
        filename=f"{stem}.{form}",
        content_type=PICKLE,
        size_bytes=conversion["size_bytes"],
        sha256=conversion["sha256"],
        types=conversion["types"],
    )
    return await hand_over(request, api, file)


async def _ask(
    api: Context, user_id: uuid.UUID, task_id: uuid.UUID, slug: str, form: ConversionFormat
) -> Any:
    async with api.db.transaction(user_id) as c:
        conversion, job_id = await ask(c, user_id, task_id, slug, form)
    if conversion is None:  # deleted since it was chosen
        raise ModelNotFound
    if job_id is not None:
        await hint(api.redis, [(KINDS[form], job_id)])
    return conversion


async def ask(
    c: Connection, user_id: uuid.UUID, task_id: uuid.UUID, slug: str, form: ConversionFormat
) -> tuple[Any, uuid.UUID | None]:
    """Ask for one in a transaction: its row (None where the model is gone), and the job that is to make
    it."""
    conversion = await conversions.ask(c, task_id, slug, user_id, form)
    if conversion is None or not conversion["build"]:
        return conversion, None
    subject, attempt = conversion["candidate_id"], conversion["attempt"]
    model = needs.of_model(conversion["task_type"], slug)
    return conversion, await jobs.insert(c, KINDS[form], subject, user_id, attempt=attempt, needs=[model])


def _conversion(row: Any) -> Conversion:
    fields = without_nulls(row, "types", "requires", "size_bytes", "sha256", "error", "facts")
    if "facts" in fields:
        fields["onnx"] = fields.pop("facts")
    return msgspec.convert({k: v for k, v in fields.items() if k in Conversion.__struct_fields__}, Conversion)


@get(
    "/conversions/{task_id:str}/{model_name:str}",
    summary="A model in another format, and what it needs",
    responses=responses(TaskNotFound, ModelNotFound, ConversionNotFound, InvalidRequest)
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
    format: Annotated[ConversionFormat, QueryParameter(description="Which format")] = ConversionFormat.SKOPS,
) -> Response[Conversion]:
    """`types` is what to look through, and then to give to `skops.io.load(path, trusted=types)`; `onnx` what
    goes into a graph and comes out of it, and how near that is to what the pickle predicts; `requires` what
    has to be installed. 404 where the model was not asked for in this format yet."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await tasks.results(c, user.user_id, parsed)
        if task is None:
            raise TaskNotFound
        rows = await candidates.board(c, parsed, user.user_id)
        chosen = choose(rows, plan_of(task["plan"]), model_name)
        conversion = await conversions.get(c, parsed, chosen.slug, user.user_id, format)
    if conversion is None:
        raise ConversionNotFound
    building = conversion["status"] == ConversionStatus.BUILDING
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": AGAIN_S} if building else {})
    return Response(_conversion(conversion), headers=headers)
