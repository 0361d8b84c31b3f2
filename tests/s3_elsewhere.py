"""Another S3 server than the embedded one, named by `S3_TEST_ENDPOINT_URL`, `S3_TEST_ACCESS_KEY_ID`,
`S3_TEST_SECRET_ACCESS_KEY` and `S3_TEST_REGION`.

The storage tests run on it as well; with `S3_TEST_INSTEAD=1` everything does, and nothing on our own.
Tests make buckets of their own there and remove them.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig

from shared.settings import S3, load, reveal

VARIABLES = {"S3_TEST_ENDPOINT_URL", "S3_TEST_ACCESS_KEY_ID", "S3_TEST_SECRET_ACCESS_KEY", "S3_TEST_REGION"}
INSTEAD = "S3_TEST_INSTEAD"


def elsewhere(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of settings.S3 for that server; empty where none is named."""
    return {
        name.replace("S3_TEST_", "S3_", 1): environ[name] for name in sorted(VARIABLES) if name in environ
    }


def is_instead(environ: Mapping[str, str] = os.environ) -> bool:
    return bool(elsewhere(environ)) and environ.get(INSTEAD) == "1"


def own_buckets() -> dict[str, str]:
    """Names of buckets that nobody else uses."""
    kinds = ("DATASETS", "ARTIFACTS", "BUNDLES", "MODELS")
    return {f"S3_BUCKET_{kind}": f"{kind.lower()}-{uuid.uuid4()}" for kind in kinds}


@contextlib.asynccontextmanager
async def plain_client(s3: S3) -> AsyncIterator[Any]:
    """A client without the product's care, to look behind its back."""
    session = aioboto3.Session(
        reveal(s3.s3_access_key_id), reveal(s3.s3_secret_access_key), region_name=s3.s3_region
    )
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"})
    async with session.client("s3", endpoint_url=s3.s3_endpoint_url, config=config) as client:
        yield client


async def remove_buckets(environ: Mapping[str, str]) -> None:
    """Those that `environ` names, with what is in them; some may never have been made."""
    s3 = load(S3, environ)
    buckets = (s3.s3_bucket_datasets, s3.s3_bucket_artifacts, s3.s3_bucket_bundles, s3.s3_bucket_models)
    async with plain_client(s3) as client:
        for bucket in buckets:
            with contextlib.suppress(client.exceptions.NoSuchBucket):
                await _empty(client, bucket)
                await client.delete_bucket(Bucket=bucket)


async def _empty(client: Any, bucket: str) -> None:
    async for upload in _each(client, "list_multipart_uploads", "Uploads", bucket):
        await client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    async for item in _each(client, "list_objects_v2", "Contents", bucket):
        await client.delete_object(Bucket=bucket, Key=item["Key"])


async def _each(client: Any, operation: str, what: str, bucket: str) -> AsyncIterator[Any]:
    pages: Iterable[Any] = [
        page async for page in client.get_paginator(operation).paginate(Bucket=bucket)
    ]  # all of them first: what is deleted meanwhile must not move the pages
    for page in pages:
        for item in page.get(what, []):
            yield item
