"""The registry: models that were saved, and outlive their run."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from litestar import Request, Response, Router, delete, get, patch, post, route
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from services.api.answers import LOCATION, REPLAYED, RETRY_AFTER, answer
from services.api.audit import record
from services.api.auth import Identity
from services.api.choosing import Chosen, choose, plan_of
from services.api.context import Context, ModelId, parse_id
from services.api.handover import PICKLE, Download, hand_over, handed_over
from services.api.idempotency import Once
from services.api.paging import (
    Cursor,
    Limit,
    Page,
    after_moment,
    after_offset,
    moment_cursor,
    offset_cursor,
)
from services.api.problems import responses
from services.api.quotas import room_for_bytes
from services.api.routes import conversions
from services.api.routes.conversions import Format
from services.api.routes.downloads import GET_AND_HEAD, ended
from services.api.waiting import Prefer, still_built, wait_s
from shared.contracts.accounts import AuditAction
from shared.contracts.downloads import Conversion
from shared.contracts.registry import Model, ModelPatch, ModelStats, SaveRequest
from shared.contracts.states import ConversionFormat, JobKind, ModelStatus, TaskType, uuid7
from shared.db import candidates, jobs, models
from shared.errors import (
    Conflict,
    ConversionFailed,
    InvalidRequest,
    KeyInUse,
    KeyReused,
    MalformedRequest,
    ModelNotFound,
    NotConvertible,
    QuotaExceeded,
    StorageUnavailable,
    TaskNotFound,
    TooLarge,
    TrainingNotCompleted,
    UnsupportedMedia,
)
from shared.queue import hint
from shared.storage import belongs_to, safe_name

log = structlog.get_logger(__name__)


@post(
    "/save",
    status_code=202,
    summary="Save a model of a run",
    responses=responses(
        MalformedRequest,
        UnsupportedMedia,
        TaskNotFound,
        ModelNotFound,
        TrainingNotCompleted,
        InvalidRequest,
        KeyInUse,
        KeyReused,
        QuotaExceeded,
        TooLarge,
    )
    | {202: answer(Model, "Being saved; it is at Location", LOCATION, RETRY_AFTER, f"{REPLAYED}?")},
)
async def save_model(
    data: JSONBody[SaveRequest],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    once: NamedDependency[Once],
) -> Response[Model]:
    """Its file is copied into the registry's own bucket; until then the model is `saving`."""
    model_id = uuid7()
    async with api.db.transaction(user.user_id) as c:
        if (known := await once.replay(c)) is not None:
            return known
        task = await ended(c, user.user_id, data.task_id)
        plan = plan_of(task["plan"])
        chosen = choose(await candidates.board(c, data.task_id, user.user_id), plan, data.leaderboard_model)
        if plan is None:
            raise ModelNotFound
        await room_for_bytes(api, c, user.user_id, chosen.size_bytes)
        model = await models.insert(
            c,
            model_id=model_id,
            user_id=user.user_id,
            task_id=data.task_id,
            file_id=task["file_id"],
            model_name=data.model_name,
            description=data.description,
            tags=list(dict.fromkeys(data.tags)),
            slug=chosen.slug,
            task_type=plan.task_type,
        )
        if model is None:
            raise ModelNotFound
        job_id = await jobs.insert(c, JobKind.SAVE, model_id, user.user_id)
        await record(
            c, user, AuditAction.MODEL_SAVED, model_id, name=data.model_name, task_id=str(data.task_id)
        )
        headers = {"Location": f"/models/{model_id}", "Retry-After": "1"}
        answer = await once.answer(c, model, headers)
    await hint(api.redis, [(JobKind.SAVE, job_id)])
    log.info("model saving", model_id=str(model_id), task_id=str(data.task_id), slug=chosen.slug)
    return answer


