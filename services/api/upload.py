"""An upload as it streams in: multipart/form-data with one field, `file`, in constant memory."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from shared.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedMedia

FIELD = "file"
LONGEST_NAME = 255
MOST_FIELDS = 100
FRAME_BYTES = 64 * 1024
"""What a multipart body may hold around its file."""

_TABLE = re.compile(r"\.(csv|tsv|tab|txt|data)(\.(gz|zst))?$|\.(parquet|pq)$", re.IGNORECASE)
_OTHER = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Upload:
    """A file whose name is known and whose bytes are still coming."""

    def __init__(self, name: str, chunks: AsyncGenerator[bytes, None]) -> None:
        self.name = name
        self.chunks = chunks
        """Raises, instead of ending, where the body turns out to be cut short or to hold more fields."""


@asynccontextmanager
async def receive(request: Request[Any, Any, Any], max_bytes: int) -> AsyncIterator[Upload]:
    """The file of a multipart body, up to its first byte.

    Raises UnsupportedMedia, TooLarge (where the length is told beforehand), MalformedRequest,
    InvalidRequest; so does reading the chunks.
    """
    boundary = _boundary(request)
    if (length := request.content_length) is not None and length > max_bytes + FRAME_BYTES:
        raise TooLarge(_limit(max_bytes))
    async with aclosing(_events(request, boundary)) as events:
        segment = await anext(events, None)
        if segment is None:
            raise InvalidRequest([(f"/{FIELD}", "is required")])
        assert isinstance(segment, MultipartSegment)
        if segment.name != FIELD:
            raise _not_a_field(segment)
        if segment.filename is None:
            raise InvalidRequest([(f"/{FIELD}", "must be a file with a name")])
        yield Upload(file_name(segment.filename), _chunks(events))


def file_name(given: str) -> str:
    """The name for display: as typed, less a path and control characters, at most 255 characters.

    Raises UnsupportedMedia for a name that says it is something else than a table.
    """
    name = _CONTROL.sub("", given.replace("\\", "/").rsplit("/", 1)[-1]).strip()
    if len(name) > LONGEST_NAME:
        suffix = match.group() if (match := _TABLE.search(name)) else ""
        name = name[: LONGEST_NAME - len(suffix)] + suffix
    if not _TABLE.search(name) and (other := _OTHER.search(name)):
        raise UnsupportedMedia(
            f"A table is wanted: CSV, TSV (also .gz or .zst) or Parquet, not {other.group().lower()}"
        )
    return name or "table"


def _boundary(request: Request[Any, Any, Any]) -> str:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data":
        raise UnsupportedMedia("An upload is multipart/form-data with the field `file`")
    if not options.get("boundary"):
        raise MalformedRequest("The multipart body's Content-Type names no boundary")
    return str(options["boundary"])


async def _events(request: Request[Any, Any, Any], boundary: str) -> AsyncGenerator[Any, None]:
    """What the parser finds: a segment, its chunks, None at its end."""
    try:
        with PushMultipartParser(
            boundary, max_segment_count=MOST_FIELDS, max_header_size=FRAME_BYTES
        ) as parser:
            async with aclosing(request.stream()) as body:
                async for chunk in body:
                    if chunk:
                        for event in parser.parse(chunk):
                            yield event
    except MultipartError as error:
        raise MalformedRequest(f"The multipart body is broken or was cut short: {error}") from None
    except InternalServerException as error:
        raise MalformedRequest("The connection ended before the upload did") from error


async def _chunks(events: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for event in events:
        if event is None:
            break
        size += len(event)
        yield bytes(event)
    # to the end of the body: only then is it sure that nothing was cut off and nothing comes after
    async for event in events:
        if isinstance(event, MultipartSegment):
            raise _not_a_field(event)
    if not size:
        raise InvalidRequest([(f"/{FIELD}", "the file is empty (0 bytes)")])


def _not_a_field(segment: MultipartSegment) -> InvalidRequest:
    if segment.name == FIELD:
        return InvalidRequest([(f"/{FIELD}", "may be there only once")])
    name = _CONTROL.sub("", segment.name)[:100]
    return InvalidRequest([(f"/{name}", "is not a field of this request; the table goes into `file`")])


def _limit(max_bytes: int) -> str:
    return f"The upload is over the limit of {max_bytes:,} bytes"
