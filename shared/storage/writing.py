"""Putting bytes into the store: one PUT for small bodies, a multipart upload for the rest.

Memory is bounded by the parts in hand (one filling, two on their way; what the store copies itself needs
none). What was put is verified part by part (MD5: refused by the store, or compared with the ETag) and as a
whole (size and origin); whatever fails, nothing half-made stays behind.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from msgspec import Struct

from shared.errors import StorageCorrupt, TooLarge
from shared.storage.faults import DamagedOnTheWay, ObjectExists, patience_s, store_call
from shared.storage.features import StoreFeatures
from shared.storage.parts import MOST_PARTS, Content, Sources, Span, Told, cut
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

PARTS_ON_THEIR_WAY = 2
COPIES_ON_THEIR_WAY = 4
"""Parts that the store copies at once: they cost nothing here, and one is far from all that most can do; a
slow one has to have each done before it is taken for hanging."""
SENDS = 4
"""How often the same bytes are sent that came to harm on their way."""

SLOWEST_BYTES_PER_S = 128 * 1024
"""A transfer slower than this is taken for a store that stopped taking bytes."""


class Stored(Struct, frozen=True):
    """What is in the store now: verified size in bytes and SHA-256 (hexadecimal); the CRC-32 where the bytes
    came through here, and what the store calls its content by (`ETag`, without quotes)."""

    size_bytes: int
    sha256: str
    crc32: int | None = None
    etag: str | None = None


class Assembled(Struct, frozen=True):
    """What was put together from bytes and from objects of the store: its size in bytes, and its SHA-256
    (hexadecimal) unless the store copied a part of it, whose bytes nobody has seen."""

    size_bytes: int
    sha256: str | None


class _Digests:
    """Of all bytes that pass. `whole`: none passed elsewhere."""

    def __init__(self) -> None:
        self.sha256, self.crc32, self.whole = hashlib.sha256(), 0, True

    def update(self, view: memoryview) -> None:
        self.sha256.update(view)
        self.crc32 = zlib.crc32(view, self.crc32)


class _Part(Struct, frozen=True):
    number: int
    body: io.BytesIO
    size: int
    md5: bytes

    @property
    def sealed(self) -> dict[str, Any]:
        """The body, and the digest that the store compares it with."""
        return {"Body": self.body, "ContentMD5": base64.b64encode(self.md5).decode()}


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
    async with aclosing(cut(chunks, max_bytes=max_bytes)) as steps:
        size, etag, digests = await _write(client, features, target, steps)
    return Stored(size, digests.sha256.hexdigest(), digests.crc32, etag)


async def assemble(
    client: Any,
    features: StoreFeatures,
    target: Target,
    contents: AsyncIterable[Content],
    sources: Sources,
    told: Told | None = None,
) -> Assembled:
    """Put bytes and objects of the store one after another under `target`, as `write` does."""
    async with aclosing(cut(contents, sources=sources, told=told)) as steps:
        size, _, digests = await _write(client, features, target, steps)
    return Assembled(size, digests.sha256.hexdigest() if digests.whole else None)


Steps = AsyncIterator[tuple[io.BytesIO | Span, bool]]


async def _write(
    client: Any, features: StoreFeatures, target: Target, steps: Steps
) -> tuple[int, str, _Digests]:
    """Size, ETag and digests of what was put."""
    digests = _Digests()
    first, whole = await anext(steps)
    if whole:
        assert isinstance(first, io.BytesIO)
        part = await _seal(1, first, digests)
        return part.size, await _put(client, features, target, part), digests
    upload_id = await begin_upload(client, target)
    try:
        upload = _Upload(client, features, target, upload_id, digests)
        await upload.run(first, steps)
        await complete_upload(client, features, target, upload_id, upload.etags)
        etag = await verify(client, target, upload.size)
    except BaseException:
        await settle(abort_upload(client, target, upload_id))
        await settle(discard(client, target))
        raise
    return upload.size, etag, digests


async def _seal(number: int, body: io.BytesIO, digests: _Digests) -> _Part:
    """Hash a full body, in a thread: 8 MiB take tens of milliseconds, an event loop has other work."""

    def hashes() -> bytes:
        with body.getbuffer() as view:
            digests.update(view)
            return hashlib.md5(view, usedforsecurity=False).digest()

    size = body.tell()
    body.truncate()
    md5 = await asyncio.to_thread(hashes)
    body.seek(0)
    return _Part(number, body, size, md5)


async def _put(client: Any, features: StoreFeatures, target: Target, part: _Part) -> str:
    """The ETag."""
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
        return await verify(client, target, part.size)
    except BaseException:
        await settle(discard(client, target))
        raise


class _Upload:
    """A multipart upload that is under way: `etags` in order and the bytes in all, once it has run."""

    def __init__(
        self, client: Any, features: StoreFeatures, target: Target, upload_id: str, digests: _Digests
    ) -> None:
        self.client, self.features, self.target = client, features, target
        self.upload_id, self.digests = upload_id, digests
        self.size = 0
        self.etags: list[str] = []
        self._parts: list[asyncio.Task[str]] = []
        self._sending: set[asyncio.Task[str]] = set()
        self._copying: set[asyncio.Task[str]] = set()

    async def run(self, first: io.BytesIO | Span, steps: Steps) -> None:
        """Send parts as they fill, and have spans copied, a few at a time."""
        try:
            await self._begin(first)
            async for step, _last in steps:
                await self._begin(step)
            for pending in (self._sending, self._copying):
                while pending:
                    await _wait_for_one(pending)
        finally:
            pending = self._sending | self._copying
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self.etags = [task.result() for task in self._parts]

    async def _begin(self, step: io.BytesIO | Span) -> None:
        number = len(self._parts) + 1
        if isinstance(step, io.BytesIO) and self._parts and not step.tell():
            return  # nothing came after the last copied object
        if number > MOST_PARTS:
            raise TooLarge(bytes_sent=self.size)
        if isinstance(step, Span):
            self.digests.whole = False
            await self._start(self._copying, COPIES_ON_THEIR_WAY, lambda: self._copy(number, step))
            self.size += step.size
        else:
            part = await _seal(number, step, self.digests)
            await self._start(self._sending, PARTS_ON_THEIR_WAY, lambda: self._send(part))
            self.size += part.size

    async def _start(
        self, pending: set[asyncio.Task[str]], most: int, go: Callable[[], Coroutine[Any, Any, str]]
    ) -> None:
        while len(pending) >= most:
            await _wait_for_one(pending)
        task = asyncio.create_task(go())
        self._parts.append(task)
        pending.add(task)

    async def _send(self, part: _Part) -> str:
        async def send() -> dict[str, Any]:
            answer: dict[str, Any] = await self.client.upload_part(
                **self.target.place, UploadId=self.upload_id, PartNumber=part.number, **part.sealed
            )
            # not each store compares a part's digest
            _check_etag(self.features, self.target, answer, part)
            return answer

        answer = await _sent(self.target, part, send)
        part.body.close()  # frees its memory now, whoever still has a name for it
        return str(answer["ETag"])

    async def _copy(self, number: int, span: Span) -> str:
        source = span.source
        condition = {"CopySourceIfMatch": f'"{source.etag}"'} if source.etag else {}
        try:
            async with store_call(source.bucket, source.key, timeout_s=complete_timeout()):
                answer = await self.client.upload_part_copy(
                    **self.target.place,
                    UploadId=self.upload_id,
                    PartNumber=number,
                    CopySource={"Bucket": source.bucket, "Key": source.key},
                    CopySourceRange=f"bytes={span.start}-{span.end - 1}",
                    **condition,
                )
        except ObjectExists as error:  # the condition that failed is on the source
            raise StorageCorrupt("The object was replaced meanwhile", **error.context) from error
        return str(answer["CopyPartResult"]["ETag"])


async def _wait_for_one(pending: set[asyncio.Task[str]]) -> None:
    done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    pending -= done
    for task in done:
        task.result()


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


def _check_etag(features: StoreFeatures, target: Target, answer: dict[str, Any], part: _Part) -> None:
    # with a customer's or a KMS key the ETag is of that length, but no MD5 of the content
    own_key = "aws:kms" in answer.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in answer
    if features.etag_is_md5 and not own_key and answer["ETag"].strip('"') != part.md5.hex():
        raise DamagedOnTheWay(bucket=target.bucket, key=target.key, part=part.number)


def _transfer(part: _Part) -> dict[str, Any]:
    """How long it may take: no longer than patience without getting further, nor than the slowest store."""
    return {"timeout_s": patience_s() + part.size / SLOWEST_BYTES_PER_S, "sent": part.body.tell}
