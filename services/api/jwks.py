"""The identity provider's public keys: a JSON Web Key Set (RFC 7517), fetched when needed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.errors import SignInUnavailable, Unauthenticated

log = structlog.get_logger(__name__)

_KINDS = {"RSA": "RS256", "EC": "ES256"}
ALGORITHMS = frozenset(_KINDS.values())
SMALLEST_RSA_BITS = 2048
"""RFC 7518, section 3.3."""
LARGEST_RSA_BITS = 8192
"""Beyond it a signature costs milliseconds to check."""
MOST_BYTES = 256 * 1024
MOST_KEYS = 100

REFETCH_S = 60.0
"""The soonest that an unknown key is looked for again."""
RETRY_S = 5.0
"""The same while there are no keys at all, and nobody can sign in."""
STALE_S = 600.0
"""Keys are fetched again after so long, so that one taken out is forgotten."""
DEAD_S = 3600.0
"""Keys that cannot be fetched again are used no longer than that: about as long as a token lives."""
FETCH_TIMEOUT_S = 5.0


class Keys:
    """The public keys by `kid` and algorithm: fetched when first needed, again when one is unknown, at most
    once a minute, and every ten minutes so that a key taken out is forgotten.

    `changed` is called after each fetch: whatever was checked with the keys before it is to be checked
    again.
    """

    def __init__(
        self, url: str, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._changed = changed
        self._clock = clock
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._not_before = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The key that this `kid` names, if it is one for this algorithm. Raises Unauthenticated for one
        that is not there, SignInUnavailable where the keys cannot be fetched."""
        if kid is None:
            raise Unauthenticated("The token does not say which key signed it")
        wanted = (kid, algorithm)
        if wanted not in self._keys or self.fresh_for() <= 0:
            await self._refresh(wanted)
        if self._clock() - self._fetched > DEAD_S:
            raise SignInUnavailable
        if wanted in self._keys:
            return self._keys[wanted]
        raise Unauthenticated("The token is signed by a key that is not known")

    def fresh_for(self) -> float:
        """Seconds until the keys are to be fetched again."""
        return self._fetched + STALE_S - self._clock()

    async def _refresh(self, wanted: tuple[str, str]) -> None:
        async with self._fetching:
            # whoever had the lock may have fetched it just now
            if self._clock() < self._not_before or (wanted in self._keys and self.fresh_for() > 0):
                return
            try:
                self._keys = await self._fetch()
                self._fetched = self._clock()
                self._changed()
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
                log.warning("sign-in keys not fetched", reason=f"{type(error).__name__}: {error}")
            now = self._clock()
            self._not_before = now + (REFETCH_S if now - self._fetched <= DEAD_S else RETRY_S)

    async def _fetch(self) -> dict[tuple[str, str], jwt.PyJWK]:
        """Raises ValueError for an answer that is no key set, or leads elsewhere, or does not end."""
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        # as it is sent: something small that unpacks into something large is not asked for
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as http,
            http.get(self._url, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"the answer is a {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ValueError(f"the answer is longer than {MOST_BYTES:,} bytes")
        return public_keys(bytes(body))


def public_keys(body: bytes) -> dict[tuple[str, str], jwt.PyJWK]:
    """The keys of a set that we take, by `kid` and algorithm; the others are passed over. Raises ValueError
    for a body that is no key set."""
    listed = json.loads(body)
    if not isinstance(listed, dict) or not isinstance(listed.get("keys"), list):
        raise ValueError("the answer is not a JSON Web Key Set")
    found: dict[tuple[str, str], jwt.PyJWK] = {}
    for entry in listed["keys"][:MOST_KEYS]:
        key = _public_key(entry)
        if key is not None and isinstance(key.key_id, str):
            found.setdefault((key.key_id, key.algorithm_name), key)
    return found


def _public_key(entry: Any) -> jwt.PyJWK | None:
    """A key to check signatures with, of a kind that we take and strong enough. Its kind says which
    algorithm it is for; what it says of itself may only agree."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithm = _KINDS.get(str(entry.get("kty")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a sign-in key was passed over", reason=type(error).__name__)
        return None
    return key if _strong(key.key) else None


def _strong(key: Any) -> bool:
    """Also False for a private key, which nobody should have been able to fetch."""
    if isinstance(key, RSAPublicKey):
        return SMALLEST_RSA_BITS <= key.key_size <= LARGEST_RSA_BITS
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
