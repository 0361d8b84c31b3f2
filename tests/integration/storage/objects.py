"""Bodies to put, and ways to look at what a store holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import AsyncGenerator

from shared.storage import Store

MIB = 2**20
ANY_AGE = -60
"""Some servers round the time an upload began up to the next second."""
AT = dt.datetime(2026, 3, 4, 5, 6, 8, tzinfo=dt.UTC)
BINARY = "application/octet-stream"
PARTS = random.Random(1).randbytes(20 * MIB + 7)
SMALL = random.Random(2).randbytes(100_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def cut(data: bytes, *sizes: int) -> AsyncGenerator[bytes, None]:
    """`data` in chunks of these sizes, over and over."""
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start, turn = start + size, turn + 1


async def read(store: Store, bucket: str, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.stream(bucket, key, start, end)])


async def keys(store: Store, bucket: str, prefix: str = "") -> list[str]:
    return [item.key async for item in store.list(bucket, prefix)]


async def is_empty(store: Store, bucket: str) -> bool:
    """No object, and no upload that was begun; the uploads that would be found are removed."""
    return await keys(store, bucket) == [] and await store.abort_stale_uploads(bucket, ANY_AGE) == 0
