"""Files: uploads that are trained on."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import structlog
from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from msgspec import Struct

from services.api.answers import LOCATION, REPLAYED, RETRY_AFTER, answer
from services.api.audit import record
from services.api.auth import Identity
from services.api.context import STORE_PATIENCE_S, Context, FileId, parse_id
from services.api.idempotency import IdempotencyKey, KeptUpload, key_of, replayed
from services.api.paging import Cursor, Limit, Page, after_id, id_cursor
from services.api.problems import responses
from services.api.quotas import bytes_left, full, room_for_bytes
from services.api.upload import FRAME_BYTES, Upload, receive
from shared.contracts.accounts import AuditAction
from shared.contracts.files import File, Preview, Profile
from shared.contracts.states import JobKind, uuid7
from shared.db import files, jobs
from shared.errors import (
    Conflict,
    DatabaseUnavailable,
    FileNotFound,
    InvalidRequest,
    KeyInUse,
    KeyReused,
    MalformedRequest,
    PreviewNotFound,
    QuotaExceeded,
    StorageUnavailable,
    TableUnreadable,
    TooLarge,
    TrainyardError,
    UnsupportedMedia,
)
from shared.queue import hint
from shared.storage import dataset_key, patience

log = structlog.get_logger(__name__)


class Making(Struct):
    """What is asked for is still being made: ask again."""

    status: str


@dataclass
class UploadOperation(Operation):
    """Says what the body is, which the handler reads as a stream."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            content={
                "multipart/form-data": OpenAPIMediaType(
                    schema=Schema(
                        type=OpenAPIType.OBJECT,
                        required=["file"],
                        properties={
                            "file": Schema(
                                type=OpenAPIType.STRING,
                                content_media_type="application/octet-stream",
                                description="CSV or TSV (also .gz or .zst), or Parquet, with a header row",
                            )
                        },
                    )
                )
            },
        )


@post(
    "/",
    operation_class=UploadOperation,
    request_max_body_size=None,
    summary="Upload a table",
    responses=responses(
        MalformedRequest,
        UnsupportedMedia,
        TooLarge,
        InvalidRequest,
        KeyInUse,
        KeyReused,
        QuotaExceeded,
        StorageUnavailable,
    )
    | {201: answer(File, "Stored; its profile is being made", LOCATION, f"{REPLAYED}?")},
)
async def upload_file(
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    idempotency_key: IdempotencyKey = None,
) -> Response[File]:
    """Streamed to storage as it comes, in constant memory; a profile of it is made right after. Under an
    `Idempotency-Key` the same upload is the same bytes under the same name; they are read again to see
    that they are, and not stored again."""
    kept = KeptUpload(api, key_of(request, idempotency_key))
    async with kept.held(), receive(request, api.settings.api.max_upload_bytes) as incoming:
        if kept.known is not None:
            return replayed(kept.known, await _fingerprint_of(incoming))
        return await _store(request, api, user.user_id, incoming, kept)


async def _store(
    request: Request[Identity, Any, Any], api: Context, user_id: uuid.UUID, incoming: Upload, kept: KeptUpload
) -> Response[File]:
    file_id = uuid7()
    store, key = api.store, dataset_key(user_id, file_id)
    limit, left = api.settings.api.max_upload_bytes, await bytes_left(api, user_id)
    if left <= 0 or (request.content_length or 0) > left + FRAME_BYTES:
        raise full(api)
    try:
        with patience(STORE_PATIENCE_S):
            stored = await store.put_stream(
                store.datasets,
                key,
                incoming.chunks,
                content_type="application/octet-stream",
                filename=incoming.name,
                max_bytes=min(limit, left),
            )
    except TooLarge:
        if left < limit:
            raise full(api) from None
        raise
    try:
        async with api.db.transaction(user_id) as c:
            await room_for_bytes(api, c, user_id, stored.size_bytes)
            await files.insert(
                c,
                file_id=file_id,
                user_id=user_id,
                name=incoming.name,
                size_bytes=stored.size_bytes,
                sha256=stored.sha256,
                crc32=stored.crc32,
                etag=stored.etag,
            )
            job_id = await jobs.insert(c, JobKind.PROFILE, file_id, user_id)
            await record(
                c,
                request.user,
                AuditAction.FILE_UPLOADED,
                file_id,
                name=incoming.name,
                size_bytes=stored.size_bytes,
            )
            file = await files.get(c, user_id, file_id)
            fingerprint = _fingerprint(incoming.name, stored.size_bytes, stored.sha256)
            answer = await kept.answer(c, fingerprint, file, {"Location": f"/files/{file_id}"})
    except DatabaseUnavailable:
        raise  # perhaps it was committed: the sweep for orphans knows once it is asked
    except TrainyardError:
        with contextlib.suppress(StorageUnavailable), patience(STORE_PATIENCE_S):
            await store.delete(store.datasets, key)
        raise
    await hint(api.redis, [(JobKind.PROFILE, job_id)])
    log.info("uploaded", file_id=str(file_id), size_bytes=stored.size_bytes)
    return answer


