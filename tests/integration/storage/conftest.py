"""The store on the embedded server, in buckets of each test's own, and behind a proxy that breaks things.

Set TEST_S3_ENDPOINT_URL, TEST_S3_ACCESS_KEY_ID and TEST_S3_SECRET_ACCESS_KEY to run the tests that need
no proxy on another server as well.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aioboto3
import msgspec
import pytest
from aiobotocore.config import AioConfig

from shared.settings import S3, load, reveal
from shared.storage import Store, open_store
from tests.integration.faulty_proxy import FaultyProxy, Rule, faulty_proxy

EXTERNAL = {
    name.removeprefix("TEST_"): value for name, value in os.environ.items() if name.startswith("TEST_S3_")
}


def with_buckets(env: Mapping[str, str]) -> S3:
    """Settings for this server with buckets nobody else uses."""
    mine = {
        f"S3_BUCKET_{kind}": f"{kind.lower()}-{uuid.uuid4()}"
        for kind in ("DATASETS", "ARTIFACTS", "BUNDLES", "MODELS")
    }
    return load(S3, {**env, **mine})


@pytest.fixture
def embedded(servers: Mapping[str, str]) -> S3:
    return with_buckets(servers)


@pytest.fixture(params=["embedded", "external"] if EXTERNAL else ["embedded"])
def s3(request: pytest.FixtureRequest) -> S3:
    return with_buckets(request.getfixturevalue("servers") if request.param == "embedded" else EXTERNAL)


@pytest.fixture
async def store(s3: S3) -> AsyncIterator[Store]:
    async with open_store(s3) as store:
        await store.ensure_buckets()
        yield store


@pytest.fixture
async def raw(s3: S3) -> AsyncIterator[Any]:
    """A plain client, to look behind the store's back."""
    session = aioboto3.Session(s3.s3_access_key_id, reveal(s3.s3_secret_access_key), region_name=s3.s3_region)
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"})
    async with session.client("s3", endpoint_url=s3.s3_endpoint_url, config=config) as client:
        yield client


class Faulty:
    """The store through a proxy that follows `rule` once the features are known."""

    def __init__(self, store: Store, proxy: FaultyProxy) -> None:
        self.store, self.proxy = store, proxy

    def breaks(self, rule: Rule) -> Store:
        self.proxy.rule = rule
        self.proxy.seen.clear()
        return self.store

    def is_sound(self) -> Store:
        return self.breaks(lambda _: None)

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.proxy.seen)


@pytest.fixture
async def faulty(embedded: S3) -> AsyncIterator[Faulty]:
    async with faulty_proxy(embedded.s3_endpoint_url, lambda _: None) as proxy:
        async with open_store(msgspec.structs.replace(embedded, s3_endpoint_url=proxy.url)) as store:
            await store.ensure_buckets()
            await store.probe()
            yield Faulty(store, proxy)
