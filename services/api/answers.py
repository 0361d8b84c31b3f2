"""How an operation's answers are declared: what they hold and which headers come with it.

responses=responses(TaskNotFound) | {202: answer(Task, "Queued", LOCATION, RETRY_AFTER)}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litestar.openapi.datastructures import ResponseSpec

JSON = "application/json"

LOCATION = "Location"
RETRY_AFTER = "Retry-After"
ETAG = "ETag"
CACHE_CONTROL = "Cache-Control"
VARY = "Vary"
CONTENT_DISPOSITION = "Content-Disposition"
CONTENT_LENGTH = "Content-Length"
CONTENT_RANGE = "Content-Range"
ACCEPT_RANGES = "Accept-Ranges"
REPLAYED = "Idempotency-Replayed"
SET_COOKIE = "Set-Cookie"
WWW_AUTHENTICATE = "WWW-Authenticate"
REQUEST_ID = "X-Request-Id"
BUFFERING = "X-Accel-Buffering"
"""`services/api/openapi/headers.py` says what each of them means."""


@dataclass
class Answer(ResponseSpec):
    """An answer that is no error.

    `files`: media types under which it is bytes, beside what `data_container` is; `headers`: those that
    come with it besides the ones every answer has; one that is not always there ends in `?`.
    """

    files: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


def answer(
    kind: Any, description: str, *headers: str, media_type: str = JSON, files: tuple[str, ...] = ()
) -> Answer:
    """`kind`: the struct it holds, or None for no JSON."""
    return Answer(
        kind,
        generate_examples=False,
        description=description,
        media_type=media_type,
        files=files,
        headers=headers,
    )
