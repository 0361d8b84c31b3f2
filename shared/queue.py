"""Messages: which arq queue a kind goes to, how it is sent, and what a message is.

A message says "there is work of this kind" and nothing else; Postgres decides what runs
(`shared.db.jobs.claim`). Losing one costs a sweep's delay, sending one twice costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
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

from shared import tracing
from shared.contracts.states import JobKind
from shared.metrics import LEFT_TO_SWEEP
from shared.settings import Redis, reveal

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
    JobKind.CONVERT: TRAINER_QUEUE,
    JobKind.CONVERT_ONNX: TRAINER_QUEUE,
    JobKind.EXPORT: PACKAGER_QUEUE,
    JobKind.ERASE: PACKAGER_QUEUE,
}
_SENDING = {"messaging.system": "redis", "messaging.operation.type": "send"}
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
        reveal(settings.redis_url),
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


def wake_channel(queue: str) -> str:
    return f"{queue}:wake"


async def wake(redis: ArqRedis, kinds: Sequence[JobKind]) -> None:
    """Tell every worker of these kinds how many jobs there are, so that it looks now and not at its
    next poll. `kinds`: one entry a job."""
    for queue, count in Counter(QUEUES[kind] for kind in kinds).items():
        await redis.publish(wake_channel(queue), count)


TASKS_CHANNEL = "trainyard:tasks"
"""Ids of tasks that changed, for whoever shows them to people."""
USERS_CHANNEL = "trainyard:users"
"""Ids of users whose accounts began or ceased to be deleted, for whoever remembers users."""


async def announce(redis: ArqRedis, changed_id: object, channel: str = TASKS_CHANNEL) -> None:
    """Say that a task (or who else the channel is for) changed, after the commit. Never raises: whoever
    listens looks by itself too."""
    try:
        async with asyncio.timeout(SEND_S):
            await redis.publish(channel, str(changed_id))
    except (RedisError, OSError, TimeoutError):
        pass  # the row is the truth, and is looked at every second


async def listen(redis: ArqRedis, channel: str, heard: Callable[[bytes], None]) -> None:
    """Call `heard` with every message on `channel`, for ever; a connection that breaks is made anew.

    What is published meanwhile is lost: whoever listens must look for itself now and then.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(channel)
                while True:
                    # redis-py swallows a cancellation that comes while it connects
                    if (this := asyncio.current_task()) is not None and this.cancelling():
                        raise asyncio.CancelledError
                    message = await subscription.get_message(timeout=5.0)
                    if message is not None:
                        heard(message["data"])
        except (RedisError, OSError) as error:
            log.warning("not listening", channel=channel, reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(1.0)


async def hint(redis: ArqRedis, jobs: Iterable[tuple[JobKind, object]]) -> bool:
    """Wake the workers for jobs just committed. Never raises: what is not sent, the sweep sends."""
    sent = [(kind, str(job_id)) for kind, job_id in jobs if kind in QUEUES]
    if not sent:
        return True
    try:
        with tracing.span("wake workers", kind="producer", within=True, attributes=_SENDING):
            async with asyncio.timeout(SEND_S):
                for kind, job_id in sent:
                    await send(redis, kind, job_id)
                await wake(redis, [kind for kind, _ in sent])
        return True
    except (RedisError, OSError, TimeoutError) as error:
        LEFT_TO_SWEEP.inc(len(sent))
        log.warning("message left to the sweep", reason=f"{type(error).__name__}: {error}")
        return False
