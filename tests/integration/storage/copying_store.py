"""The embedded server with UploadPartCopy: a proxy before it that copies ranges into parts, and refuses what
S3 refuses (parts below 5 MiB, a source that is not the one expected).

The bytes of a copied part go from the server to the proxy and back and never to the client, as in a store
that copies by itself; whatever else comes is passed on as it is, signature and all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

from shared.storage.parts import SMALLEST_PART_BYTES

_NOT_PASSED_ON = {"transfer-encoding", "content-length", "connection", "date", "server"}


@dataclass
class CopyingStore:
    """`url` stands for the server's. `received` and `sent` count the bytes of bodies from and to clients,
    `copied` those of parts that were copied; `ignores_ranges`: a store that copies the whole
    object; `wants_even`: one that joins only parts of one size."""

    url: str = ""
    received: int = 0
    sent: int = 0
    copied: int = 0
    ignores_ranges: bool = False
    wants_even: bool = False
    parts: dict[tuple[str, str], int] = field(default_factory=dict)

    def begins(self) -> None:
        self.received = self.sent = self.copied = 0


@contextlib.asynccontextmanager
async def copying_store(upstream: str, client: Any) -> AsyncIterator[CopyingStore]:
    """On a free port of 127.0.0.1 before the server at the URL `upstream`, which `client` may use."""
    store = CopyingStore()
    # no decompression, no cookies: a proxy
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as http:

        async def handle(request: web.Request) -> web.StreamResponse:
            query = request.query
            if request.method == "PUT" and "partNumber" in query:
                if source := request.headers.get("x-amz-copy-source"):
                    return await _copy(store, client, request, source)
                store.parts[query["uploadId"], query["partNumber"]] = request.content_length or 0
            body = await request.read()
            if request.method == "POST" and "uploadId" in query and (fault := _too_small(store, query, body)):
                return fault
            store.received += len(body)
            headers = {k: v for k, v in request.headers.items() if k.lower() != "expect"}
            async with http.request(
                request.method,
                URL(upstream + request.raw_path, encoded=True),
                data=body or None,
                headers=headers,
                skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
                store.sent += len(content)
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _NOT_PASSED_ON}
                if request.method == "HEAD":
                    kept["Content-Length"] = answer.headers.get("Content-Length", "0")
                return web.Response(status=answer.status, body=content, headers=kept)

        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, urlsplit(upstream).hostname, 0)
            await site.start()
            store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield store
        finally:
            await runner.cleanup()


async def _copy(store: CopyingStore, client: Any, request: web.Request, source: str) -> web.Response:
    bucket, _, key = unquote(source).lstrip("/").partition("/")
    wanted = request.headers.get("x-amz-copy-source-if-match", "").strip('"')
    head = await client.head_object(Bucket=bucket, Key=key)
    if wanted and wanted != head["ETag"].strip('"'):
        return _error(412, "PreconditionFailed")
    given = request.headers.get("x-amz-copy-source-range")
    span = {"Range": given} if given and not store.ignores_ranges else {}
    answer = await client.get_object(Bucket=bucket, Key=key, **span)
    body = await answer["Body"].read()
    into, _, name = unquote(request.path).lstrip("/").partition("/")
    number, upload = request.query["partNumber"], request.query["uploadId"]
    put = await client.upload_part(Bucket=into, Key=name, UploadId=upload, PartNumber=int(number), Body=body)
    store.parts[upload, number] = len(body)
    store.copied += len(body)
    xml = f"<CopyPartResult><ETag>{put['ETag']}</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>"
    return web.Response(text=f"{xml}</CopyPartResult>", content_type="application/xml")


def _too_small(store: CopyingStore, query: Any, body: bytes) -> web.Response | None:
    numbers = re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)
    sizes = [store.parts.get((query["uploadId"], number.decode()), 0) for number in numbers]
    if any(size < SMALLEST_PART_BYTES for size in sizes[:-1]):
        return _error(400, "EntityTooSmall")
    if store.wants_even and len(set(sizes[:-1])) > 1:
        return _error(400, "InvalidPart")
    return None


def _error(status: int, code: str) -> web.Response:
    xml = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return web.Response(status=status, text=xml, content_type="application/xml")