@get("/", summary="My saved models", responses=responses(InvalidRequest))
async def list_models(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    q: Annotated[
        str, QueryParameter(max_length=200, description="Words of the name, description or algorithm")
    ] = "",
    tag: Annotated[str, QueryParameter(max_length=40, description="Only with this tag")] = "",
    task_type: Annotated[TaskType | None, QueryParameter(description="Only of this task type")] = None,
    sort: Annotated[
        str, QueryParameter(description="What they are ordered by", schema_extra={"enum": list(models.SORTS)})
    ] = "created_at",
    deleted: Annotated[bool, QueryParameter(description="Those in the trash instead")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Model]:
    """Newest first unless `sort` says otherwise."""
    # in a query a plus sign that is not escaped arrives as a space
    order = f"+{sort[1:]}" if sort.startswith(" ") else sort
    after = after_moment(cursor) if order in models.SEEKS else None
    offset = 0 if after else after_offset(cursor)
    found = [(f"?{n}", "must be text without NUL") for n, v in (("q", q), ("tag", tag)) if "\0" in v]
    if order not in models.SORTS:
        found.append(("?sort", f"must be one of {', '.join(models.SORTS)}"))
    if found:
        raise InvalidRequest(found)
    async with api.db.transaction(user.user_id) as c:
        items = await models.page(
            c,
            user.user_id,
            limit=limit + 1,
            offset=offset,
            after=after,
            q=q or None,
            tag=tag or None,
            task_type=task_type,
            sort=order,
            deleted=deleted,
        )
    more, items = len(items) > limit, items[:limit]
    if not more:
        return Page(items=items, next_cursor=None)
    last = items[-1]
    if order in models.SEEKS:
        return Page(items=items, next_cursor=moment_cursor(last.created_at, last.id))
    return Page(items=items, next_cursor=offset_cursor(offset + limit))


@get("/stats", summary="My saved models in numbers", responses=responses())
async def get_model_stats(api: NamedDependency[Context], user: NamedDependency[Identity]) -> ModelStats:
    """Over all that are not in the trash."""
    async with api.db.transaction(user.user_id) as c:
        return await models.stats(c, user.user_id)


@get(
    "/{model_id:str}",
    summary="One saved model",
    responses=responses(ModelNotFound) | {200: answer(Model, "The model", f"{RETRY_AFTER}?")},
)
async def get_model(
    model_id: ModelId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Response[Model]:
    """`status` turns from `saving` to `ready`, or to `failed`."""
    async with api.db.transaction(user.user_id) as c:
        model = await models.get(c, user.user_id, parse_id(model_id, ModelNotFound))
    if model is None:
        raise ModelNotFound
    return Response(model, headers={"Retry-After": "1"} if model.status is ModelStatus.SAVING else {})


@patch(
    "/{model_id:str}",
    summary="Rename, describe, tag",
    responses=responses(MalformedRequest, UnsupportedMedia, ModelNotFound, InvalidRequest, TooLarge),
)
async def change_model(
    model_id: ModelId,
    data: JSONBody[ModelPatch],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> Model:
    """Only what the body names changes; `"description": null` takes the description away."""
    async with api.db.transaction(user.user_id) as c:
        model = await models.update(c, user.user_id, parse_id(model_id, ModelNotFound), data)
        if model is None:
            raise ModelNotFound
        await record(c, user, AuditAction.MODEL_CHANGED, model.id, name=model.model_name)
    return model


@delete("/{model_id:str}", summary="Put a model into the trash", responses=responses(ModelNotFound))
async def delete_model(
    model_id: ModelId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> None:
    """It leaves the lists at once; its file goes after `TRASH_TTL_S` (30 days), until when it can be
    restored."""
    async with api.db.transaction(user.user_id) as c:
        parsed = parse_id(model_id, ModelNotFound)
        if not await models.mark_deleted(c, user.user_id, parsed):
            raise ModelNotFound
        await record(c, user, AuditAction.MODEL_DELETED, parsed)


@post(
    "/{model_id:str}/restore",
    status_code=200,
    summary="Take a model out of the trash",
    responses=responses(ModelNotFound),
)
async def restore_model(
    model_id: ModelId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Model:
    """One that is not in the trash is answered as it is; 404 where it was purged."""
    parsed = parse_id(model_id, ModelNotFound)
    async with api.db.transaction(user.user_id) as c:
        model = await models.restore(c, user.user_id, parsed)
        if model is not None:
            await record(c, user, AuditAction.MODEL_RESTORED, parsed, name=model.model_name)
        else:
            model = await models.get(c, user.user_id, parsed)
    if model is None:
        raise ModelNotFound
    return model


@route(
    "/{model_id:str}/download",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="A saved model, as a pickle, as .skops or as ONNX",
    responses=responses(
        ModelNotFound, Conflict, InvalidRequest, NotConvertible, ConversionFailed, StorageUnavailable
    )
    | handed_over(PICKLE)
    | {202: still_built(Conversion)},
)
async def download_saved_model(
    model_id: ModelId,
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    format: Format = "pickle",
    prefer: Prefer = None,
) -> Response[Any]:
    """The file `{safe_model_name}.pkl`, or with `format=skops` or `format=onnx`, as long as its run is
    there, the file `{safe_model_name}.skops` or `.onnx`, as `/ml/download-model` has it. A link to it is
    counted in `links_issued`, a file whose last byte left through the API in `transfers`."""
    parsed = parse_id(model_id, ModelNotFound)
    async with api.db.transaction(user.user_id) as c:
        model = await models.get(c, user.user_id, parsed)
        if model is None:
            raise ModelNotFound
        file = _file(api, user, model)
        origin = None if format == "pickle" else await models.origin(c, user.user_id, parsed)
    if format == "pickle":
        return await hand_over(request, api, file)
    if origin is None:
        raise Conflict(f"The run of this model, of which its .{format} is made, was deleted; take the pickle")
    return await conversions.download(
        request,
        api,
        origin["task_id"],
        TaskType(origin["task_type"]),
        Chosen(
            slug=origin["model_name"],
            attempt=origin["attempt"],
            size_bytes=origin["size_bytes"],
            sha256=origin["sha256"],
        ),
        ConversionFormat(format),
        stem=safe_name(model.model_name),
        wait_s=wait_s(prefer),
        saved=parsed,
    )


def _file(api: Context, user: Identity, model: Model) -> Download:
    if model.status is ModelStatus.SAVING:
        raise Conflict("The model is still being saved", retry_after_s=1)
    if model.status is ModelStatus.FAILED:
        raise Conflict("Saving the model failed; save it again")
    if model.file_path is None or not belongs_to(user.user_id, model.file_path):
        # the row is the user's own to write: a path is signed only where the object is theirs too
        log.error("a saved model's path is not its owner's", model_id=str(model.id))
        raise ModelNotFound
    if model.file_size is None or not isinstance(model.sha256, str):
        raise ModelNotFound
    return Download(
        what="model",
        subject_id=model.id,
        saved=True,
        bucket=api.store.models,
        key=model.file_path,
        filename=f"{safe_name(model.model_name)}.pkl",
        content_type=PICKLE,
        size_bytes=model.file_size,
        sha256=model.sha256,
    )


router = Router(
    path="/models",
    route_handlers=[
        save_model,
        list_models,
        get_model_stats,
        get_model,
        change_model,
        delete_model,
        restore_model,
        download_saved_model,
    ],
    tags=["Saved models"],
)
