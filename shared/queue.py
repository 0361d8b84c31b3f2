"""Messages: which arq queue a kind goes to, how it is sent, and what a message is.

A message says "there is work of this kind" and nothing else; Postgres decides what runs
(`shared.db.jobs.claim`). Losing one costs a sweep's delay, sending one twice costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.contracts import JobKind
from shared.settings import Redis

log = structlog.get_logger(__name__)

TRAINER_QUEUE = "trainyard:trainer"
PACKAGER_QUEUE = "trainyard:packager"
QUEUES: dict[JobKind, str] = {
    JobKind.PROFILE: TRAINER_QUEUE,
    JobKind.PLAN: TRAINER_QUEUE,
    JobKind.FIT: TRAINER_QUEUE,
    JobKind.FINISH: TRAINER_QUEUE,
    JobKind.BUNDLE: PACKAGER_QUEUE,
    JobKind.SAVE: PACKAGER_QUEUE,
    JobKind.PURGE: PACKAGER_QUEUE,
}
SEND_S = 1.0
"""How long a request waits for Redis before leaving its message to the sweep."""


def encode(message: dict[str, Any]) -> bytes:
    """msgpack: whoever can write to Redis must not be able to run code here, as pickle would let them.
    What arq records of a failed job holds the exception, which goes as its text."""
    return msgspec.msgpack.encode(message, enc_hook=repr)


def decode(data: bytes) -> dict[str, Any]:
    message = msgspec.msgpack.decode(data)
    # arq unpacks `r` as an exception where a job failed; we keep no results, so text will do
    return message if isinstance(message, dict) else {}


@contextlib.asynccontextmanager
async def open_queue(settings: Redis, *, patient: bool = False) -> AsyncIterator[ArqRedis]:
    """A client that connects when it is used. `patient` (workers): it waits for a Redis that is away
    as long as it takes; otherwise a call fails within seconds."""
    backoff = ExponentialBackoff(cap=1.0, base=0.05)
    pool = ConnectionPool.from_url(
        settings.redis_url,
        socket_connect_timeout=2.0,
        socket_timeout=10.0 if patient else 2.0,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(backoff, -1 if patient else 1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, OSError],
    )
    client = ArqRedis(pool_or_conn=pool, job_serializer=encode, job_deserializer=decode)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


async def send(redis: ArqRedis, kind: JobKind, message_id: str) -> None:
    """One message; the same id sent twice while it waits is one. Raises RedisError, OSError."""
    await redis.enqueue_job(str(kind), _job_id=f"{kind}:{message_id}", _queue_name=QUEUES[kind])


async def hint(redis: ArqRedis, jobs: Iterable[tuple[JobKind, object]]) -> bool:
    """Wake the workers for jobs just committed. Never raises: what is not sent, the sweep sends."""
    try:
        async with asyncio.timeout(SEND_S):
            for kind, job_id in jobs:
                await send(redis, kind, str(job_id))
        return True
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("message left to the sweep", reason=f"{type(error).__name__}: {error}")
        return False
