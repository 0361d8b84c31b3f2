"""What the headers of answers mean, and of requests that any handler may get."""

from __future__ import annotations

from typing import Any

from services.api import answers


def _text(description: str, example: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"} | schema, "example": example}


def _number(description: str, example: int) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}, "example": example}


HEADERS: dict[str, dict[str, Any]] = {
    answers.REQUEST_ID: _text(
        "What the logs know this request by", "5d0e1a52-2f0e-4c0a-9c5e-5e2f1c2f7a10", maxLength=100
    ),
    answers.LOCATION: _text(
        "Where what was asked for is to be found", "/ml/status/0198c2f0-6c1e-7cc1-8d6c-0c4b3c0a9d11"
    ),
    answers.RETRY_AFTER: _number("Seconds after which it is worth asking again", 1),
    answers.ETAG: _text("Changes whenever the answer does; send it in `If-None-Match`", 'W/"7"'),
    answers.CACHE_CONTROL: _text("Who may keep the answer, and for how long", "private, no-cache"),
    answers.VARY: _text("Request headers that the answer depends on", "Accept"),
    answers.CONTENT_DISPOSITION: _text(
        "The file's name", 'attachment; filename="best_model_0198c2f0-6c1e-7cc1-8d6c-0c4b3c0a9d11.pkl"'
    ),
    answers.CONTENT_LENGTH: _number("Size in bytes", 48213),
    answers.CONTENT_RANGE: _text("Which bytes these are, and of how many", "bytes 0-1023/48213"),
    answers.ACCEPT_RANGES: _text("That ranges of the file can be asked for", "bytes"),
    answers.REPLAYED: _text(
        "There where the answer is the one first given under this `Idempotency-Key`", "true", enum=["true"]
    ),
    answers.SET_COOKIE: _text(
        "The session, HttpOnly and SameSite=Lax", "trainyard_session=…; HttpOnly; Path=/; SameSite=lax"
    ),
    answers.WWW_AUTHENTICATE: _text("How to say who you are (RFC 6750)", "Bearer"),
    answers.BUFFERING: _text("Asks proxies not to hold events back", "no", enum=["no"]),
}

ALWAYS = (answers.REQUEST_ID,)
OF_PROBLEMS: dict[str, tuple[str, ...]] = {
    "401": (answers.WWW_AUTHENTICATE,),
    "409": (f"{answers.RETRY_AFTER}?",),
    "416": (answers.CONTENT_RANGE,),
    "429": (answers.RETRY_AFTER,),
    "503": (answers.RETRY_AFTER,),
}
"""Beside `Cache-Control: no-store`, which every problem has."""

ACTING_AS: dict[str, Any] = {
    "name": "X-User-Id",
    "in": "header",
    "description": "Whom the call acts for. Another service has to send it; a user's own must be their id",
    "schema": {"type": "string", "format": "uuid"},
}
IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag seen last: where it is still the same, the answer is a 304",
    "schema": {"type": "string"},
}
RANGE: dict[str, Any] = {
    "name": "Range",
    "in": "header",
    "description": "One range of bytes, for going on with a download that broke off",
    "schema": {"type": "string"},
    "example": "bytes=1048576-",
}
IF_RANGE: dict[str, Any] = {
    "name": "If-Range",
    "in": "header",
    "description": "The ETag that the range is of: where the file is another by now, all of it comes",
    "schema": {"type": "string"},
}
PARAMETERS = {
    "ActingAs": ACTING_AS,
    "IfNoneMatch": IF_NONE_MATCH,
    "Range": RANGE,
    "IfRange": IF_RANGE,
}
