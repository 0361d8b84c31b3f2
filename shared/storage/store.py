"""The object store, over the S3 protocol: what the rest of the product sees of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from shared.errors import StorageCorrupt, StorageUnavailable
from shared.settings import S3
from shared.storage import copying
from shared.storage.assembling import Assembler, Reading
from shared.storage.faults import ObjectExists, ObjectMissing, store_call
from shared.storage.features import StoreFeatures, probe
from shared.storage.keys import content_disposition, known_type, offered_name
from shared.storage.parts import Content, Told
from shared.storage.privacy import refuse_public
from shared.storage.reading import CHUNK_BYTES, read
from shared.storage.upkeep import Upkeep, clean_up_by_itself
from shared.storage.uploads import Target, abort_upload, settle
from shared.storage.writing import Assembled, Stored, write

CHECK_TIMEOUT_S = 2.0
LIST_PAGE = 1000
DELETES_AT_A_TIME = 8
LONGEST_LINK_S = 7 * 24 * 3600
"""The most signature version 4 allows."""


class Head(Struct, frozen=True, kw_only=True):
    """What the store says of an object; `etag` without its quotes."""

    size_bytes: int
    etag: str
    content_type: str
    last_modified: dt.datetime
    filename: str | None = None
    """Under which it is offered to whoever downloads it."""


class Listed(Struct, frozen=True):
    """One object of a listing."""

    key: str
    size_bytes: int
    last_modified: dt.datetime


class Store:
    """Buckets and objects. Every method may raise StorageUnavailable; others are named where they can."""

    def __init__(self, client: Any, signer: Any, settings: S3) -> None:
        self.datasets = settings.s3_bucket_datasets
        self.artifacts = settings.s3_bucket_artifacts
        self.bundles = settings.s3_bucket_bundles
        self.models = settings.s3_bucket_models
        self.copy_one_call_bytes = copying.ONE_CALL_BYTES
        self.copy_part_bytes = copying.COPIED_PART_BYTES
        self._client = client
        self._signer = signer
        self._region = settings.s3_region
        self._features: StoreFeatures | None = None
        self._probing = asyncio.Lock()
        self._assembler = Assembler(client)

    # --- the store itself ---

    async def probe(self) -> StoreFeatures:
        """What this store can do; tried once, then remembered."""
        if self._features is not None:
            return self._features
        async with store_call(self.artifacts):  # another's probe may be waiting for a store that hangs
            await self._probing.acquire()
        try:
            if self._features is None:
                self._features = await probe(self._client, self.artifacts)
            return self._features
        finally:
            self._probing.release()

    async def check(self) -> None:
        """Health: one cheap call, answered within two seconds or StorageUnavailable."""
        if not await self._has_bucket(self.artifacts, timeout_s=CHECK_TIMEOUT_S):
            raise StorageUnavailable(f"The bucket {self.artifacts!r} is missing", bucket=self.artifacts)

    async def ensure_buckets(self) -> tuple[str, ...]:
        """Make the buckets that are missing, and say which; they are private, as S3 makes them."""
        made = [bucket for bucket in self.buckets if not await self._has_bucket(bucket)]
        for bucket in made:
            await self._make_bucket(bucket)
        return tuple(made)

    @property
    def buckets(self) -> tuple[str, ...]:
        """Each once, whatever they are called."""
        return tuple(dict.fromkeys((self.datasets, self.artifacts, self.bundles, self.models)))

    async def check_private(self) -> None:
        """Raise ConfigurationError for a bucket that answers whoever asks, without a signature."""
        for bucket in self.buckets:
            await refuse_public(self._client, bucket)

    async def clean_up_by_itself(self) -> Upkeep:
        """Tell the store to end unfinished uploads after a week, where it can and nobody told it anything."""
        return await clean_up_by_itself(self._client, self.buckets)

    # --- putting ---

    async def put_stream(
        self,
        bucket: str,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str,
        filename: str | None = None,
        max_bytes: int | None = None,
        exclusive: bool = False,
    ) -> Stored:
        """Put a body of unknown length in constant memory, verified.

        After an error or a cancellation nothing of it is left. Raises TooLarge over `max_bytes`,
        StorageCorrupt where the store holds something else than was sent, ObjectExists where
        `exclusive` and the key is taken; what `chunks` raises passes through. `chunks` is closed.
        """
        target = Target(
            bucket=bucket, key=key, content_type=content_type, filename=filename, exclusive=exclusive
        )
        features = await self.probe()
        await self._refuse_taken(target)
        stored = await write(self._client, features, target, chunks, max_bytes)
        if not (features.etag_is_md5 or features.content_md5):
            await self._read_back(bucket, key, stored.sha256)
        return stored

    async def put_contents(
        self,
        bucket: str,
        key: str,
        contents: AsyncIterable[Content],
        *,
        content_type: str,
        filename: str | None = None,
        told: Told | None = None,
    ) -> Assembled:
        """Put bytes and objects that are in the store already one after another, as one object.

        Where the store copies parts, objects of at least 5 MiB whose `etag` is still theirs are copied by it,
        and of each not more than that passes through here; all else is read, compared with its digest, and
        sent. `told` is called with the bytes so far; what it raises ends the call. Otherwise as `put_stream`;
        raises ObjectMissing too.
        """
        target = Target(bucket=bucket, key=key, content_type=content_type, filename=filename)
        features = await self.probe()
        reading = Reading(self._etag_and_size, self.stream)
        put = await self._assembler.put(features, target, contents, reading, told)
        if put.sha256 is not None and not (features.etag_is_md5 or features.content_md5):
            await self._read_back(bucket, key, put.sha256)
        return put

    async def put_bytes(
        self, bucket: str, key: str, data: bytes, *, content_type: str, filename: str | None = None
    ) -> Stored:
        """Put a small body, verified as `put_stream` does."""

        async def once() -> AsyncIterator[bytes]:
            yield data

        return await self.put_stream(bucket, key, once(), content_type=content_type, filename=filename)

    async def put_file(
        self, bucket: str, key: str, path: Path, *, content_type: str, filename: str | None = None
    ) -> Stored:
        """Put a local file, verified as `put_stream` does."""
        return await self.put_stream(
            bucket, key, _file_chunks(path), content_type=content_type, filename=filename
        )

    async def copy(
        self,
        src_bucket: str,
        src_key: str,
        dst_bucket: str,
        dst_key: str,
        *,
        filename: str,
        content_type: str,
        sha256: str,
        exclusive: bool = True,
    ) -> Stored:
        """Copy inside the store where it can, else through here; verified against `sha256` either way.

        `exclusive` creation is atomic where the store knows If-None-Match; elsewhere the key is
        looked up first. Raises ObjectMissing, ObjectExists, StorageCorrupt (nothing is left then).
        """
        target = Target(
            bucket=dst_bucket,
            key=dst_key,
            content_type=content_type,
            filename=filename,
            exclusive=exclusive,
        )
        features = await self.probe()
        head = await self.head(src_bucket, src_key)
        if head is None:
            raise ObjectMissing(bucket=src_bucket, key=src_key)
        await self._refuse_taken(target)
        source, size = {"Bucket": src_bucket, "Key": src_key}, head.size_bytes
        answered: str | None = None
        etag: str | None
        if features.copy and size <= self.copy_one_call_bytes and self._as_exclusive(features, target):
            answered, etag = await copying.copy_object(self._client, features, source, size, target)
        elif features.part_copy and size:
            etag = await copying.copy_parts(
                self._client, features, source, size, target, self.copy_part_bytes
            )
        else:
            stored = await write(self._client, features, target, self.stream(src_bucket, src_key))
            answered, etag = stored.sha256, stored.etag
        if answered is None:
            await self._read_back(dst_bucket, dst_key, sha256)
        elif answered != sha256:
            await self.delete(dst_bucket, dst_key)
            raise StorageCorrupt(bucket=src_bucket, key=src_key, expected=sha256, found=answered)
        return Stored(size, sha256, etag=etag)

    # --- getting ---

    async def head(self, bucket: str, key: str) -> Head | None:
        """Size and kind of an object, or None where there is none."""
        try:
            async with store_call(bucket, key):
                answer = await self._client.head_object(Bucket=bucket, Key=key)
        except ObjectMissing:
            return None
        return Head(
            size_bytes=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            content_type=answer.get("ContentType", "application/octet-stream"),
            last_modified=answer["LastModified"],
            filename=offered_name(answer.get("ContentDisposition")),
        )

    async def stream(
        self, bucket: str, key: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Bytes `start` up to (not including) `end`, in chunks of about half a MiB.

        A connection that breaks is taken up where it broke, as long as that gets further. `end` is
        at most the object's size. Raises ObjectMissing, and StorageCorrupt where the object turns
        out shorter or is replaced meanwhile. Close it (`aclosing`) when leaving early.
        """
        async with aclosing(read(self._client, bucket, key, start, end)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def get_file(self, bucket: str, key: str, path: Path, *, sha256: str | None = None) -> Stored:
        """Fetch an object into a file that appears only when it is whole, and has this digest if given.

        Raises ObjectMissing and StorageCorrupt; the file is then as it was before.
        """
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as file:
                async with aclosing(self.stream(bucket, key)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(_append, file, digest, chunk)
                size = file.tell()
            if sha256 is not None and digest.hexdigest() != sha256:
                raise StorageCorrupt(bucket=bucket, key=key, expected=sha256, found=digest.hexdigest())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return Stored(size, digest.hexdigest())

    async def presign(
        self,
        bucket: str,
        key: str,
        *,
        filename: str,
        content_type: str,
        ttl_s: int,
        within: bool = False,
    ) -> tuple[str, dt.datetime]:
        """A GET link for this one object under the public endpoint, and when it ends (UTC).

        `within`: under the endpoint that the services themselves use, for others of their network. The link
        makes the store answer with `filename` (an attachment) and `content_type`. Signing needs no
        connection, and says nothing about whether the object exists.
        """
        ttl_s = min(max(ttl_s, 1), LONGEST_LINK_S)
        expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ttl_s)
        params = {
            "Bucket": bucket,
            "Key": key,
            "ResponseContentDisposition": content_disposition(filename),
            "ResponseContentType": known_type(content_type),
        }
        async with store_call(bucket, key):
            signer = self._client if within else self._signer
            url = await signer.generate_presigned_url("get_object", Params=params, ExpiresIn=ttl_s)
        return str(url), expires_at

    # --- listing and deleting ---

    async def list(self, bucket: str, prefix: str) -> AsyncIterator[Listed]:
        """Every object under a prefix ("" for all), a page at a time."""
        paginator = self._client.get_paginator("list_objects_v2")
        pages = aiter(
            paginator.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": LIST_PAGE})
        )
        while True:
            async with store_call(bucket, prefix):
                page = await anext(pages, None)
            if page is None:
                return
            for item in page.get("Contents", []):
                yield Listed(item["Key"], item["Size"], item["LastModified"])

    async def delete(self, bucket: str, key: str) -> None:
        """Delete one object; one that is not there is no error."""
        try:
            async with store_call(bucket, key):
                await self._client.delete_object(Bucket=bucket, Key=key)
        except ObjectMissing:
            pass

    async def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete everything under a prefix that ends in "/", and say how many objects there were.

        One call an object: the call for a thousand needs checksums on which the stores disagree.
        """
        if not prefix.strip("/") or not prefix.endswith("/"):
            raise ValueError(f"refusing to delete under {prefix!r}: a prefix ends in a slash")
        slots = asyncio.Semaphore(DELETES_AT_A_TIME)

        async def delete(key: str) -> None:
            async with slots:
                await self.delete(bucket, key)

        keys = [item.key async for item in self.list(bucket, prefix)]
        await asyncio.gather(*(delete(key) for key in keys))
        return len(keys)

    async def abort_stale_uploads(self, bucket: str, older_than_s: float, *, prefix: str = "") -> int:
        """Drop multipart uploads under `prefix` begun longer ago than this, and say how many."""
        oldest = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=older_than_s)
        stale = []
        pages = aiter(
            self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        )
        while True:
            async with store_call(bucket):
                page = await anext(pages, None)
            if page is None:
                break
            # not every store looks at the prefix
            stale += [
                upload
                for upload in page.get("Uploads", [])
                if upload["Initiated"] <= oldest and upload["Key"].startswith(prefix)
            ]
        for upload in stale:
            target = Target(bucket=bucket, key=upload["Key"], content_type="")
            await abort_upload(self._client, target, upload["UploadId"])
        return len(stale)

    # --- parts of the above ---

    async def _etag_and_size(self, bucket: str, key: str) -> tuple[str, int] | None:
        head = await self.head(bucket, key)
        return None if head is None else (head.etag, head.size_bytes)

    def _as_exclusive(self, features: StoreFeatures, target: Target) -> bool:
        """Whether copying in one call keeps other writers off as well as this store's PUT does."""
        return not target.exclusive or features.copy_if_none_match or not features.if_none_match

    async def _refuse_taken(self, target: Target) -> None:
        if target.exclusive and await self.head(target.bucket, target.key):
            raise ObjectExists(bucket=target.bucket, key=target.key)

    async def _read_back(self, bucket: str, key: str, sha256: str) -> None:
        """Compare the whole object with its digest, where the store's own word is no proof."""
        try:
            digest = hashlib.sha256()
            async with aclosing(self.stream(bucket, key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(digest.update, chunk)
            if digest.hexdigest() != sha256:
                raise StorageCorrupt(bucket=bucket, key=key, expected=sha256, found=digest.hexdigest())
        except BaseException:
            await settle(self.delete(bucket, key))
            raise

    async def _has_bucket(self, bucket: str, *, timeout_s: float | None = None) -> bool:
        try:
            async with store_call(bucket, timeout_s=timeout_s):
                await self._client.head_bucket(Bucket=bucket)
        except ObjectMissing:
            return False
        return True

    async def _make_bucket(self, bucket: str) -> None:
        # us-east-1 is the one region S3 does not want to be told
        where = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        more = {"CreateBucketConfiguration": where} if where else {}
        try:
            async with store_call(bucket):
                await self._client.create_bucket(Bucket=bucket, **more)
        except StorageUnavailable as error:
            # another service's start may have been faster
            if error.context.get("code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


async def _file_chunks(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _append(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)