async def _fingerprint_of(incoming: Upload) -> bytes:
    """Of an upload sent again, which is read but not stored."""
    digest, size = hashlib.sha256(), 0
    async for chunk in incoming.chunks:
        size += len(chunk)
        digest.update(chunk)
    return _fingerprint(incoming.name, size, digest.hexdigest())


def _fingerprint(name: str, size_bytes: int, sha256: str) -> bytes:
    return hashlib.sha256(f"{size_bytes} {sha256} {name}".encode()).digest()


@get("/", summary="My files, newest first", responses=responses(InvalidRequest))
async def list_files(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[File]:
    """A page of the user's files."""
    before = after_id(cursor)
    async with api.db.transaction(user.user_id) as c:
        items = await files.page(c, user.user_id, limit=limit + 1, before=before)
    more = len(items) > limit
    items = items[:limit]
    return Page(items=items, next_cursor=id_cursor(items[-1].file_id) if more else None)


@get("/{file_id:str}", summary="One file", responses=responses(FileNotFound))
async def get_file(file_id: FileId, api: NamedDependency[Context], user: NamedDependency[Identity]) -> File:
    """`rows` and `columns` are there once its profile is."""
    async with api.db.transaction(user.user_id) as c:
        file = await files.get(c, user.user_id, parse_id(file_id, FileNotFound))
    if file is None:
        raise FileNotFound
    return file


@get(
    "/{file_id:str}/profile",
    summary="What the columns of a file hold",
    responses=responses(FileNotFound, TableUnreadable)
    | {
        200: answer(Profile, "The profile"),
        202: answer(Making, "Still being made", RETRY_AFTER),
    },
)
async def get_profile(
    file_id: FileId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Response[Profile | Making]:
    """Roles, missing values, distributions and a suggested target; 202 while it is made, 422 where the
    table cannot be read."""
    async with api.db.transaction(user.user_id) as c:
        row = await files.profile(c, user.user_id, parse_id(file_id, FileNotFound))
    if row is None:
        raise FileNotFound
    if row["status"] == "failed":
        raise TableUnreadable(row["error"])
    if row["status"] != "ready":
        return Response(Making(status="making"), status_code=202, headers={"Retry-After": "1"})
    return Response(row["profile"])


@get(
    "/{file_id:str}/preview",
    summary="The first rows of a file",
    responses=responses(FileNotFound, PreviewNotFound, TableUnreadable)
    | {
        200: answer(Preview, "The rows"),
        202: answer(Making, "Still being made", RETRY_AFTER),
    },
)
async def get_preview(
    file_id: FileId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Response[Preview | Making]:
    """As they were read: what training sees. Made with the profile, and answered like it."""
    async with api.db.transaction(user.user_id) as c:
        row = await files.preview(c, user.user_id, parse_id(file_id, FileNotFound))
    if row is None:
        raise FileNotFound
    if row["status"] == "failed":
        raise TableUnreadable(row["error"])
    if row["status"] != "ready":
        return Response(Making(status="making"), status_code=202, headers={"Retry-After": "1"})
    if row["preview"] is None:
        raise PreviewNotFound
    return Response(row["preview"])


@delete("/{file_id:str}", summary="Delete a file", responses=responses(FileNotFound, Conflict))
async def delete_file(
    file_id: FileId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> None:
    """Gone at once; models that were saved from it stay. 409 while a run that has not ended reads it."""
    parsed = parse_id(file_id, FileNotFound)
    async with api.db.transaction(user.user_id) as c:
        await files.lock(c, user.user_id, parsed)
        if not await files.mark_deleted(c, user.user_id, parsed):
            if await files.get(c, user.user_id, parsed) is None:
                raise FileNotFound
            raise Conflict("A run that has not ended reads this file")
        job_id = await jobs.insert(c, JobKind.PURGE, parsed, user.user_id)
        await record(c, user, AuditAction.FILE_DELETED, parsed)
    await hint(api.redis, [(JobKind.PURGE, job_id)])


router = Router(
    path="/files",
    route_handlers=[upload_file, list_files, get_file, get_profile, get_preview, delete_file],
    tags=["Files"],
)
