"""Putting bytes into the store: one PUT for small bodies, a multipart upload for the rest.

Memory is bounded by the parts in hand (one filling, two on their way). What was put is verified
part by part (MD5: refused by the store, or compared with the ETag) and as a whole (size and origin);
whatever fails, nothing half-made stays behind.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import structlog
from msgspec import Struct, field

from shared.errors import StorageCorrupt, TooLarge
from shared.storage.faults import (
    DamagedOnTheWay,
    ObjectExists,
    ObjectMissing,
    UploadLost,
    patience_s,
    store_call,
)
from shared.storage.features import StoreFeatures
from shared.storage.keys import content_disposition, known_type

log = structlog.get_logger(__name__)

MIB = 2**20
PART_BYTES = 8 * MIB
PARTS_OF_FIRST_SIZE = 5_000
PARTS_BETWEEN_DOUBLINGS = 500
LARGEST_PART_BYTES = 5 * 2**30
MOST_PARTS = 10_000
PARTS_ON_THEIR_WAY = 2
SENDS = 4
"""How often the same bytes are sent that came to harm on their way."""

SLOWEST_BYTES_PER_S = 128 * 1024
"""A transfer slower than this is taken for a store that stopped taking bytes."""

COMPLETE_PATIENCE = 10
"""Some stores join the parts while the call waits: so many times the patience with other calls."""

CLEAN_UP_TIMEOUT_S = 30.0


class Stored(Struct, frozen=True):
    """What is in the store now: verified size in bytes and SHA-256 (hexadecimal)."""

    size_bytes: int
    sha256: str


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


class _Part(Struct, frozen=True):
    number: int
    body: io.BytesIO
    size: int
    md5: bytes

    @property
    def sealed(self) -> dict[str, Any]:
        """The body, and the digest that the store compares it with."""
        return {"Body": self.body, "ContentMD5": base64.b64encode(self.md5).decode()}


def part_bytes(number: int) -> int:
    """Size of the `number`-th part (from 1): 8 MiB for the first 40 GiB, then doubling by steps.

    So memory stays the same for any body one meets, and the 10,000 parts S3 allows still hold
    more than the 5 TiB it allows.
    """
    doublings = max(0, number - PARTS_OF_FIRST_SIZE + PARTS_BETWEEN_DOUBLINGS - 1) // PARTS_BETWEEN_DOUBLINGS
    return min(PART_BYTES << doublings, LARGEST_PART_BYTES)


async def write(
    client: Any,
    features: StoreFeatures,
    target: Target,
    chunks: AsyncIterable[bytes],
    max_bytes: int | None = None,
) -> Stored:
    """Put `chunks` under `target`; on any error or cancellation nothing of them stays.

    Raises TooLarge, StorageCorrupt, ObjectExists (exclusive targets) and StorageUnavailable; what
    `chunks` raises passes through.
    """
    digest = hashlib.sha256()
    async with aclosing(_bodies(chunks, max_bytes)) as bodies:
        body, whole = await anext(bodies)
        first = await _seal(1, body, digest)
        if whole:
            size = await _put(client, features, target, first)
        else:
            size = await _put_parts(client, features, target, first, bodies, digest)
    return Stored(size, digest.hexdigest())


async def _bodies(
    chunks: AsyncIterable[bytes], max_bytes: int | None
) -> AsyncGenerator[tuple[io.BytesIO, bool], None]:
    """Cut chunks of any size into bodies of part size; the flag says that nothing follows."""
    number, body, total = 1, io.BytesIO(), 0
    try:
        async for chunk in chunks:
            total += len(chunk)
            if max_bytes is not None and total > max_bytes:
                raise TooLarge(max_bytes=max_bytes)
            rest = memoryview(chunk)
            while rest:
                room = part_bytes(number) - body.tell()
                if not room:
                    yield body, False
                    number += 1
                    body = _reserved(part_bytes(number))
                    continue
                body.write(rest[:room])
                rest = rest[room:]
        yield body, True
    finally:
        # a source left half-read would hold on to its connection until it is collected
        if close := getattr(chunks, "aclose", None):
            await close()


def _reserved(size: int) -> io.BytesIO:
    """A buffer that has its memory at once: grown by and by, buffers of this size leave the heap in
    pieces, and a long upload takes half as much again."""
    body = io.BytesIO()
    body.seek(size - 1)
    body.write(b"\0")
    body.seek(0)
    return body


async def _seal(number: int, body: io.BytesIO, digest: hashlib._Hash) -> _Part:
    """Hash a full body, in a thread: 8 MiB take tens of milliseconds, an event loop has other work."""

    def hashes() -> bytes:
        with body.getbuffer() as view:
            digest.update(view)
            return hashlib.md5(view, usedforsecurity=False).digest()

    size = body.tell()
    body.truncate()
    md5 = await asyncio.to_thread(hashes)
    body.seek(0)
    return _Part(number, body, size, md5)


async def _put(client: Any, features: StoreFeatures, target: Target, part: _Part) -> int:
    condition = {"IfNoneMatch": "*"} if target.exclusive and features.if_none_match else {}
    try:
        try:
            answer = await _sent(
                target,
                part,
                lambda: client.put_object(**target.place, **target.headers, **part.sealed, **condition),
            )
            _check_etag(features, target, answer, part)
        except ObjectExists:
            # a second try, made because the first one's answer was lost, meets our own object
            if not await is_ours(client, target):
                raise
        await verify(client, target, part.size)
    except BaseException:
        await settle(discard(client, target))
        raise
    return part.size


async def _put_parts(
    client: Any,
    features: StoreFeatures,
    target: Target,
    first: _Part,
    bodies: AsyncIterator[tuple[io.BytesIO, bool]],
    digest: hashlib._Hash,
) -> int:
    upload_id = await begin_upload(client, target)
    try:
        etags, size = await _send_parts(client, features, target, upload_id, first, bodies, digest)
        await complete_upload(client, features, target, upload_id, etags)
        await verify(client, target, size)
    except BaseException:
        await settle(abort_upload(client, target, upload_id))
        await settle(discard(client, target))
        raise
    return size


async def _send_parts(
    client: Any,
    features: StoreFeatures,
    target: Target,
    upload_id: str,
    first: _Part,
    bodies: AsyncIterator[tuple[io.BytesIO, bool]],
    digest: hashlib._Hash,
) -> tuple[list[str], int]:
    """Send parts as they fill, two at a time; ETags in order, and the bytes in all."""
    sent: list[asyncio.Task[str]] = []
    pending: set[asyncio.Task[str]] = set()

    def send(part: _Part) -> None:
        task = asyncio.create_task(_send(client, features, target, upload_id, part))
        sent.append(task)
        pending.add(task)

    size = first.size
    try:
        send(first)
        async for body, _last in bodies:
            if len(sent) == MOST_PARTS:
                raise TooLarge(bytes_sent=size)
            part = await _seal(len(sent) + 1, body, digest)
            while len(pending) >= PARTS_ON_THEIR_WAY:
                await _wait_for_one(pending)
            size += part.size
            send(part)
        while pending:
            await _wait_for_one(pending)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return [task.result() for task in sent], size


async def _wait_for_one(pending: set[asyncio.Task[str]]) -> None:
    done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    pending -= done
    for task in done:
        task.result()


async def _send(client: Any, features: StoreFeatures, target: Target, upload_id: str, part: _Part) -> str:
    async def send() -> dict[str, Any]:
        answer: dict[str, Any] = await client.upload_part(
            **target.place, UploadId=upload_id, PartNumber=part.number, **part.sealed
        )
        _check_etag(features, target, answer, part)  # not each store compares a part's digest
        return answer

    answer = await _sent(target, part, send)
    part.body.close()  # frees its memory now, whoever still has a name for it
    return str(answer["ETag"])


async def _sent(target: Target, part: _Part, send: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The store's answer to a part's bytes; sent again where they came to harm on their way."""
    for left in reversed(range(SENDS)):
        try:
            async with store_call(target.bucket, target.key, **_transfer(part)):
                return await send()
        except DamagedOnTheWay:
            if not left:
                raise
            part.body.seek(0)
    raise AssertionError("unreachable")


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


async def verify(client: Any, target: Target, size: int) -> None:
    """Raise StorageCorrupt unless the object under the key is the one just put, with all its bytes."""
    try:
        async with store_call(target.bucket, target.key):
            head = await client.head_object(**target.place)
    except ObjectMissing as error:
        raise StorageCorrupt(**error.context) from error
    if head.get("Metadata", {}).get("put-id") != target.put_id or head["ContentLength"] != size:
        raise StorageCorrupt(bucket=target.bucket, key=target.key, expected=size, found=head["ContentLength"])


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


def _check_etag(features: StoreFeatures, target: Target, answer: dict[str, Any], part: _Part) -> None:
    # with a customer's or a KMS key the ETag is of that length, but no MD5 of the content
    own_key = "aws:kms" in answer.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in answer
    if features.etag_is_md5 and not own_key and answer["ETag"].strip('"') != part.md5.hex():
        raise DamagedOnTheWay(bucket=target.bucket, key=target.key, part=part.number)


def _transfer(part: _Part) -> dict[str, Any]:
    """How long it may take: no longer than patience without getting further, nor than the slowest store."""
    return {"timeout_s": patience_s() + part.size / SLOWEST_BYTES_PER_S, "sent": part.body.tell}
