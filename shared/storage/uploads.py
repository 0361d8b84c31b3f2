"""The calls around an object's bytes: beginning, completing and dropping an upload, seeing what is there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any

import structlog
from msgspec import Struct, field

from shared.errors import StorageCorrupt
from shared.storage.faults import ObjectExists, ObjectMissing, UploadLost, patience_s, store_call
from shared.storage.features import StoreFeatures
from shared.storage.keys import content_disposition, known_type

log = structlog.get_logger(__name__)

COMPLETE_PATIENCE = 10
"""Some stores join the parts while the call waits: so many times the patience with other calls."""

CLEAN_UP_TIMEOUT_S = 30.0


class Target(Struct, frozen=True, kw_only=True):
    """Where an object goes and what stands in its headers."""

    bucket: str
    key: str
    content_type: str
    filename: str | None = None
    exclusive: bool = False
    put_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Kept with the object: tells our own object, met again after a lost answer, from another's."""

    @property
    def place(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def headers(self) -> dict[str, Any]:
        """Always an attachment, of a known type: a store may hand an object out by what stands here alone."""
        return {
            "ContentType": known_type(self.content_type),
            "ContentDisposition": content_disposition(self.filename or self.key.rpartition("/")[2]),
            "Metadata": {"put-id": self.put_id},
        }


async def begin_upload(client: Any, target: Target) -> str:
    """Open a multipart upload; a cancellation waits for its id, or nobody could ever abort it."""

    async def begin() -> str:
        async with store_call(target.bucket, target.key):
            answer = await client.create_multipart_upload(**target.place, **target.headers)
            return str(answer["UploadId"])

    async def undo(opening: asyncio.Task[str]) -> None:
        await abort_upload(client, target, await opening)

    opening = asyncio.create_task(begin())
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await settle(undo(opening))
        raise


async def complete_upload(
    client: Any, features: StoreFeatures, target: Target, upload_id: str, etags: list[str]
) -> None:
    condition = {"IfNoneMatch": "*"} if target.exclusive and features.if_none_match else {}
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    try:
        async with store_call(target.bucket, target.key, timeout_s=complete_timeout()):
            await client.complete_multipart_upload(
                **target.place, UploadId=upload_id, MultipartUpload={"Parts": parts}, **condition
            )
    except (ObjectExists, UploadLost):
        # a second try, made because the first one's answer was lost, finds the work done
        if not await is_ours(client, target):
            raise


def complete_timeout() -> float:
    return COMPLETE_PATIENCE * patience_s()


async def abort_upload(client: Any, target: Target, upload_id: str) -> None:
    """Drop a multipart upload and its parts; one that is gone already is no error."""
    try:
        async with store_call(target.bucket, target.key):
            await client.abort_multipart_upload(**target.place, UploadId=upload_id)
    except (UploadLost, ObjectMissing):
        pass


async def verify(client: Any, target: Target, size: int) -> str:
    """The ETag of the object under the key, without its quotes. Raises StorageCorrupt unless that is the one
    just put, with all its bytes."""
    try:
        async with store_call(target.bucket, target.key):
            head = await client.head_object(**target.place)
    except ObjectMissing as error:
        raise StorageCorrupt(**error.context) from error
    if head.get("Metadata", {}).get("put-id") != target.put_id or head["ContentLength"] != size:
        raise StorageCorrupt(bucket=target.bucket, key=target.key, expected=size, found=head["ContentLength"])
    return str(head["ETag"]).strip('"')


async def is_ours(client: Any, target: Target) -> bool:
    """Whether the object under the key is the one this very call put."""
    try:
        async with store_call(target.bucket, target.key):
            head = await client.head_object(**target.place)
    except ObjectMissing:
        return False
    return bool(head.get("Metadata", {}).get("put-id") == target.put_id)


async def discard(client: Any, target: Target) -> None:
    """Delete what this call put, and never what someone else put under the same key."""
    if await is_ours(client, target):
        async with store_call(target.bucket, target.key):
            await client.delete_object(**target.place)


async def settle(clean_up: Coroutine[Any, Any, None]) -> None:
    """Run a clean-up to its end though the caller is cancelled (again) meanwhile.

    Its own failure is logged, not raised: the first error is the one that matters, and the sweep
    of stale uploads and orphans removes what an absent store could not.
    """
    task = asyncio.create_task(asyncio.wait_for(clean_up, min(CLEAN_UP_TIMEOUT_S, patience_s() / 2)))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if not task.cancelled() and (error := task.exception()):
        log.warning("storage.clean_up_failed", error=repr(error))
    if cancelled:
        raise asyncio.CancelledError
