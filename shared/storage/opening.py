"""Opening the store: two clients, one that talks to it and one that only signs links for the public."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aioboto3
from aiobotocore.config import AioConfig

from shared.settings import S3, reveal
from shared.storage.store import Store
from shared.storage.watched import Watched


@asynccontextmanager
async def open_store(settings: S3) -> AsyncIterator[Store]:
    """Open the clients; nothing is sent yet, so this works while the store is still coming up."""
    session = aioboto3.Session(
        aws_access_key_id=reveal(settings.s3_access_key_id) or None,
        aws_secret_access_key=reveal(settings.s3_secret_access_key) or None,
        region_name=settings.s3_region,
    )
    config = AioConfig(
        # botocore's default signature for links is refused by several stores
        signature_version="s3v4",
        # the newer trailing checksums are unknown to most stores; we verify by MD5 and size
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # hashing every body once more for the signature buys nothing: Content-MD5 is signed
        s3={"addressing_style": "path", "payload_signing_enabled": False},
        connect_timeout=5,
        read_timeout=60,
        retries={"total_max_attempts": 3, "mode": "standard"},
        max_pool_connections=32,
    )
    public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            session.client("s3", endpoint_url=settings.s3_endpoint_url or None, config=config)
        )
        signer = await stack.enter_async_context(
            session.client("s3", endpoint_url=public or None, config=config)
        )
        yield Store(Watched(client), signer, settings)
