"""Reading an object in chunks, over connections that may break."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from shared.errors import StorageCorrupt, StorageUnavailable
from shared.storage.faults import store_call

CHUNK_BYTES = 512 * 1024
RESUMES = 3


async def read(
    client: Any, bucket: str, key: str, start: int, end: int | None, etag: str | None = None
) -> AsyncGenerator[bytes, None]:
    """As `Store.stream` says. `etag` (with its quotes): what the object has to be called by."""
    position, resumes = start, 0
    while end is None or position < end:
        try:
            async with store_call(bucket, key):
                answer = await client.get_object(Bucket=bucket, Key=key, **_range(position, end))
            async with answer["Body"]:
                if etag not in (None, answer["ETag"]):
                    raise StorageCorrupt("The object was replaced meanwhile", bucket=bucket, key=key)
                if position and answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    raise StorageUnavailable("The store does not know ranges", bucket=bucket, key=key)
                etag = answer["ETag"]
                while chunk := await _read_chunk(answer["Body"], bucket, key):
                    position, resumes = position + len(chunk), 0
                    yield chunk
            break
        except StorageUnavailable:
            resumes += 1
            if etag is None or resumes > RESUMES:
                raise
    if end is not None and position < end:
        raise StorageCorrupt("The object is shorter than expected", bucket=bucket, key=key)


def _range(start: int, end: int | None) -> dict[str, str]:
    if start == 0 and end is None:
        return {}
    return {"Range": f"bytes={start}-{'' if end is None else end - 1}"}


async def _read_chunk(body: Any, bucket: str, key: str) -> bytes:
    """The next bytes of a body, gathered: a socket hands out far smaller pieces."""
    pieces, size = [], 0
    async with store_call(bucket, key):
        while size < CHUNK_BYTES and (piece := await body.read(CHUNK_BYTES - size)):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)
