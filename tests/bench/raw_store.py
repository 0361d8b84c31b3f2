"""The store's own speed: the same bytes in and out of it by the least that can do that.

Requests are presigned, so that nothing is hashed here; parts are as large, and as many are on their way, as
the product's are (shared/storage/writing.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig

from shared.settings import S3, reveal
from shared.storage.parts import PART_BYTES
from shared.storage.writing import PARTS_ON_THEIR_WAY

CHUNK_BYTES = 512 * 1024


class RawStore:
    """One store by its bare protocol."""

    def __init__(self, client: Any, http: aiohttp.ClientSession) -> None:
        self._client, self._http = client, http

    async def put(self, bucket: str, key: str, chunks: AsyncIterator[bytes]) -> None:
        """A multipart upload of what comes."""
        place = {"Bucket": bucket, "Key": key}
        upload = (await self._client.create_multipart_upload(**place))["UploadId"]
        sending: set[asyncio.Task[None]] = set()
        etags: dict[int, str] = {}

        async def send(number: int, body: bytes) -> None:
            params = {**place, "UploadId": upload, "PartNumber": number}
            url = await self._client.generate_presigned_url("upload_part", Params=params)
            async with self._http.put(url, data=body) as answer:
                answer.raise_for_status()
                etags[number] = answer.headers["ETag"]

        number = 0
        async for body in _parts(chunks):
            number += 1
            while len(sending) >= PARTS_ON_THEIR_WAY:
                done, sending = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            sending.add(asyncio.create_task(send(number, body)))
        await asyncio.gather(*sending)
        parts = [{"PartNumber": n, "ETag": etags[n]} for n in sorted(etags)]
        await self._client.complete_multipart_upload(
            **place, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    async def chunks(self, bucket: str, key: str) -> AsyncIterator[bytes]:
        url = await self._client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600
        )
        async for chunk in fetched(self._http, url):
            yield chunk

    async def read(self, bucket: str, key: str) -> int:
        """Fetch an object and forget it; its bytes."""
        return sum([len(chunk) async for chunk in self.chunks(bucket, key)])

    async def delete(self, bucket: str, key: str) -> None:
        await self._client.delete_object(Bucket=bucket, Key=key)

    async def keys(self, bucket: str, prefix: str) -> list[str]:
        answer = await self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for item in answer.get("Contents", [])]


async def fetched(http: aiohttp.ClientSession, url: str, **headers: str) -> AsyncIterator[bytes]:
    async with http.get(url, headers=headers) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            yield chunk


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)


@contextlib.asynccontextmanager
async def opened(settings: S3) -> AsyncIterator[RawStore]:
    session = aioboto3.Session(
        reveal(settings.s3_access_key_id),
        reveal(settings.s3_secret_access_key),
        region_name=settings.s3_region,
    )
    config = AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    forever = aiohttp.ClientTimeout(total=None, sock_read=600)
    async with (
        session.client("s3", endpoint_url=settings.s3_endpoint_url, config=config) as client,
        aiohttp.ClientSession(timeout=forever) as http,
    ):
        yield RawStore(client, http)
