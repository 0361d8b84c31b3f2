"""Lists: `{items, next_cursor}`, with cursors that only we can read something into."""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Generic, TypeVar

from litestar.params import QueryParameter
from msgspec import Struct

from shared.errors import InvalidRequest

T = TypeVar("T")

LONGEST_OFFSET = 10**9

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="How many at most")]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=200, description="`next_cursor` of the page before; none for the first"),
]


class Page(Struct, Generic[T], kw_only=True):
    """`next_cursor` is null on the last page."""

    items: list[T]
    next_cursor: str | None


def after_id(cursor: str | None) -> uuid.UUID | None:
    """The id that a page begins after. Raises InvalidRequest for a cursor we did not give."""
    if cursor is None:
        return None
    try:
        return uuid.UUID(bytes=_decode(cursor))
    except ValueError:
        raise _unknown() from None


def id_cursor(last: uuid.UUID) -> str:
    return _encode(last.bytes)


def after_offset(cursor: str | None) -> int:
    """How many items the pages before held. Raises InvalidRequest for a cursor we did not give."""
    if cursor is None:
        return 0
    try:
        offset = int(_decode(cursor).decode("ascii"))
    except ValueError:
        raise _unknown() from None
    if not 0 <= offset <= LONGEST_OFFSET:
        raise _unknown()
    return offset


def offset_cursor(offset: int) -> str:
    return _encode(str(offset).encode())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(cursor: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise _unknown() from None


def _unknown() -> InvalidRequest:
    return InvalidRequest([("?cursor", "is not a cursor of this list")])
