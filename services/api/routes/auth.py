"""Sessions for browsers, and signing in on a local stack."""

from __future__ import annotations

import ipaddress
import time
import uuid
from typing import Annotated, Any
from urllib.parse import urlsplit

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from services.api.answers import CACHE_CONTROL, SET_COOKIE, answer
from services.api.audit import deed
from services.api.auth import COOKIE, PUBLIC, Identity
from services.api.context import Context
from services.api.problems import responses
from services.api.tokens import Claims
from services.api.wording import EMAIL
from shared.contracts.accounts import AuditAction
from shared.db.audit import insert_alone
from shared.errors import (
    ConfigurationError,
    Forbidden,
    InvalidRequest,
    MalformedRequest,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from shared.settings import Api

LOCAL_USERS = uuid.uuid5(uuid.NAMESPACE_URL, "trainyard:dev-login")
"""A local user's id is made of the e-mail address: the same after every restart."""


class DevLogin(Struct, kw_only=True, forbid_unknown_fields=True):
    email: Annotated[str, Meta(max_length=254, pattern=EMAIL, examples=["ada@example.com"])]


class SignedInUser(Struct, kw_only=True):
    id: uuid.UUID
    email: str


class SignedIn(Struct, kw_only=True):
    access_token: str
    token_type: str
    expires_in: int
    user: SignedInUser


class SupabaseProject(Struct, kw_only=True):
    url: str
    anon_key: str


class WaysIn(Struct, kw_only=True, omit_defaults=True):
    """How a person signs in: without a password at `POST /auth/dev-login`, or at a Supabase project, whose
    tokens are taken here. Neither: this server's operator knows."""

    dev_login: bool
    supabase: SupabaseProject | UnsetType = UNSET


@get(
    "/sign-in",
    opt={PUBLIC: True},
    security=[{}],
    summary="How to sign in",
    responses=responses(public=True) | {200: answer(WaysIn, "The ways there are", CACHE_CONTROL)},
)
async def get_ways_in(api: NamedDependency[Context]) -> WaysIn:
    """For a frontend that has to ask somebody who they are, before it has a token."""
    auth = api.settings.auth
    known = auth.supabase_url and auth.supabase_anon_key
    url = auth.supabase_url.rstrip("/")
    project = SupabaseProject(url=url, anon_key=auth.supabase_anon_key) if known else UNSET
    return WaysIn(dev_login=auth.auth_dev_login, supabase=project)


@post(
    "/session",
    status_code=204,
    security=[{"bearerAuth": []}],
    summary="Begin a browser session",
    responses=responses() | {204: answer(None, "The cookie is set", SET_COOKIE)},
)
async def begin_session(
    request: Request[Identity, Claims, Any], api: NamedDependency[Context]
) -> Response[None]:
    """Sets a cookie that carries the token of this request, honoured for GET only: for downloads and
    event streams, where a browser sends no header."""
    claims = request.auth
    if request.user.actor != "user":
        raise Forbidden("A session is a signed-in user's: another service sends its header instead")
    if claims.expires_at is None:
        raise Unauthenticated
    token = request.headers["authorization"].partition(" ")[2].strip()
    left = max(int(claims.expires_at.timestamp() - time.time()), 0)
    async with api.db.connection() as c:
        await insert_alone(c, deed(request.user, AuditAction.SESSION_BEGUN, None, expires_in_s=left))
    return Response(None, cookies=[_cookie(request, token, left)])


@delete(
    "/session",
    opt={PUBLIC: True},
    security=[{}],
    summary="End a browser session",
    responses=responses(public=True) | {204: answer(None, "The cookie is gone", SET_COOKIE)},
)
async def end_session(request: Request[Any, Any, Any]) -> Response[None]:
    """Takes the cookie away, whoever asks and whatever is in it: a session that has expired, or was signed
    with a secret that is no longer taken, can be ended too. Nothing is kept here that would have to change,
    and another site cannot ask for it: a browser sends no cross-site DELETE without asking first (CORS), and
    the cookie, SameSite=Lax, not with it. The token itself stays valid until it expires."""
    return Response(None, cookies=[_cookie(request, "", 0)])


def _cookie(request: Request[Any, Any, Any], value: str, max_age: int) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


@post(
    "/dev-login",
    status_code=200,
    opt={PUBLIC: True},
    security=[{}],
    summary="Sign in on a local stack",
    responses=responses(MalformedRequest, UnsupportedMedia, TooLarge, Forbidden, InvalidRequest, public=True)
    | {200: answer(SignedIn, "A token of twelve hours", CACHE_CONTROL)},
)
async def dev_login(
    data: JSONBody[DevLogin], request: Request[Any, Any, Any], api: NamedDependency[Context]
) -> Response[SignedIn]:
    """A token for any e-mail address, without a password. Only where `AUTH_DEV_LOGIN=true`, which no
    server that others can reach starts with."""
    check_host(request.headers.get("host", ""), api.settings.api)
    email = data.email.lower()
    user_id = uuid.uuid5(LOCAL_USERS, email)
    token, expires_in = api.tokens.issue(user_id, email)
    answer = SignedIn(
        access_token=token,
        token_type="bearer",  # noqa: S106 - the kind of token, not one
        expires_in=expires_in,
        user=SignedInUser(id=user_id, email=email),
    )
    return Response(answer, headers={"Cache-Control": "no-store"})


def check_host(header: str, settings: Api) -> None:
    """Raises Forbidden under a name that is not this machine's: a page elsewhere whose name was made to
    point here would send its own (DNS rebinding)."""
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        host = ""
    allowed = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    if not is_loopback(host) and host not in allowed:
        raise Forbidden("Signing in without a password works on this machine only")


def check_settings(settings: Api) -> None:
    """Raises ConfigurationError where others could reach a server that asks for no password."""
    if not is_loopback(settings.host):
        raise ConfigurationError(
            f"AUTH_DEV_LOGIN lets anybody in: not on HOST={settings.host}, only on a loopback address"
        )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def router(*, local_sign_in: bool) -> Router:
    handlers = [get_ways_in, begin_session, end_session, *([dev_login] if local_sign_in else [])]
    return Router(path="/auth", route_handlers=handlers, tags=["Signing in"])
