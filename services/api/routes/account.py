"""The account itself: what it holds, who did what in it, all of it to take along, its end."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, Router, delete, get, route
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.api.answers import CACHE_CONTROL, LOCATION, RETRY_AFTER, answer
from services.api.audit import record
from services.api.auth import Identity
from services.api.context import Context
from services.api.handover import ZIP, Download, hand_over, handed_over
from services.api.paging import Cursor, Limit, Page, after_id, id_cursor
from services.api.problems import responses
from services.api.routes.downloads import GET_AND_HEAD
from services.api.scopes import SCOPE
from services.api.waiting import Prefer, built, not_yet, still_built, wait_s
from shared.contracts.accounts import Account, AccountLimits, AuditAction, AuditEntry, Deletion, Scope
from shared.contracts.downloads import Export
from shared.contracts.states import BundleStatus, JobKind
from shared.db import account, audit, jobs, quotas
from shared.db.pool import without_nulls
from shared.errors import ExportFailed, ExportNotFound, InvalidRequest, ModelNotFound, StorageUnavailable
from shared.queue import USERS_CHANNEL, announce, hint
from shared.storage import export_key

log = structlog.get_logger(__name__)

DELETION_RETRY_S = 10


@get("/", summary="My account", responses=responses())
async def get_account(api: NamedDependency[Context], user: NamedDependency[Identity]) -> Account:
    """How much is in it, and how much may be. `email` is what the token says; null for another service's and
    an API key's."""
    async with api.db.transaction(user.user_id) as c:
        holdings = await account.holdings(c, user.user_id)
        stored = await quotas.stored_bytes(c, user.user_id)
    settings = api.settings
    return Account(
        user_id=user.user_id,
        email=user.email,
        stored_bytes=stored,
        limits=AccountLimits(
            max_stored_bytes=settings.quotas.max_stored_bytes,
            max_queued_tasks=settings.quotas.max_queued_tasks,
            max_upload_bytes=settings.api.max_upload_bytes,
        ),
        **dict(holdings),
    )


@get("/audit", summary="What was done in my account, newest first", responses=responses(InvalidRequest))
async def list_audit(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    limit: Limit = 50,
    cursor: Cursor = None,
    action: Annotated[AuditAction | None, QueryParameter(description="Only this")] = None,
) -> Page[AuditEntry]:
    """Uploads, runs, saves, deletions, keys and sessions; for whatever was handed over, whether a link was
    signed (`…link_issued`: what becomes of it the store alone knows) or the bytes left through here
    (`…downloaded`); and who it was: you, another service in your name (`account.acted_as` at most once an
    hour) or one of your API keys. Kept for `AUDIT_TTL_S` (400 days), and gone with the account."""
    before = after_id(cursor)
    async with api.db.transaction(user.user_id) as c:
        items = await audit.page(c, user.user_id, limit=limit + 1, before=before, action=action)
    more = len(items) > limit
    items = items[:limit]
    return Page(items=items, next_cursor=id_cursor(items[-1].id) if more else None)


# --- export -------------------------------------------------------------------------------------


@route(
    "/export",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="Everything of mine as one ZIP",
    responses=responses(ExportFailed, ExportNotFound, StorageUnavailable)
    | handed_over(ZIP)
    | {202: still_built(Export)},
)
async def download_export(
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    prefer: Prefer = None,
) -> Response[Any]:
    """The file `trainyard_export_{date}.zip`: `account.json` (files, runs with their plans and results,
    saved models, API keys without their secrets, the audit trail), every file, every run's models, plots and
    report, every saved model, `README.txt`, `SHA256SUMS`. Where it is not built yet it is built now, and the
    call waits a while for it; what is not ready by then is at `Location`. It holds what there was at
    `built_at` until it expires; `DELETE /account/export` drops it, so that the next call builds another."""
    export = await _ask(api, user)
    if export["status"] == BundleStatus.BUILDING:
        export = await built(api, lambda: _look(api, user), wait_s(prefer)) or export
    if export["status"] == BundleStatus.FAILED:
        raise ExportFailed(export["error"])
    if export["status"] == BundleStatus.BUILDING:
        share = round(100 * export["progress"])
        return not_yet(
            request,
            _export(export),
            location="/account/export/status",
            doing="Packing your account",
            bar=f'<progress max="100" value="{share}">{share}%</progress>',
        )
    file = Download(
        what="export",
        subject_id=user.user_id,
        bucket=api.store.bundles,
        key=export_key(user.user_id, export["attempt"]),
        filename=f"trainyard_export_{export['built_at'].astimezone(dt.UTC):%Y-%m-%d}.zip",
        content_type=ZIP,
        size_bytes=export["size_bytes"],
        sha256=export["sha256"],
    )
    try:
        return await hand_over(request, api, file)
    except ModelNotFound:
        raise ExportNotFound from None


