"""Files that are made when they are asked for: how long a call waits, and what it says until then."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import Request, Response
from litestar.params import HeaderParameter

from services.api.answers import CACHE_CONTROL, JSON, LOCATION, RETRY_AFTER, Answer
from services.api.context import Context

WAIT_S = 10.0
LONGEST_WAIT_S = 60.0
LOOK_EVERY_S = 0.25
AGAIN_S = "2"

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)

Prefer = Annotated[
    str | None, HeaderParameter(name="Prefer", description="`wait=N`: seconds to wait, at most 60")
]


def wait_s(prefer: str | None) -> float:
    """`Prefer: wait=N` (RFC 7240, section 4.3), or how long a call waits by itself."""
    match = _WAIT.search(prefer or "")
    return min(float(match.group(1)), LONGEST_WAIT_S) if match else WAIT_S


async def built(api: Context, look: Callable[[], Awaitable[Any | None]], seconds: float) -> Any | None:
    """What `look` finds once its `status` is no longer `building`, or what it found last when the time is
    up; None where it found nothing. Between the looks no connection is held."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    found = None
    while (left := until - loop.time()) > 0 and not api.watches.stopping:
        await api.watches.rest(min(LOOK_EVERY_S, left))
        found = await look()
        if found is None or found["status"] != "building":
            break
    return found


def still_built(kind: Any) -> Answer:
    """The 202 of `not_yet`, for the OpenAPI schema."""
    return Answer(
        kind,
        description="Still being built; to a browser (`Accept: text/html`) a page that becomes the file",
        media_type=JSON,
        files=("text/html",),
        headers=(LOCATION, RETRY_AFTER, CACHE_CONTROL),
    )


def not_yet(
    request: Request[Any, Any, Any], body: Any, *, location: str, doing: str, bar: str
) -> Response[Any]:
    """202: where to look, and when. To a browser a page that asks for the same again until it is the file;
    `doing` and `bar` are ours, and no word of a user's."""
    headers = {"Location": location, "Retry-After": AGAIN_S, "Cache-Control": "no-store"}
    if "text/html" in request.headers.get("accept", "").lower():
        page = _PAGE.format(doing=doing, bar=bar)
        return Response(page, status_code=202, media_type="text/html", headers=headers)
    return Response(body, status_code=202, headers=headers)


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>{doing}</title></head>
<body><h1>{doing}</h1>
<p>{bar}</p>
<p>The download begins by itself as soon as the file is ready.</p></body>
</html>
"""
