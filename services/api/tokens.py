"""Tokens of Supabase's shape: HS256 with our secret, RS256 and ES256 with keys from a JWKS.

The algorithm is bound to the key: a token's header only says which key it claims, never how it is
checked, so `none` and a public key used as an HMAC secret get nowhere (RFC 8725, section 3.1). Keys come
from the settings alone: what a header brings along or points at (`jwk`, `jku`, `x5c`, `x5u`) is not looked
at.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

import jwt
import msgspec
import structlog
from msgspec import Meta, Struct

from services.api.jwks import ALGORITHMS, Keys
from shared.errors import ConfigurationError, Unauthenticated
from shared.settings import Auth

log = structlog.get_logger(__name__)

LEEWAY_S = 30
MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: a key of the hash's size or larger."""
LONGEST_TOKEN = 8192
SERVICE = "service_role"
USER = "authenticated"
ISSUED_S = 12 * 3600

_REMEMBERED = 4096
_REMEMBERED_S = 60.0
"""A checked token is not checked again for so long: a signature costs more than the rest of a poll."""

_JWS = jwt.PyJWS(algorithms=["HS256", *sorted(ALGORITHMS)], options={"enforce_minimum_key_length": True})
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""RFC 8725, section 3.11: a token made for something else says so."""

Seconds = Annotated[float, Meta(ge=0, le=253_402_300_799)]
"""Since 1970, to the end of the year 9999."""


class Claims(Struct, frozen=True, kw_only=True):
    """What was checked; `user_id` is None for another service's token. `expires_at` is when the bearer has
    to show itself again."""

    role: str
    user_id: uuid.UUID | None
    email: str | None
    expires_at: dt.datetime | None


class _Header(Struct):
    alg: str
    kid: str | None = None
    typ: str | None = None


class _Payload(Struct):
    role: str
    sub: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    exp: Seconds | None = None
    nbf: Seconds | None = None
    iat: Seconds | None = None
    email: Any = None


class Tokens:
    """Checks tokens, and issues the local stack's own."""

    def __init__(
        self,
        settings: Auth,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._use(settings)
        self._audience = settings.auth_audience
        self._issuers = issuers(settings)
        # by digest: whoever reads this process's memory finds no token in it
        self._known: OrderedDict[bytes, tuple[Claims, float]] = OrderedDict()
        self._now = now
        self._keys = Keys(url, self._known.clear, clock) if (url := settings.auth_jwks_url) else None

    def _use(self, settings: Auth) -> None:
        self._secret = settings.auth_jwt_secret
        # the new one first: the one before it is only there until its last token has expired
        self._secrets = [s for s in (settings.auth_jwt_secret, settings.auth_jwt_previous_secret) if s]

    def change_secrets(self, settings: Auth) -> None:
        """Take the secrets of these settings from here on, and no others."""
        self._use(settings)
        self._known.clear()

    async def check(self, token: str) -> Claims:
        """The claims of a valid token. Raises Unauthenticated, SignInUnavailable."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The token is too long")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and known[1] > self._now():
            return known[0]
        if not _COMPACT.fullmatch(token):
            raise Unauthenticated("The token is not a JWT: three parts of base64url, with dots between them")
        header = _part(token.partition(".")[0], _Header)
        payload = await self._verified(token, header)
        # nothing is awaited from here on: keys that are fetched meanwhile make this forgotten again
        claims = self._claims(payload)
        self._remember(digest, claims, asymmetric=header.alg in ALGORITHMS)
        return claims

    async def _verified(self, token: str, header: _Header) -> _Payload:
        """The payload of a token whose signature is right."""
        if header.typ is not None and header.typ.lower() not in _TYPES:
            raise Unauthenticated("The token is of another type than JWT")
        for key in await self._keys_for(header):
            try:
                _JWS.decode_complete(token, key, algorithms=[header.alg])
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, TypeError):
                break
            return _part(token.split(".")[1], _Payload)
        raise Unauthenticated("The token's signature is not valid")

    async def _keys_for(self, header: _Header) -> list[Any]:
        if header.alg == "HS256" and self._secrets:
            return list(self._secrets)
        if header.alg in ALGORITHMS and self._keys is not None:
            return [await self._keys.get(header.kid, header.alg)]
        raise Unauthenticated("The token is not signed in a way that is taken here")

    def _claims(self, payload: _Payload) -> Claims:
        now = self._now()
        if payload.exp is not None and payload.exp <= now - LEEWAY_S:
            raise Unauthenticated("The token has expired")
        if any(t is not None and t > now + LEEWAY_S for t in (payload.nbf, payload.iat)):
            raise Unauthenticated("The token is not valid yet")
        if self._issuers and payload.iss not in self._issuers:
            raise Unauthenticated("The token was issued by somebody else")
        audiences = payload.aud if isinstance(payload.aud, list) else [payload.aud]
        # a service's token names no audience, and none but ours if it does
        if self._audience not in audiences and not (payload.role == SERVICE and payload.aud is None):
            raise Unauthenticated("The token is meant for somebody else")
        expires_at = dt.datetime.fromtimestamp(payload.exp, dt.UTC) if payload.exp is not None else None
        if payload.role == SERVICE:
            return Claims(role=SERVICE, user_id=None, email=None, expires_at=expires_at)
        if payload.role != USER:
            raise Unauthenticated("The token is not a signed-in user's")
        if expires_at is None:
            raise Unauthenticated("The token has no end")
        try:
            user_id = uuid.UUID(payload.sub)
        except (ValueError, TypeError, AttributeError):
            raise Unauthenticated("The token names no user") from None
        return Claims(role=USER, user_id=user_id, email=_email(payload.email), expires_at=expires_at)

    def _remember(self, digest: bytes, claims: Claims, *, asymmetric: bool) -> None:
        now = self._now()
        until = now + _REMEMBERED_S
        if claims.expires_at is not None:
            until = min(until, claims.expires_at.timestamp() + LEEWAY_S)
        if asymmetric and self._keys is not None:
            until = min(until, now + self._keys.fresh_for())
        self._known[digest] = (claims, until)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def issue(self, user_id: uuid.UUID, email: str) -> tuple[str, int]:
        """A user's token and its lifetime in seconds, signed with our secret: for the local stack."""
        now = int(self._now())
        payload = {
            "sub": str(user_id),
            "aud": self._audience,
            "role": USER,
            "email": email,
            "iat": now,
            "exp": now + ISSUED_S,
        }
        if self._issuers:
            payload["iss"] = self._issuers[0]
        return jwt.encode(payload, self._secret, algorithm="HS256"), ISSUED_S


def _email(claimed: Any) -> str | None:
    return claimed if isinstance(claimed, str) and claimed.isprintable() and claimed else None


def _part(segment: str, wanted: type[Any]) -> Any:
    """Header or payload. Raises Unauthenticated where it is not what it should be, or says a thing twice:
    parsers differ in which one they take (RFC 7519, section 4)."""
    try:
        text = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        found = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if wanted is _Header and not found.keys().isdisjoint(_CRITICAL):
            raise ValueError("an extension that is not known")
        return msgspec.convert(found, wanted)
    except (binascii.Error, ValueError, AttributeError, RecursionError, msgspec.ValidationError):
        part = "header" if wanted is _Header else "payload"
        raise Unauthenticated(f"The token's {part} is not one that is taken here") from None


_CRITICAL = frozenset({"crit", "b64", "zip", "enc"})
"""RFC 7515, section 4.1.11: what has to be understood, and is not; and signs of what is no plain JWS."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def issuers(settings: Auth) -> list[str]:
    """Who may issue tokens; empty: whoever has the secret or one of the keys."""
    return [issuer for given in settings.auth_issuer.split(",") if (issuer := given.strip())]


def check_settings(settings: Auth) -> None:
    """Raises ConfigurationError where no token could be checked safely."""
    for name in ("auth_jwt_secret", "auth_jwt_previous_secret"):
        secret = getattr(settings, name)
        if secret and len(secret.encode()) < MIN_SECRET_BYTES:
            raise ConfigurationError(f"{name.upper()} must be at least {MIN_SECRET_BYTES} bytes long")
    if not settings.auth_jwt_secret and not settings.auth_jwks_url:
        raise ConfigurationError("AUTH_JWT_SECRET or AUTH_JWKS_URL is required")
    if not settings.auth_audience:
        raise ConfigurationError("AUTH_AUDIENCE must not be empty")
    if settings.auth_dev_login and not settings.auth_jwt_secret:
        raise ConfigurationError("AUTH_DEV_LOGIN needs AUTH_JWT_SECRET")
    if settings.auth_jwks_url:
        _check_url("AUTH_JWKS_URL", settings.auth_jwks_url, "can put keys of their own there")
    if settings.supabase_url:
        _check_url("SUPABASE_URL", settings.supabase_url, "hears passwords")
        if not re.fullmatch(r"[\w.:\[\]-]+", urlsplit(settings.supabase_url).netloc, re.ASCII):
            # it becomes part of the pages' policy, and everybody is told
            raise ConfigurationError("SUPABASE_URL is to name a host, and nobody's name or password")
    if settings.supabase_anon_key:
        _check_public(settings.supabase_anon_key)


def _check_url(variable: str, url: str, danger: str) -> None:
    """`danger`: what whoever is in between does where it is not https."""
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname, parts.scheme
    except ValueError:
        host = scheme = None
    if scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"{variable} must be an https:// address")
    if scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        log.warning(f"{variable} is not https: whoever is in between {danger}")


def _check_public(key: str) -> None:
    """SUPABASE_ANON_KEY goes to every browser. Raises ConfigurationError where it is the one beside it in
    Supabase's settings, which no policy holds back."""
    try:
        role = _part(key.split(".")[1], _Payload).role
    except (IndexError, Unauthenticated):  # a key of the newer kind, which is no JWT
        role = ""
    if role == SERVICE or key.startswith("sb_secret_"):
        raise ConfigurationError("SUPABASE_ANON_KEY is the project's secret key: browsers get the anon key")
