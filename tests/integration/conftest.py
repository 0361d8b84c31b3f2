"""What the services have open, and the API in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, load
from tests.integration import api_client


@pytest.fixture
async def worker_resources(env: dict[str, str], buckets: None) -> AsyncIterator[Resources]:
    """All that a worker has open."""
    async with open_resources(
        env["WORKER_DATABASE_URL"],
        postgres=load(Postgres, env),
        redis=load(Redis, env),
        s3=load(S3, env),
        application="test-worker",
    ) as opened:
        yield opened


@pytest.fixture
async def api(env: dict[str, str], buckets: None) -> AsyncIterator[api_client.Api]:
    """The API in this process, over real servers."""
    async with api_client.running(env) as running:
        yield running
