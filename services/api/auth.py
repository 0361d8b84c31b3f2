"""Who is asking: the token or the session cookie, and the user it acts as."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Literal

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct
from structlog.contextvars import bind_contextvars

from services.api.tokens import SERVICE, Claims
from shared.db import users
from shared.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from services.api.context import Context

COOKIE = "trainyard_session"
PUBLIC = "public"
"""`opt={PUBLIC: True}`: a handler that asks nobody who they are."""

EVERYTHING = frozenset({"read", "train", "admin"})

_SEEN_S = 600.0
_SEEN = 100_000


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
    """Puts the Identity in `request.user` and the checked Claims in `request.auth`."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC

    def __init__(self) -> None:
        self._seen: dict[uuid.UUID, float] = {}

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        context: Context = scope["litestar_app"].state.context
        claims = await context.tokens.check(_token(scope))
        identity = identify(claims, _header(scope, b"x-user-id"))
        bind_contextvars(user_id=str(identity.user_id))
        scope["user"], scope["auth"] = identity, claims
        await self._ensure(context, identity)
        await next_app(scope, receive, send)

    async def _ensure(self, context: Context, identity: Identity) -> None:
        """A user seen for the first time (in ten minutes) gets its row, which everything refers to."""
        if self._seen.get(identity.user_id, 0.0) > time.monotonic():
            return
        async with context.db.transaction(identity.user_id) as c:
            await users.ensure(c, identity.email)
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen[identity.user_id] = time.monotonic() + _SEEN_S


def identify(claims: Claims, acting_as: str | None) -> Identity:
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
    return Identity(user_id=claims.user_id, email=claims.email, actor="user")


def _token(scope: Scope) -> str:
    given = _header(scope, b"authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The Authorization header must be `Bearer <token>`")
        return token.strip()
    # a cookie comes along with requests that other sites start: it may read, never change
    if scope.get("method") == "GET" and (
        kept := ASGIConnection[Any, Any, Any, Any](scope).cookies.get(COOKIE)
    ):
        return kept
    raise Unauthenticated


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
