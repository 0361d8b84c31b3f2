"""How a file is handed over: a redirect to a signed link, the link as JSON, or the bytes through here.

Every download of the API ends in `hand_over`, so that what is promised of one holds for all.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream
from msgspec import UNSET, Struct

from services.api import answers
from services.api import audit as trail
from services.api.answers import Answer, answer
from services.api.auth import Identity
from services.api.context import STORE_PATIENCE_S, Context
from services.api.problems import unsatisfiable
from shared.contracts.accounts import AuditAction
from shared.contracts.downloads import Link
from shared.db import audit, models
from shared.errors import ModelNotFound, TrainyardError
from shared.storage import ObjectMissing, belongs_to, content_disposition, downloads_mode, patience

log = structlog.get_logger(__name__)

PICKLE = "application/octet-stream"
ZIP = "application/zip"
CSV = "text/csv"  # Litestar adds the charset

FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""A file is for keeping: whoever shows it as a page all the same gets one that runs and loads nothing."""

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


class Download(Struct, frozen=True, kw_only=True):
    """An object of the store under the name it is to have at home, and what the audit trail says of it:
    `what` it is of which `subject_id` (a run's, a saved model's, a user's). `saved`: links and transfers are
    counted on the saved model of that id."""

    what: Literal["model", "leaderboard", "bundle", "export"]
    subject_id: uuid.UUID
    saved: bool = False
    bucket: str
    key: str
    filename: str
    content_type: str
    size_bytes: int
    sha256: str | None
    """None of a ZIP that the store put together itself."""
    types: list[str] | None = None

    @property
    def etag(self) -> str:
        # a key is never used twice: it names its content as well as a digest does
        return f'"{self.sha256 or self.key}"'


def handed_over(*content_types: str) -> dict[int, ResponseSpec]:
    """What `hand_over` answers, for the OpenAPI schema."""
    of_file = (answers.CONTENT_LENGTH, answers.CONTENT_DISPOSITION, answers.ETAG, answers.ACCEPT_RANGES)
    kept: dict[int, ResponseSpec] = {
        200: answer(
            Link,
            "To `Accept: application/json` (without `*/*`) a link to the file. Else, where clients cannot"
            " reach the store, the file itself",
            answers.CACHE_CONTROL,
            answers.VARY,
            *(f"{name}?" for name in of_file),
            files=content_types,
        ),
        206: Answer(
            None,
            description="The range asked for",
            files=content_types,
            headers=(answers.CONTENT_RANGE, answers.CACHE_CONTROL, answers.VARY, *of_file),
        ),
        304: answer(None, "The file is the one that is known already", answers.ETAG),
        307: answer(
            None,
            "To a signed link that carries the file's name and lives an hour; the usual answer where the"
            " store can be reached",
            answers.LOCATION,
            answers.CACHE_CONTROL,
        ),
    }
    return kept | unsatisfiable()


async def hand_over(request: Request[Any, Any, Any], api: Context, file: Download) -> Response[Any]:
    """Raises ModelNotFound where the store has lost the object, StorageUnavailable."""
    if not belongs_to(request.user.user_id, file.key):
        # whichever row it was made of: nothing is signed or read that is not under the asker's own prefix
        log.error("an object is not of whom it would be handed to", key=file.key, bucket=file.bucket)
        raise ModelNotFound
    with patience(STORE_PATIENCE_S):
        return await _hand_over(request, api, file)


async def _hand_over(request: Request[Any, Any, Any], api: Context, file: Download) -> Response[Any]:
    if request.method == "HEAD":
        # not by redirect: a link that is signed for GET is refused to HEAD by most stores
        return Response(b"", media_type=file.content_type, headers=_headers(file, file.size_bytes))
    if wants_json(request.headers.get("accept", "")):
        return await _link(api, request.user, file)
    if await _mode(api) == "redirect":
        url, _ = await _sign(api, request.user, file)
        headers = {"Location": url, "Cache-Control": "no-store"}
        return Response(b"", status_code=307, media_type=file.content_type, headers=headers)
    return await _proxy(request, api, file)


