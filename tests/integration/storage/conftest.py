"""The store on the embedded server, in buckets of each test's own, and behind a proxy that breaks things.

`tests/s3_elsewhere.py` says how they run on another server as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from shared.settings import S3, load
from shared.storage import Store, open_store
from tests import s3_elsewhere
from tests.integration.faulty_proxy import FaultyProxy, Rule, faulty_proxy
from tests.s3_elsewhere import plain_client

ELSEWHERE = s3_elsewhere.elsewhere()
PLACES = ["embedded", "elsewhere"] if ELSEWHERE and not s3_elsewhere.is_instead() else ["embedded"]


@contextlib.contextmanager
def own_buckets(env: Mapping[str, str]) -> Iterator[S3]:
    """Settings for this server with buckets nobody else uses, which are removed where they would stay."""
    mine = {**env, **s3_elsewhere.own_buckets()}
    yield load(S3, mine)
    if mine["S3_ENDPOINT_URL"] == ELSEWHERE.get("S3_ENDPOINT_URL"):
        asyncio.run(s3_elsewhere.remove_buckets(mine))


@pytest.fixture
def embedded(servers: Mapping[str, str]) -> Iterator[S3]:
    with own_buckets(servers) as settings:
        yield settings


@pytest.fixture(params=PLACES)
def s3(request: pytest.FixtureRequest) -> Iterator[S3]:
    env = request.getfixturevalue("servers") if request.param == "embedded" else ELSEWHERE
    with own_buckets(env) as settings:
        yield settings


@pytest.fixture
async def store(s3: S3) -> AsyncIterator[Store]:
    async with open_store(s3) as store:
        await store.ensure_buckets()
        yield store


@pytest.fixture
async def raw(s3: S3) -> AsyncIterator[Any]:
    """A plain client, to look behind the store's back."""
    async with plain_client(s3) as client:
        yield client


@pytest.fixture
async def raw_embedded(embedded: S3) -> AsyncIterator[Any]:
    async with plain_client(embedded) as client:
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
