"""Lists: `{items, next_cursor}`, with cursors that only we can read something into."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from typing import Annotated, Generic, TypeVar

from litestar.params import QueryParameter
from msgspec import Struct

from shared.errors import InvalidRequest

T = TypeVar("T")

LONGEST_OFFSET = 10**9
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
MOMENT_BYTES = 8

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


def after_moment(cursor: str | None) -> tuple[dt.datetime, uuid.UUID] | None:
    """When the last item of the page before was made, and its id; None for the first page, and for a cursor
    of another kind. Raises InvalidRequest for one that we did not give."""
    raw = b"" if cursor is None else _decode(cursor)
    if len(raw) != MOMENT_BYTES + 16:
        return None
    try:
        made = EPOCH + int.from_bytes(raw[:MOMENT_BYTES], signed=True) * MICROSECOND
    except OverflowError:
        raise _unknown() from None
    return made, uuid.UUID(bytes=raw[MOMENT_BYTES:])


def moment_cursor(made: dt.datetime, last: uuid.UUID) -> str:
    """Where the next page begins, however many there are before it and whatever is added meanwhile."""
    return _encode(((made - EPOCH) // MICROSECOND).to_bytes(MOMENT_BYTES, signed=True) + last.bytes)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(cursor: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise _unknown() from None


def _unknown() -> InvalidRequest:
    return InvalidRequest([("?cursor", "is not a cursor of this list")])
