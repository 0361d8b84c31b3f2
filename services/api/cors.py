"""Cross-origin requests of browsers (the Fetch standard): nothing is allowed but from the origins named.

Litestar's own is not used: it tells origins that are not allowed what they might do, answers them in
plain text, overwrites `Vary`, and matches origins by pattern.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import ConfigurationError

METHODS = b"GET, HEAD, POST, PATCH, DELETE"
REQUEST_HEADERS = (
    b"Accept, Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, Range,"
    b" X-Request-Id, X-User-Id"
)
RESPONSE_HEADERS = (
    b"Content-Disposition, Content-Range, ETag, Location, RateLimit, RateLimit-Policy, Retry-After,"
    b" X-Request-Id"
)
PREFLIGHT_S = b"600"
_ORIGIN = (b"vary", b"Origin")


def allowed_origins(configured: str) -> frozenset[bytes]:
    """`CORS_ALLOWED_ORIGINS`: exact origins, comma-separated. Raises ConfigurationError."""
    return frozenset(_checked(name.strip()).encode() for name in configured.split(",") if name.strip())


def _checked(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        exact = f"{parts.scheme}://{parts.netloc}"
        good = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.username is None
            and exact == origin == origin.lower()
            and origin.isascii()
            and "*" not in origin
            and parts.port not in (0, {"http": 80, "https": 443}[parts.scheme])
        )
    except (ValueError, KeyError):
        good = False
    if not good:
        raise ConfigurationError(
            f"CORS_ALLOWED_ORIGINS: {origin!r} is not an origin as a browser sends it: http or https, the"
            " host in lower case and the port unless it is the usual one, without a path"
        )
    return origin


def cors(app: ASGIApp, origins: frozenset[bytes]) -> ASGIApp:
    """Wrap the whole application, so that errors can be read across origins like everything else.

    Credentials are not allowed: the session cookie is for the API's own origin, others send the token.
    """

    async def shared(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        origin, preflight = None, False
        for name, value in scope["headers"]:
            if name == b"origin" and value in origins:
                origin = value
            preflight = preflight or name == b"access-control-request-method"
        if origin is not None and preflight and scope["method"] == "OPTIONS":
            await _allow(send, origin)
            return

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                headers.append(_ORIGIN)  # for caches: without an Origin it is another answer, too
                if origin is not None:
                    headers.append((b"access-control-allow-origin", origin))
                    headers.append((b"access-control-expose-headers", RESPONSE_HEADERS))
                message["headers"] = headers
            await send(message)

        await app(scope, receive, send_shared)

    return shared


async def _allow(send: Send, origin: bytes) -> None:
    """To any preflight of an allowed origin: whether the route exists is told by the request itself."""
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", REQUEST_HEADERS),
        (b"access-control-max-age", PREFLIGHT_S),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
