"""Copies inside the store, without the bytes passing through this process where the store can do that."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from shared.storage.faults import ObjectExists, store_call
from shared.storage.features import StoreFeatures
from shared.storage.uploads import (
    Target,
    abort_upload,
    begin_upload,
    complete_timeout,
    complete_upload,
    discard,
    is_ours,
    settle,
    verify,
)

ONE_CALL_BYTES = 5 * 2**30
"""The most CopyObject takes in one call."""

COPIED_PART_BYTES = 2**30
"""5 TiB in 5,120 parts; a part is copied inside the store, so it costs no memory here."""


async def copy_object(
    client: Any, features: StoreFeatures, source: dict[str, str], size: int, target: Target
) -> tuple[str | None, str]:
    """Copy up to 5 GiB in one call; the hexadecimal SHA-256 where the store says what it wrote, and the ETag.

    The size is verified; the digest is the caller's to verify where None is returned.
    """
    more = {"ChecksumAlgorithm": "SHA256"} if features.copy_sha256 else {}
    if target.exclusive and features.copy_if_none_match:
        more["IfNoneMatch"] = "*"
    answer: dict[str, Any] = {}
    try:
        try:
            async with store_call(target.bucket, target.key, timeout_s=complete_timeout()):
                answer = await client.copy_object(
                    **target.place, **target.headers, CopySource=source, MetadataDirective="REPLACE", **more
                )
        except ObjectExists:
            # a second try, made because the first one's answer was lost, meets our own object
            if not await is_ours(client, target):
                raise
        etag = await verify(client, target, size)
    except BaseException:
        await settle(discard(client, target))
        raise
    checksum = answer.get("CopyObjectResult", {}).get("ChecksumSHA256")
    return (base64.b64decode(checksum).hex() if checksum and features.copy_sha256 else None), etag


async def copy_parts(
    client: Any, features: StoreFeatures, source: dict[str, str], size: int, target: Target, part_bytes: int
) -> str:
    """Copy an object of any size part by part inside the store: its ETag. The size is verified."""
    upload_id = await begin_upload(client, target)
    try:
        etags = [etag async for etag in _copied_parts(client, source, size, target, upload_id, part_bytes)]
        await complete_upload(client, features, target, upload_id, etags)
        return await verify(client, target, size)
    except BaseException:
        await settle(abort_upload(client, target, upload_id))
        await settle(discard(client, target))
        raise


async def _copied_parts(
    client: Any, source: dict[str, str], size: int, target: Target, upload_id: str, part_bytes: int
) -> AsyncIterator[str]:
    for number, start in enumerate(range(0, size, part_bytes), 1):
        end = min(start + part_bytes, size) - 1
        async with store_call(target.bucket, target.key, timeout_s=complete_timeout()):
            answer = await client.upload_part_copy(
                **target.place,
                UploadId=upload_id,
                PartNumber=number,
                CopySource=source,
                CopySourceRange=f"bytes={start}-{end}",
            )
        yield str(answer["CopyPartResult"]["ETag"])
