"""Tokens of Supabase's shape: HS256 with our secret, RS256 and ES256 with keys from a JWKS.

The algorithm is bound to the key: a token's header only says which key it claims, never how it is
checked, so `none` and a public key used as an HMAC secret get nowhere (RFC 8725, section 3.1).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections import OrderedDict
from typing import Any

import aiohttp
import jwt
import structlog
from msgspec import Struct

from shared.errors import ConfigurationError, SignInUnavailable, Unauthenticated
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

_REFETCH_S = 60.0
_RETRY_S = 5.0
_STALE_S = 600.0
_FETCH_TIMEOUT_S = 5.0
_ASYMMETRIC = frozenset({"RS256", "ES256"})


class Claims(Struct, frozen=True, kw_only=True):
    """What a token that was checked says; `user_id` is None for another service's."""

    role: str
    user_id: uuid.UUID | None
    email: str | None
    expires_at: dt.datetime | None


class Tokens:
    """Checks tokens, and issues the local stack's own."""

    def __init__(self, settings: Auth) -> None:
        self._secret = settings.auth_jwt_secret
        self._audience = settings.auth_audience
        self._keys = Keys(settings.auth_jwks_url) if settings.auth_jwks_url else None
        self._known: OrderedDict[str, tuple[Claims, float]] = OrderedDict()

    async def check(self, token: str) -> Claims:
        """The claims of a valid token. Raises Unauthenticated, SignInUnavailable."""
        known = self._known.get(token)
        if known is not None and known[1] > time.time():
            return known[0]
        claims = self._claims(await self._verified(token))
        until = time.time() + _REMEMBERED_S
        if claims.expires_at is not None:
            until = min(until, claims.expires_at.timestamp() + LEEWAY_S)
        self._known[token] = (claims, until)
        self._known.move_to_end(token)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return claims

    async def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The token is too long")
        try:
            header = jwt.get_unverified_header(token)
            key, algorithm = await self._key(header)
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                leeway=LEEWAY_S,
                options={"verify_aud": False},  # which audience is right depends on the role
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated("The token is not valid") from None

    async def _key(self, header: dict[str, Any]) -> tuple[Any, str]:
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._secret:
            return self._secret, "HS256"
        if algorithm in _ASYMMETRIC and self._keys is not None:
            key = await self._keys.get(header.get("kid"))
            if key.algorithm_name == algorithm:
                return key.key, key.algorithm_name
        raise Unauthenticated("The token is not signed in a way that is taken here")

    def _claims(self, payload: dict[str, Any]) -> Claims:
        role = payload.get("role")
        expires = payload.get("exp")
        expires_at = dt.datetime.fromtimestamp(int(expires), dt.UTC) if expires is not None else None
        if role == SERVICE:
            return Claims(role=SERVICE, user_id=None, email=None, expires_at=expires_at)
        if role != USER:
            raise Unauthenticated("The token is not a signed-in user's")
        audience = payload.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise Unauthenticated("The token is meant for somebody else")
        if expires_at is None:
            raise Unauthenticated("The token has no end")
        try:
            user_id = uuid.UUID(payload["sub"])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Unauthenticated("The token names no user") from None
        email = payload.get("email")
        return Claims(
            role=USER,
            user_id=user_id,
            email=email if isinstance(email, str) and email.isprintable() and email else None,
            expires_at=expires_at,
        )

    def issue(self, user_id: uuid.UUID, email: str) -> tuple[str, int]:
        """A user's token and its lifetime in seconds, signed with our secret: for the local stack."""
        now = int(time.time())
        payload = {
            "sub": str(user_id),
            "aud": self._audience,
            "role": USER,
            "email": email,
            "iat": now,
            "exp": now + ISSUED_S,
        }
        return jwt.encode(payload, self._secret, algorithm="HS256"), ISSUED_S


def check_settings(settings: Auth) -> None:
    """Raises ConfigurationError where no token could be checked safely."""
    secret = settings.auth_jwt_secret
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigurationError(f"AUTH_JWT_SECRET must be at least {MIN_SECRET_BYTES} bytes long")
    if not secret and not settings.auth_jwks_url:
        raise ConfigurationError("AUTH_JWT_SECRET or AUTH_JWKS_URL is required")
    if settings.auth_dev_login and not secret:
        raise ConfigurationError("AUTH_DEV_LOGIN needs AUTH_JWT_SECRET")


class Keys:
    """The public keys of a JWKS by `kid`: fetched when first needed, again when one is unknown, at most
    once a minute, and every ten minutes so that a key taken out is forgotten."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -_STALE_S
        self._not_before = 0.0
        self._fetching = asyncio.Lock()

    async def get(self, kid: object) -> jwt.PyJWK:
        """Raises Unauthenticated for a key that is not there, SignInUnavailable where none was fetched."""
        if not isinstance(kid, str):
            raise Unauthenticated("The token does not say which key signed it")
        if kid not in self._keys or time.monotonic() - self._fetched > _STALE_S:
            await self._refresh(kid)
        if kid in self._keys:
            return self._keys[kid]
        if not self._keys:
            raise SignInUnavailable
        raise Unauthenticated("The token is signed by a key that is not known")

    async def _refresh(self, kid: str) -> None:
        async with self._fetching:
            now = time.monotonic()
            if now < self._not_before or (kid in self._keys and now - self._fetched <= _STALE_S):
                return
            try:
                self._keys = await self._fetch()
                self._fetched = time.monotonic()
                self._not_before = self._fetched + _REFETCH_S
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, jwt.PyJWTError) as error:
                # the keys known so far go on being used
                self._not_before = time.monotonic() + _RETRY_S
                log.warning("sign-in keys not fetched", reason=f"{type(error).__name__}: {error}")

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as http,
            http.get(self._url) as answer,
        ):
            answer.raise_for_status()
            listed = await answer.json(content_type=None)
        keys = listed["keys"] if isinstance(listed, dict) and isinstance(listed.get("keys"), list) else []
        return {k.key_id: k for entry in keys if (k := _public_key(entry)) is not None and k.key_id}


def _public_key(entry: Any) -> jwt.PyJWK | None:
    """A signing key that we take; anything else in the set is passed over."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(entry)
    except (jwt.PyJWTError, ValueError, KeyError):
        return None
    return key if key.algorithm_name in _ASYMMETRIC else None
