"""What the store behind the endpoint can really do, found out by trying it once with a tiny object.

S3-compatible servers differ silently: some ignore a condition, a header or a copied part and still
answer 200. Nothing here trusts an answer; each feature is on only where its effect was seen.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import structlog
from botocore.exceptions import ClientError
from msgspec import Struct, structs

from shared.errors import StorageUnavailable
from shared.settings import S3
from shared.storage.faults import store_call

log = structlog.get_logger(__name__)

PROBE_PREFIX = ".trainyard/probe/"
"""Reserved in the artifacts bucket; every probe removes what it put under a name of its own."""

_NAMES = ("whole", "wrong", "copy", "joined", "taken", "taken-parts", "taken-copy")
_BODY = bytes(range(256))
"""No piece of it is another's."""
_MIDDLE = slice(16, 200)
_OTHER = b"another body\n"

_INSTEAD = {
    "signed_disposition": "files are handed over through the API, not by redirect",
    "head_on_get_link": "HEAD is answered by the API",
    "if_none_match": "a key is looked up before it is taken",
    "copy": "saved models are copied through the packager",
    "copy_if_none_match": "where a copy may not overwrite, it is made as an upload is",
    "copy_sha256": "a copy is read once and compared with its digest",
    "part_copy": "large members of a ZIP pass through the packager",
    "etag_is_md5": "what was sent is compared with its digest by the store",
    "content_md5": "what was sent is compared by its ETag",
}
"""What is done where a store lacks one."""


class StoreFeatures(Struct, frozen=True, kw_only=True):
    signed_disposition: bool
    """A signed GET link answers with the file name it was signed for."""
    head_on_get_link: bool
    """HEAD is let through on a link signed for GET."""
    if_none_match: bool
    """PUT and the completion of a multipart upload refuse to overwrite when told so."""
    copy: bool
    """A server-side copy has the source's bytes and the new headers."""
    copy_if_none_match: bool
    """A server-side copy refuses to overwrite when told so."""
    copy_sha256: bool
    """A server-side copy answers with the SHA-256 of what it wrote."""
    part_copy: bool
    """UploadPartCopy really copies, and the range asked for."""
    etag_is_md5: bool
    """The ETag of an object or a part put in one request is the MD5 of its bytes."""
    content_md5: bool
    """A body that does not match its Content-MD5 is refused, for objects and for parts."""


def lacks(features: StoreFeatures) -> dict[str, str]:
    """What the store cannot do → what is done instead."""
    missing = {name: _INSTEAD[name] for name, there in structs.asdict(features).items() if not there}
    if not (features.etag_is_md5 or features.content_md5):
        missing["etag_is_md5"] = missing["content_md5"] = "what was stored is read back and compared"
    return missing


def downloads_mode(settings: S3, features: StoreFeatures) -> Literal["redirect", "proxy"]:
    """How files are handed out: by redirect to a signed link, or through the API.

    `auto` redirects where the store keeps the promised file name and a browser can be expected to
    reach it: a one-word host other than localhost is a name of a container network.
    """
    if settings.downloads != "auto":
        return settings.downloads
    host = urlsplit(settings.s3_public_endpoint_url or settings.s3_endpoint_url).hostname
    reachable = host is None or host == "localhost" or "." in host or ":" in host
    return "redirect" if features.signed_disposition and reachable else "proxy"


async def probe(client: Any, bucket: str) -> StoreFeatures:
    """Try everything in `bucket`; raises StorageUnavailable where the store does not answer."""
    return await _Probe(client, bucket).run()