async def _ask(api: Context, user: Identity) -> Any:
    life_s = api.settings.retention.bundle_ttl_s + api.settings.s3.signed_url_ttl_s
    job_id = None
    async with api.db.transaction(user.user_id) as c:
        export = await account.ask_export(c, user.user_id, life_s)
        if export["build"]:
            job_id = await jobs.insert(
                c, JobKind.EXPORT, user.user_id, user.user_id, attempt=export["attempt"]
            )
        if export["asked"]:
            await record(c, user, AuditAction.ACCOUNT_EXPORT_ASKED, user.user_id)
    if job_id is not None:
        await hint(api.redis, [(JobKind.EXPORT, job_id)])
    return export


async def _look(api: Context, user: Identity) -> Any | None:
    async with api.db.transaction(user.user_id) as c:
        return await account.get_export(c, user.user_id)


def _export(row: Any) -> Export:
    fields = without_nulls(row, "size_bytes", "built_at", "expires_at", "error")
    if fields["status"] != BundleStatus.READY:  # what an earlier one had
        fields.pop("size_bytes", None)
        fields.pop("built_at", None)
    return msgspec.convert({k: v for k, v in fields.items() if k in Export.__struct_fields__}, Export)


@get(
    "/export/status",
    summary="How the export is getting on",
    responses=responses(ExportNotFound)
    | {200: answer(Export, "How far it is", CACHE_CONTROL, f"{RETRY_AFTER}?")},
)
async def get_export(api: NamedDependency[Context], user: NamedDependency[Identity]) -> Response[Export]:
    """404 where none was asked for, or the one there was has expired or was dropped."""
    export = await _look(api, user)
    if export is None:
        raise ExportNotFound
    building = export["status"] == BundleStatus.BUILDING
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "2"} if building else {})
    return Response(_export(export), headers=headers)


@delete("/export", summary="Drop the export", responses=responses(ExportNotFound))
async def drop_export(api: NamedDependency[Context], user: NamedDependency[Identity]) -> None:
    """It leaves the store within a minute, where it would have stayed until it expires; the next
    `GET /account/export` builds another. 404 where there is none, or it is still being built."""
    async with api.db.transaction(user.user_id) as c:
        if not await account.drop_export(c, user.user_id):
            raise ExportNotFound
        await record(c, user, AuditAction.ACCOUNT_EXPORT_DROPPED, user.user_id)


# --- the end ------------------------------------------------------------------------------------


@delete(
    "/",
    status_code=202,
    summary="Delete my account",
    responses=responses(InvalidRequest)
    | {202: answer(Deletion, "Being deleted", LOCATION, RETRY_AFTER, CACHE_CONTROL)},
)
async def delete_account(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    confirm: Annotated[
        str | None, QueryParameter(description="Your own user id, as `GET /account` tells it")
    ] = None,
) -> Response[Deletion]:
    """Everything goes, and nothing brings it back: runs that are under way stop; files, models, ZIPs and
    uploads that were never finished leave the store; rows and API keys leave the database, and with them the
    audit trail, but for one entry that says that an account of this id was deleted. Until that is done every
    call in this account's name is a 409 (`account-being-deleted`); after it the same person may begin anew,
    with an empty account. Where Supabase signs people in, the sign-in itself is Supabase's to delete.

    Links that were signed before work until what they lead to is gone, which is a matter of moments."""
    if confirm is None or confirm.lower() != str(user.user_id):
        raise InvalidRequest([("?confirm", "must be your own user id: this cannot be undone")])
    async with api.db.transaction(user.user_id) as c:
        await account.lock(c, user.user_id)
        await record(c, user, AuditAction.ACCOUNT_DELETION_ASKED, user.user_id)
        job_id = await jobs.insert(c, JobKind.ERASE, user.user_id, user.user_id)
        await account.begin_erasure(c, user.user_id)
    api.accounts.forget(user.user_id)
    log.info("account deletion asked for")
    await asyncio.gather(
        announce(api.redis, user.user_id, USERS_CHANNEL), hint(api.redis, [(JobKind.ERASE, job_id)])
    )
    told = Deletion(
        status="deleting",
        detail="Everything in this account is being deleted. Until that is done its calls are refused.",
    )
    headers = {"Location": "/account", "Retry-After": str(DELETION_RETRY_S), "Cache-Control": "no-store"}
    return Response(told, status_code=202, headers=headers)


router = Router(
    path="/account",
    route_handlers=[
        get_account,
        list_audit,
        download_export,
        get_export,
        drop_export,
        delete_account,
    ],
    opt={SCOPE: Scope.ADMIN},
    tags=["Account"],
)
