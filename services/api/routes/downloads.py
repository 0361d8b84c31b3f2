"""Taking things home: models, the leaderboard, everything at once."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, Response, Router, get, route
from litestar.di import NamedDependency
from litestar.params import PathParameter

from services.api.answers import CACHE_CONTROL, RETRY_AFTER, answer
from services.api.auth import Identity
from services.api.choosing import choose, plan_of, ranked
from services.api.context import Context, TaskId, parse_id
from services.api.handover import CSV, PICKLE, ZIP, Download, hand_over, handed_over
from services.api.problems import responses
from services.api.routes import conversions
from services.api.routes.conversions import Format
from services.api.waiting import AGAIN_S, Prefer, built, not_yet, still_built, wait_s
from shared.contracts.downloads import Bundle, Conversion
from shared.contracts.states import (
    BEST_MODEL,
    TERMINAL,
    BundleStatus,
    CandidateStatus,
    ConversionFormat,
    JobKind,
    TaskStatus,
)
from shared.contracts.training import Plan
from shared.db import bundles, candidates, jobs, tasks
from shared.db.pool import Connection, without_nulls
from shared.errors import (
    BundleFailed,
    BundleNotFound,
    ConversionFailed,
    InvalidRequest,
    ModelNotFound,
    NotConvertible,
    StorageUnavailable,
    TaskNotFound,
    TrainingNotCompleted,
)
from shared.queue import hint
from shared.storage import bundle_key, model_key, report_key

LEADERBOARD = "leaderboard.csv"

GET_AND_HEAD = [HttpMethod.GET, HttpMethod.HEAD]


async def ended(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> Any:
    """The row of a run that is not queued or running. Raises TaskNotFound, TrainingNotCompleted."""
    task = await tasks.results(c, user_id, task_id)
    if task is None:
        raise TaskNotFound
    if TaskStatus(task["status"]) not in TERMINAL:
        raise TrainingNotCompleted
    return task


@route(
    "/download-model/{task_id:str}/{model_name:str}",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="One model, as a pickle, as .skops or as ONNX",
    responses=responses(
        TaskNotFound,
        ModelNotFound,
        TrainingNotCompleted,
        InvalidRequest,
        NotConvertible,
        ConversionFailed,
        StorageUnavailable,
    )
    | handed_over(PICKLE)
    | {202: still_built(Conversion)},
)
async def download_model(
    task_id: TaskId,
    model_name: Annotated[str, PathParameter(description="A model's slug or label, or `best_model`")],
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    format: Format = "pickle",
    prefer: Prefer = None,
) -> Response[Any]:
    """The file `{slug}_{task_id}.pkl`, or `best_model_{task_id}.pkl`; open it with `joblib.load`. With
    `format=skops` the file `{slug}_{task_id}.skops`, for `skops.io.load`, of a model that is scikit-learn's:
    it is made when it is first asked for, as the ZIP is, and `types` of the link, or of
    `/ml/conversions/{task_id}/{model_name}`, says what `trusted=` has to name. With `format=onnx` the file
    `{slug}_{task_id}.onnx`, for ONNX Runtime, made in the same way where the graph predicts what the pickle
    does; `/ml/conversions/{task_id}/{model_name}?format=onnx` says what goes in."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await ended(c, user.user_id, parsed)
        rows = await candidates.board(c, parsed, user.user_id)
    plan = plan_of(task["plan"])
    chosen = choose(rows, plan, model_name)
    stem = BEST_MODEL if model_name.strip().casefold() == BEST_MODEL else chosen.slug
    if format != "pickle" and plan is not None:
        return await conversions.download(
            request,
            api,
            parsed,
            plan.task_type,
            chosen,
            ConversionFormat(format),
            stem=f"{stem}_{parsed}",
            wait_s=wait_s(prefer),
        )
    file = Download(
        what="model",
        subject_id=parsed,
        bucket=api.store.artifacts,
        key=model_key(user.user_id, parsed, chosen.slug, chosen.attempt),
        filename=f"{stem}_{parsed}.pkl",
        content_type=PICKLE,
        size_bytes=chosen.size_bytes,
        sha256=chosen.sha256,
    )
    return await hand_over(request, api, file)


