"""Too many requests: a user's over all API processes, and an address's that guesses tokens."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from services.api.auth import PUBLIC
from services.api.rates import WINDOW_S, Exceeded, Limit, Rate
from shared.errors import TooManyRequests, Unauthenticated
from shared.settings import RateLimits

if TYPE_CHECKING:
    from services.api.context import Context

_RATE = "trainyard.rate"
"""Where the scope says what to show of it in the answer's headers."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_REMEMBERED = 20_000
_NETWORK_BITS = 64
"""Whoever has one IPv6 address has a network of these."""


class RefuseGuesses(ASGIMiddleware):
    """Before who asks is found out: an address whose tokens were refused too often gets no further, but
    for those that were accepted before. What carries no token costs nothing to refuse and is not counted."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC

    def __init__(self, settings: RateLimits) -> None:
        self._limit = Limit("failed", settings.rate_limit_failed_logins_per_min)
        self._accepted: set[int] = set()
        self._earlier: set[int] = set()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        token = _credentials(scope)
        if token is None or not self._limit.most or (address := _address(scope)) is None:
            await next_app(scope, receive, send)
            return
        rates = _context(scope).rates
        # the interpreter's own hash is keyed anew in each process: nobody can aim at it
        known = hash(token)
        if known not in self._accepted and known not in self._earlier:
            exceeded = rates.exceeded(self._limit, address)
            if exceeded is not None:
                raise _too_many(exceeded, "Too many tokens from this address were refused; try again later")
        try:
            await next_app(scope, receive, send)
        except Unauthenticated:
            rates.count(self._limit, address)
            raise
        if known not in self._accepted:
            if len(self._accepted) >= _REMEMBERED:
                self._earlier, self._accepted = self._accepted, set()
            self._accepted.add(known)


class LimitRates(ASGIMiddleware):
    """After who asks is known: so many reads and so many writes a minute for each user."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC

    def __init__(self, settings: RateLimits) -> None:
        self._reads = Limit("reads", settings.rate_limit_reads_per_min)
        self._writes = Limit("writes", settings.rate_limit_writes_per_min)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        limit = self._reads if scope.get("method") in _READING else self._writes
        if limit.most:
            rate = await _context(scope).rates.admit(limit, scope["user"].user_id)
            scope[_RATE] = rate  # type: ignore[literal-required]
            if isinstance(rate, Exceeded):
                raise _too_many(rate, f"More than {limit.most} {limit.name} a minute; try again later")
        await next_app(scope, receive, send)


def rate_of(scope: Scope) -> Rate | Exceeded | None:
    """Where the user of this request stands; None where nothing was counted."""
    rate: Rate | Exceeded | None = scope.get(_RATE)  # type: ignore[assignment]
    return rate


def rate_headers(rate: Rate | Exceeded) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)."""
    if isinstance(rate, Rate):
        remaining, seconds = rate.remaining, rate.reset_s
    else:
        remaining, seconds = 0, rate.retry_after_s
    name = rate.limit.name
    return [
        (b"ratelimit-policy", f'"{name}";q={rate.limit.most};w={WINDOW_S}'.encode()),
        (b"ratelimit", f'"{name}";r={remaining};t={seconds}'.encode()),
    ]


def _too_many(exceeded: Exceeded, detail: str) -> TooManyRequests:
    return TooManyRequests(detail, retry_after_s=exceeded.retry_after_s)


def _context(scope: Scope) -> Context:
    context: Context = scope["litestar_app"].state.context
    return context


def _credentials(scope: Scope) -> bytes | None:
    """What is to be checked: the Authorization header, or else the cookies."""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    return headers.get(b"authorization") or headers.get(b"cookie")


def _address(scope: Scope) -> str | None:
    """The client's address; of IPv6 its network."""
    client = scope.get("client")
    if client is None:
        return None
    host = client[0]
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], _NETWORK_BITS), strict=False))
    except ValueError:
        return host
