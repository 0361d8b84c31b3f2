"""API keys: made, listed and revoked by their owner."""

from __future__ import annotations

from typing import Annotated

import structlog
from litestar import Response, Router, delete, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter
from msgspec.structs import asdict

from services.api.answers import CACHE_CONTROL, REPLAYED, answer
from services.api.audit import record
from services.api.auth import Identity
from services.api.context import Context, parse_id
from services.api.idempotency import Once
from services.api.keys import new_key
from services.api.paging import Cursor, Limit, Page, after_id, id_cursor
from services.api.problems import responses
from services.api.quotas import room_for_a_key
from services.api.scopes import SCOPE
from shared.contracts.accounts import ApiKey, ApiKeyRequest, AuditAction, NewApiKey, Scope
from shared.contracts.states import uuid7
from shared.db import api_keys
from shared.errors import (
    ApiKeyNotFound,
    Conflict,
    InvalidRequest,
    KeyInUse,
    KeyReused,
    MalformedRequest,
    TooLarge,
    UnsupportedMedia,
)

log = structlog.get_logger(__name__)

_EXAMPLES = [
    Example(
        id="nightly",
        summary="For a job that trains every night, for ninety days",
        value={"name": "nightly training", "scopes": ["train"], "expires_in_s": 7776000},
    ),
    Example(
        id="dashboard", summary="For something that only looks", value={"name": "wall", "scopes": ["read"]}
    ),
]

_NO_STORE = [ResponseHeader(name="Cache-Control", value="no-store", description="The answer holds a secret")]


@post(
    "/",
    summary="Make an API key",
    response_headers=_NO_STORE,
    responses=responses(
        MalformedRequest, UnsupportedMedia, TooLarge, InvalidRequest, Conflict, KeyInUse, KeyReused
    )
    | {201: answer(NewApiKey, "The key, this once", CACHE_CONTROL, f"{REPLAYED}?")},
)
async def make_key(
    data: Annotated[ApiKeyRequest, Body(examples=_EXAMPLES)],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    once: NamedDependency[Once],
) -> Response[NewApiKey]:
    """`key` is shown in this answer and never again: only its hash is kept. It is sent as
    `Authorization: Bearer ty_…` and acts as you, within its scopes: `read` (GET and HEAD), `train` (that, and
    all that makes or changes something), `admin` (that, and API keys, the account and the audit). It cannot
    open a browser session.

    Under an `Idempotency-Key` the answer that is given again has no `key`, since that was not kept: if the
    first answer was lost, revoke this key and make another. 409 where you have as many keys as you may."""
    made, key_id = new_key(), uuid7()
    scopes = [scope for scope in Scope if scope in data.scopes]
    async with api.db.transaction(user.user_id) as c:
        if (known := await once.replay(c)) is not None:
            return known
        await room_for_a_key(api, c, user.user_id)
        listed = await api_keys.insert(
            c,
            key_id=key_id,
            user_id=user.user_id,
            name=data.name,
            prefix=made.prefix,
            digest=made.digest,
            scopes=scopes,
            expires_in_s=data.expires_in_s,
        )
        await record(c, user, AuditAction.KEY_CREATED, key_id, name=data.name, scopes=scopes)
        shown = NewApiKey(**asdict(listed), key=made.text)
        answer = await once.answer(c, shown, {}, status=201, kept_content=listed)
    log.info("api key made", made_key_id=str(key_id), scopes=" ".join(scopes))
    return answer


@get("/", summary="My API keys, newest first", responses=responses(InvalidRequest))
async def list_keys(
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ApiKey]:
    """By name and prefix; the keys themselves are shown to nobody again. `last_used_at` is right to the
    minute. An expired key stays in the list until the next one is made."""
    before = after_id(cursor)
    async with api.db.transaction(user.user_id) as c:
        items = await api_keys.page(c, user.user_id, limit=limit + 1, before=before)
    more = len(items) > limit
    items = items[:limit]
    return Page(items=items, next_cursor=id_cursor(items[-1].id) if more else None)


@delete("/{key_id:str}", summary="Revoke an API key", responses=responses(ApiKeyNotFound))
async def revoke_key(
    key_id: Annotated[str, PathParameter(description="An API key's id (UUID)")],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> None:
    """Refused from now on, by every process of the API within five seconds; an event stream that was opened
    with it ends within five minutes."""
    parsed = parse_id(key_id, ApiKeyNotFound)
    async with api.db.transaction(user.user_id) as c:
        if not await api_keys.delete(c, user.user_id, parsed):
            raise ApiKeyNotFound
        await record(c, user, AuditAction.KEY_REVOKED, parsed)
    api.keys.forget(parsed)
    log.info("api key revoked", revoked_key_id=str(parsed))


router = Router(
    path="/auth/api-keys",
    route_handlers=[make_key, list_keys, revoke_key],
    opt={SCOPE: Scope.ADMIN},
    tags=["API keys"],
)