@route(
    "/download-leaderboard/{task_id:str}",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="The leaderboard as CSV",
    responses=responses(TaskNotFound, ModelNotFound, TrainingNotCompleted, StorageUnavailable)
    | handed_over(CSV),
)
async def download_leaderboard(
    task_id: TaskId,
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> Response[Any]:
    """The file `leaderboard_{task_id}.csv`: every model with all its metrics, best first."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await ended(c, user.user_id, parsed)
    stored = (task["report"] or {}).get(LEADERBOARD)
    if stored is None:  # it failed before there was anything to rank
        raise ModelNotFound
    file = Download(
        what="leaderboard",
        subject_id=parsed,
        bucket=api.store.artifacts,
        key=report_key(user.user_id, parsed, task["report_attempt"], LEADERBOARD),
        filename=f"leaderboard_{parsed}.csv",
        content_type=CSV,
        size_bytes=stored["size_bytes"],
        sha256=stored["sha256"],
    )
    return await hand_over(request, api, file)


@route(
    "/download-all-models/{task_id:str}",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="Everything of a run as one ZIP",
    responses=responses(TaskNotFound, ModelNotFound, TrainingNotCompleted, BundleFailed, StorageUnavailable)
    | handed_over(ZIP)
    | {202: still_built(Bundle)},
)
async def download_all_models(
    task_id: TaskId,
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    prefer: Prefer = None,
) -> Response[Any]:
    """The file `all_models_{task_id}.zip`. Where it is not built yet it is built now, and the call waits
    a while for it; what is not ready by then is at `Location`. To a browser that is a page which turns
    into the file by itself."""
    parsed = parse_id(task_id, TaskNotFound)
    bundle = await _ask(api, user.user_id, parsed)

    async def look() -> Any:
        async with api.db.transaction(user.user_id) as c:
            return await bundles.get(c, parsed, user.user_id)

    if bundle["status"] == BundleStatus.BUILDING:
        bundle = await built(api, look, wait_s(prefer)) or bundle
    if bundle["status"] == BundleStatus.FAILED:
        raise BundleFailed(bundle["error"])
    if bundle["status"] == BundleStatus.BUILDING:
        percent = round(100 * bundle["progress"])
        return not_yet(
            request,
            _bundle(bundle),
            location=f"/ml/bundles/{parsed}",
            doing="Packing your models",
            bar=f'<progress max="100" value="{percent}">{percent}%</progress>',
        )
    file = Download(
        what="bundle",
        subject_id=parsed,
        bucket=api.store.bundles,
        key=bundle_key(user.user_id, parsed, bundle["attempt"]),
        filename=f"all_models_{parsed}.zip",
        content_type=ZIP,
        size_bytes=bundle["size_bytes"],
        sha256=bundle["sha256"],
    )
    return await hand_over(request, api, file)


async def _ask(api: Context, user_id: uuid.UUID, task_id: uuid.UUID) -> Any:
    """Also for the models as ONNX, which the packager waits for a while."""
    life_s = api.settings.retention.bundle_ttl_s + api.settings.s3.signed_url_ttl_s
    asked: list[tuple[JobKind, uuid.UUID]] = []
    async with api.db.transaction(user_id) as c:
        task = await ended(c, user_id, task_id)
        rows = await candidates.board(c, task_id, user_id)
        if not any(row["status"] == CandidateStatus.DONE for row in rows):
            raise ModelNotFound
        bundle = await bundles.ask(c, task_id, user_id, life_s)
        if bundle["build"]:
            asked += await _graphs(c, user_id, task_id, plan_of(task["plan"]), rows)
            job_id = await jobs.insert(c, JobKind.BUNDLE, task_id, user_id, attempt=bundle["attempt"])
            asked.append((JobKind.BUNDLE, job_id))
    if asked:
        await hint(api.redis, asked)
    return bundle


async def _graphs(
    c: Connection, user_id: uuid.UUID, task_id: uuid.UUID, plan: Plan | None, rows: list[Any]
) -> list[tuple[JobKind, uuid.UUID]]:
    """The jobs that make ONNX of a run's models, the best ones first."""
    form, asked = ConversionFormat.ONNX, []
    for row in ranked(rows, plan):
        done = row.status is CandidateStatus.DONE
        if plan is None or not done or conversions.refusal(form, plan.task_type, row.model_name):
            continue
        _, job_id = await conversions.ask(c, user_id, task_id, row.model_name, form)
        asked += [] if job_id is None else [(conversions.KINDS[form], job_id)]
    return asked


def _bundle(row: Any) -> Bundle:
    fields = without_nulls(row, "size_bytes", "expires_at", "error")
    if fields["status"] != BundleStatus.READY:  # what an earlier one had
        fields.pop("size_bytes", None)
    return msgspec.convert({k: v for k, v in fields.items() if k in Bundle.__struct_fields__}, Bundle)


@get(
    "/bundles/{task_id:str}",
    summary="How the ZIP is getting on",
    responses=responses(TaskNotFound, BundleNotFound)
    | {200: answer(Bundle, "How far it is", CACHE_CONTROL, f"{RETRY_AFTER}?")},
)
async def get_bundle(
    task_id: TaskId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Response[Bundle]:
    """404 where none was asked for, or the one there was has expired: ask for the download again."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        bundle = await bundles.get(c, parsed, user.user_id)
        if bundle is None:
            if await tasks.version(c, user.user_id, parsed) is None:
                raise TaskNotFound
            raise BundleNotFound
    building = bundle["status"] == BundleStatus.BUILDING
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": AGAIN_S} if building else {})
    return Response(_bundle(bundle), headers=headers)


router = Router(
    path="/ml",
    route_handlers=[
        download_model,
        download_leaderboard,
        download_all_models,
        get_bundle,
        conversions.get_conversion,
    ],
    tags=["Downloads"],
)
