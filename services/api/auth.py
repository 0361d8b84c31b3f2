"""Who is asking: a token, an API key or the session cookie, and the user it acts as."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, Literal

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct
from structlog.contextvars import bind_contextvars

from services.api.keys import MARK, STREAMED_S, KeyHolder
from services.api.scopes import EVERYTHING, require_scope
from services.api.tokens import SERVICE, Claims
from shared.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from services.api.context import Context

COOKIE = "trainyard_session"
PUBLIC = "public"
"""`opt={PUBLIC: True}`: a handler that asks nobody who they are."""
KEY = "api_key"
"""The `role` in the Claims of an API key."""


class Identity(Struct, frozen=True, kw_only=True):
    """The user whom a request acts as, and who asks in its name.

    `actor`: `user` (a signed-in person), `service` (a service token with `X-User-Id`) or `key` (an API
    key of the user's, which `key_id` names). `scopes`: what it may do here, of `read`, `train`, `admin`.
    """

    user_id: uuid.UUID
    email: str | None
    actor: Literal["user", "service", "key"]
    key_id: uuid.UUID | None = None
    scopes: frozenset[str] = EVERYTHING

    @property
    def service(self) -> bool:
        return self.actor == "service"


class Authenticate(ASGIMiddleware):
    """Puts the Identity in `request.user` and the checked Claims in `request.auth`, and lets nobody by whose
    scopes do not reach."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        context: Context = scope["litestar_app"].state.context
        claims, holder = await _shown(context, scope)
        identity = identify(claims, _header(scope, b"x-user-id"), holder)
        bind_contextvars(user_id=str(identity.user_id))
        if identity.key_id is not None:
            bind_contextvars(key_id=str(identity.key_id))
        scope["user"], scope["auth"] = identity, claims
        require_scope(identity.scopes, str(scope.get("method")), scope["route_handler"].opt)
        await context.accounts.admit(identity)
        await next_app(scope, receive, send)


async def _shown(context: Context, scope: Scope) -> tuple[Claims, KeyHolder | None]:
    """What the caller showed, checked. Raises Unauthenticated, SignInUnavailable, DatabaseUnavailable."""
    given = _header(scope, b"authorization")
    if given is None:
        claims = await context.tokens.check(_cookie(scope))
        if claims.role == SERVICE:
            raise Unauthenticated("A session is a user's")
        return claims, None
    scheme, _, token = given.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The Authorization header must be `Bearer <token>`")
    if not token.startswith(MARK):
        return await context.tokens.check(token), None
    holder = await context.keys.check(context.db, token)
    # a key that is revoked meanwhile must not go on listening to a stream of events
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=STREAMED_S)
    if holder.expires_at is not None:
        until = min(until, holder.expires_at)
    return Claims(role=KEY, user_id=holder.user_id, email=None, expires_at=until), holder


def identify(claims: Claims, acting_as: str | None, holder: KeyHolder | None = None) -> Identity:
    """Raises Forbidden where `X-User-Id` is another's, or is missing from another service."""
    try:
        named = uuid.UUID(acting_as) if acting_as is not None else None
    except ValueError:
        raise Forbidden("X-User-Id is not a user's id") from None
    if claims.role == SERVICE:
        if named is None:
            raise Forbidden("A service must say in X-User-Id whom it acts for")
        return Identity(user_id=named, email=None, actor="service")
    if claims.user_id is None:
        raise Unauthenticated
    if named is not None and named != claims.user_id:
        raise Forbidden("X-User-Id is another user's")
    if holder is not None:
        return Identity(
            user_id=holder.user_id, email=None, actor="key", key_id=holder.key_id, scopes=holder.scopes
        )
    return Identity(user_id=claims.user_id, email=claims.email, actor="user")


def _cookie(scope: Scope) -> str:
    # a cookie comes along with requests that other sites start: it may read, never change
    if scope.get("method") == "GET" and (
        kept := ASGIConnection[Any, Any, Any, Any](scope).cookies.get(COOKIE)
    ):
        return kept
    raise Unauthenticated


def _header(scope: Scope, name: bytes) -> str | None:
    """Raises Unauthenticated for one that is there twice: a proxy may have looked at the other."""
    found = [value for key, value in scope["headers"] if key == name]
    if len(found) > 1:
        raise Unauthenticated(f"The header {name.decode()} is there twice")
    return found[0].decode("latin-1") if found else None
