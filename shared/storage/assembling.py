"""Objects made of bytes and of other objects, by the store's own copies where it can join what it copied."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

import structlog
from msgspec import Struct

from shared.errors import StorageUnavailable
from shared.storage.features import StoreFeatures
from shared.storage.parts import SMALLEST_PART_BYTES, Content, ObjectRef, Sources, Told
from shared.storage.reading import read
from shared.storage.uploads import Target
from shared.storage.writing import Assembled, assemble

log = structlog.get_logger(__name__)

_REFUSED = 400


class Reading(Struct, frozen=True):
    """How the store is asked: `etag_and_size` of an object, None where there is none, and its `stream`."""

    etag_and_size: Callable[[str, str], Awaitable[tuple[str, int] | None]]
    stream: Callable[[str, str], AsyncGenerator[bytes, None]]


class Assembler:
    """Knows, besides what the probe found, whether the store joins parts of different sizes: some want all
    but the last of one size (Cloudflare's R2 does), which would take 10 MiB and more to try beforehand."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._joins_uneven = True

    async def put(
        self,
        features: StoreFeatures,
        target: Target,
        contents: AsyncIterable[Content],
        reading: Reading,
        told: Told | None,
    ) -> Assembled:
        """As `Store.put_contents`. Raises StorageUnavailable where the store turns out not to join what it
        copied; the next call copies nothing."""
        copies = features.part_copy and (features.etag_is_md5 or features.content_md5) and self._joins_uneven
        copied_one = False

        async def copied(ref: ObjectRef) -> bool:
            nonlocal copied_one
            if not copies or ref.etag is None or ref.size_bytes < SMALLEST_PART_BYTES:
                return False
            same = await reading.etag_and_size(ref.bucket, ref.key) == (ref.etag, ref.size_bytes)
            copied_one |= same
            return same

        def bytes_of(ref: ObjectRef, end: int | None) -> AsyncGenerator[bytes, None]:
            if end is None:  # compared with its digest
                return reading.stream(ref.bucket, ref.key)
            return read(self._client, ref.bucket, ref.key, 0, end, f'"{ref.etag}"')

        try:
            return await assemble(self._client, features, target, contents, Sources(copied, bytes_of), told)
        except StorageUnavailable as error:
            if copied_one and error.context.get("status") == _REFUSED:
                self._joins_uneven = False
                instead = "large members of a ZIP pass through the packager"
                code = error.context.get("code")
                log.warning("storage.refuses_copied_parts", code=code, lacks={"part_copy": instead})
            raise
