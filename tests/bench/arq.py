"""A bare arq worker with arq's own settings beside the product, and what one job takes there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from arq.connections import ArqRedis

from tests.bench import beside
from tests.chaos.arq_default import TOOK

PATIENCE_S = 60


@contextlib.contextmanager
def bare_worker(redis_url: str) -> Iterator[None]:
    with beside.running(["tests.chaos.arq_default"], REDIS_URL=redis_url):
        yield


async def picked_up(redis: ArqRedis) -> float:
    """Seconds from `enqueue_job` to the job's first line."""
    async with asyncio.timeout(PATIENCE_S):
        await redis.enqueue_job("note", time.time())
        _, took = await redis.blpop([TOOK])
        return float(took)