def wants_json(accept: str) -> bool:
    """Whether Accept names application/json without */*."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "application/json" in kinds and "*/*" not in kinds


async def _mode(api: Context) -> Literal["redirect", "proxy"]:
    settings = api.settings.s3
    if settings.downloads != "auto":
        return settings.downloads
    return downloads_mode(settings, await api.store.probe())


async def _sign(api: Context, user: Identity, file: Download) -> Any:
    """Written down first: no link leaves that the trail does not know of."""
    await _record(api, user, file, "link_issued", ttl_s=api.settings.s3.signed_url_ttl_s)
    return await api.store.presign(
        file.bucket,
        file.key,
        filename=file.filename,
        content_type=file.content_type,
        ttl_s=api.settings.s3.signed_url_ttl_s,
    )


async def _link(api: Context, user: Identity, file: Download) -> Response[Link]:
    url, expires_at = await _sign(api, user, file)
    link = Link(
        url=url,
        filename=file.filename,
        size_bytes=file.size_bytes,
        sha256=UNSET if file.sha256 is None else file.sha256,
        expires_at=expires_at,
        types=UNSET if file.types is None else file.types,
    )
    return Response(link, headers={"Cache-Control": "no-store", "Vary": "Accept"})


async def _proxy(request: Request[Any, Any, Any], api: Context, file: Download) -> Response[Any]:
    """The bytes, in constant memory, with single ranges (RFC 9110, section 14)."""
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(None, status_code=304, headers={"ETag": file.etag})
    part = _part(request, file)
    start, end = part if part is not None else (0, file.size_bytes)
    headers = _headers(file, end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    chunks = _chunks(api, file, start, end)
    # the first bytes are fetched before the status is sent: after it no error can be told
    try:
        first = await anext(chunks, b"")
    except ObjectMissing as error:
        log.error("object of a row is missing", key=file.key, bucket=file.bucket)
        raise ModelNotFound from error
    return Stream(
        _told(api, request.user, file, start, _after(first, chunks)),
        status_code=200 if part is None else 206,
        media_type=file.content_type,
        headers=headers,
    )


def _part(request: Request[Any, Any, Any], file: Download) -> tuple[int, int] | None:
    """The range asked for as (start, end), end excluded; None for the whole file. Raises a 416."""
    given = request.headers.get("range")
    if given is None or request.headers.get("if-range", file.etag) != file.etag:
        return None
    match = _RANGE.fullmatch(given.strip())
    if match is None or match.groups() == ("", ""):
        return None  # several ranges, or a unit we do not know: the whole file answers them
    first, last = match.groups()
    start = int(first) if first else max(file.size_bytes - int(last), 0)
    end = min(int(last) + 1, file.size_bytes) if first and last else file.size_bytes
    if start >= file.size_bytes or (not first and int(last) == 0):
        raise HTTPException(
            detail=f"The file has {file.size_bytes} bytes",
            status_code=416,
            headers={"Content-Range": f"bytes */{file.size_bytes}"},
        )
    return None if end <= start else (start, end)


def _headers(file: Download, length: int) -> dict[str, str]:
    return {
        "Content-Length": str(length),
        "Content-Disposition": content_disposition(file.filename),
        "Content-Security-Policy": FILE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "ETag": file.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
    }


async def _chunks(api: Context, file: Download, start: int, end: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(api.store.stream(file.bucket, file.key, start, end)) as stream:
        async for chunk in stream:
            yield chunk


async def _after(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def _told(
    api: Context, user: Identity, file: Download, start: int, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """`chunks`, and how much of them was handed to the connection, written down when that is known: of the
    last piece, a client that hangs up may have had a part."""
    sent, whole = 0, False
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                sent += len(chunk)
                yield chunk
                # the next one may be there already: a task that never rests is not told of a hanging up
                await asyncio.sleep(0)
        whole = True
    finally:
        if sent:
            # a task of its own: a client that hangs up cancels this one
            to_the_end = whole and start + sent >= file.size_bytes
            telling = asyncio.create_task(_tell(api, user, file, sent, to_the_end))
            _telling.add(telling)
            telling.add_done_callback(_telling.discard)
            await asyncio.shield(telling)


_telling: set[asyncio.Task[None]] = set()


async def _tell(api: Context, user: Identity, file: Download, sent: int, to_the_end: bool) -> None:
    outcome = "downloaded" if to_the_end else "downloaded_in_part"
    try:
        await _record(api, user, file, outcome, bytes=sent)
    except TrainyardError as error:
        log.error("a transfer is not in the audit trail", bytes=sent, key=file.key, reason=error.detail)


async def _record(api: Context, user: Identity, file: Download, outcome: str, **detail: int) -> None:
    kind = "model" if file.saved else "account" if file.what == "export" else "run"
    deed = trail.deed(
        user,
        AuditAction(f"{file.what}.{outcome}"),
        file.subject_id,
        subject_kind=kind,
        filename=file.filename,
        **detail,
    )
    count = {"link_issued": models.count_link, "downloaded": models.count_transfer}.get(outcome)
    if not file.saved or count is None:
        async with api.db.connection() as c:
            await audit.insert_alone(c, deed)
        return
    async with api.db.transaction(user.user_id) as c:
        await count(c, user.user_id, file.subject_id)
        await audit.insert(c, deed)