class _Probe:
    def __init__(self, client: Any, bucket: str) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = f"{PROBE_PREFIX}{uuid.uuid4()}/"
        self.uploads: list[dict[str, str]] = []

    async def run(self) -> StoreFeatures:
        try:
            features = await self._try_all()
        finally:
            # a store that is away cannot be cleaned up, and that must not replace a cancellation
            with contextlib.suppress(StorageUnavailable):
                await self._clean_up()
        can = [name for name, there in structs.asdict(features).items() if there]
        log.info("storage.probed", bucket=self.bucket, can=can, lacks=lacks(features))
        return features

    async def _try_all(self) -> StoreFeatures:
        etag_is_md5 = await self._put("whole") == _md5(_BODY).hex()
        part_is_md5, part_md5_checked = await self._parts()
        signed_disposition, head_on_get_link = await self._link()
        copy, copy_sha256 = await self._copy()
        return StoreFeatures(
            signed_disposition=signed_disposition,
            head_on_get_link=head_on_get_link,
            if_none_match=await self._put_is_conditional() and await self._completion_is_conditional(),
            copy=copy,
            copy_sha256=copy_sha256,
            copy_if_none_match=copy and await self._copy_is_conditional(),
            part_copy=await self._part_copy(),
            etag_is_md5=etag_is_md5 and part_is_md5,
            content_md5=part_md5_checked and await self._content_md5(),
        )

    async def _put(self, name: str) -> str:
        answer = await self._call(self.client.put_object(**self._object(name), Body=_BODY))
        return str(answer.get("ETag", "")).strip('"')

    async def _put_is_conditional(self) -> bool:
        def put() -> Awaitable[Any]:
            return self.client.put_object(**self._object("taken"), Body=_OTHER, IfNoneMatch="*")

        return await self._only_once(put)

    async def _completion_is_conditional(self) -> bool:
        async def complete() -> Any:
            upload = await self._begin("taken-parts")
            part = await self.client.upload_part(**upload, PartNumber=1, Body=_OTHER)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            return await self.client.complete_multipart_upload(
                **upload, MultipartUpload=parts, IfNoneMatch="*"
            )

        return await self._only_once(complete)

    async def _copy_is_conditional(self) -> bool:
        def copy() -> Awaitable[Any]:
            return self.client.copy_object(
                **self._object("taken-copy"), CopySource=self._object("whole"), IfNoneMatch="*"
            )

        return await self._only_once(copy)

    async def _only_once(self, create: Callable[[], Awaitable[Any]]) -> bool:
        """Whether a conditional creation passes on a free key, and only there: some stores compare a
        copy's condition with the source instead."""
        return await self._answer(create()) is not None and await self._refused(create(), status=412)

    async def _content_md5(self) -> bool:
        wrong = self.client.put_object(**self._object("wrong"), Body=_BODY, ContentMD5=_b64(_md5(_OTHER)))
        return await self._refused(wrong, status=400)

    async def _parts(self) -> tuple[bool, bool]:
        part = {**await self._begin("parts"), "PartNumber": 1, "Body": _BODY}
        answer = await self._call(self.client.upload_part(**part))
        wrong = self.client.upload_part(**part, ContentMD5=_b64(_md5(_OTHER)))
        etag_is_md5 = str(answer.get("ETag", "")).strip('"') == _md5(_BODY).hex()
        return etag_is_md5, await self._refused(wrong, status=400)

    async def _copy(self) -> tuple[bool, bool]:
        copy = {
            **self._object("copy"),
            "CopySource": self._object("whole"),
            "MetadataDirective": "REPLACE",
            "Metadata": {"put-id": "copy"},
            "ContentType": "application/zip",
            "ContentDisposition": 'attachment; filename="copy"',
        }
        answer = await self._answer(self.client.copy_object(**copy, ChecksumAlgorithm="SHA256"))
        digest = (answer or {}).get("CopyObjectResult", {}).get("ChecksumSHA256")
        if answer is None and await self._answer(self.client.copy_object(**copy)) is None:
            return False, False
        head = await self._call(self.client.head_object(**self._object("copy")))
        replaced = (
            head.get("Metadata", {}).get("put-id") == "copy"
            and head.get("ContentType") == "application/zip"
            and head.get("ContentDisposition") == 'attachment; filename="copy"'
        )
        copied = await self._body("copy") == _BODY
        return replaced and copied, digest == _b64(hashlib.sha256(_BODY).digest())

    async def _part_copy(self) -> bool:
        upload = await self._begin("joined")
        answer = await self._answer(
            self.client.upload_part_copy(
                **upload,
                PartNumber=1,
                CopySource=self._object("whole"),
                CopySourceRange=f"bytes={_MIDDLE.start}-{_MIDDLE.stop - 1}",
            )
        )
        etag = (answer or {}).get("CopyPartResult", {}).get("ETag")
        if not etag:
            return False
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        done = await self._answer(self.client.complete_multipart_upload(**upload, MultipartUpload=parts))
        return done is not None and await self._body("joined") == _BODY[_MIDDLE]

    async def _link(self) -> tuple[bool, bool]:
        wanted = 'attachment; filename="wanted.bin"'
        params = {**self._object("whole"), "ResponseContentDisposition": wanted}
        url = await self.client.generate_presigned_url("get_object", Params=params, ExpiresIn=60)
        async with store_call(self.bucket), aiohttp.ClientSession(trust_env=True) as http:
            async with http.get(url) as answer:
                named = answer.status == 200 and answer.headers.get("Content-Disposition") == wanted
            async with http.head(url) as answer:
                return named, answer.status == 200

    async def _begin(self, name: str) -> dict[str, Any]:
        answer = await self._call(self.client.create_multipart_upload(**self._object(name)))
        upload = {**self._object(name), "UploadId": answer["UploadId"]}
        self.uploads.append(upload)
        return upload

    async def _body(self, name: str) -> bytes:
        async with store_call(self.bucket, self.prefix + name):
            answer = await self.client.get_object(**self._object(name))
            async with answer["Body"]:
                return bytes(await answer["Body"].read())

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}

    async def _call(self, request: Awaitable[Any]) -> Any:
        async with store_call(self.bucket, self.prefix):
            return await request

    async def _answer(self, request: Awaitable[Any]) -> Any:
        """The answer, or None where the store refuses; still raises where it does not answer at all."""
        async with store_call(self.bucket, self.prefix):
            try:
                return await request
            except ClientError as refusal:
                if _status(refusal) in (500, 502, 503, 504):
                    raise
                return None

    async def _refused(self, request: Awaitable[Any], *, status: int) -> bool:
        """Whether the store refuses for the reason that was provoked, and not for not knowing the header."""
        async with store_call(self.bucket, self.prefix):
            try:
                await request
            except ClientError as refusal:
                if _status(refusal) in (500, 502, 503, 504):
                    raise
                return _status(refusal) == status
        return False

    async def _clean_up(self) -> None:
        for upload in self.uploads:
            await self._answer(self.client.abort_multipart_upload(**upload))
        for name in _NAMES:
            await self._answer(self.client.delete_object(**self._object(name)))


def _status(refusal: ClientError) -> int:
    return int(refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
