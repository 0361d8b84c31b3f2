"""What a store can answer with, as domain errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.parsers import ResponseParserError

from shared.errors import StorageCorrupt, StorageUnavailable, TrainyardError

CALL_TIMEOUT_S = 90.0
"""One call with its retries. botocore bounds connecting and reading, not a peer that stops taking bytes."""


_patience: ContextVar[float] = ContextVar("storage_patience", default=CALL_TIMEOUT_S)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """How long one call may take, for what is begun inside: somebody waits for the answer."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def patience_s() -> float:
    """What `patience` says here; `CALL_TIMEOUT_S` where it says nothing."""
    return _patience.get()


class ObjectMissing(TrainyardError):
    """The object is not in the store"""

    slug = "object-missing"


class ObjectExists(TrainyardError):
    """There is already an object under this key"""

    slug = "object-exists"


class DamagedOnTheWay(StorageCorrupt):
    """The store received other bytes than were sent"""


class UploadLost(StorageUnavailable):
    """The store no longer knows the upload; try again"""


_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
_DAMAGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"})
_CORRUPT = frozenset({"InvalidRange", "416"})


@asynccontextmanager
async def store_call(
    bucket: str, key: str = "", *, timeout_s: float | None = None, sent: Callable[[], int] | None = None
) -> AsyncIterator[None]:
    """Wrap one exchange with the store, of `timeout_s` at most (default: the caller's patience); nothing
    else may raise inside. `sent` tells how far a long body is: as long as it gets further within the
    caller's patience the exchange goes on, up to `timeout_s`.

    Raises ObjectMissing, ObjectExists (a condition failed), StorageCorrupt (a digest was refused,
    or the object is shorter than asked for) and, for everything else that is not our own mistake
    (connections, timeouts, 5xx, refused credentials, a missing bucket), StorageUnavailable.
    """
    try:
        async with asyncio.timeout(timeout_s or patience_s()) as limit:
            if sent is None:
                yield
            else:
                with _while_moving(limit, sent):
                    yield
    except ClientError as error:
        raise _translate(error, bucket, key) from error
    except ParamValidationError:
        raise
    except (BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError) as error:
        raise StorageUnavailable(bucket=bucket, key=key, reason=type(error).__name__) from error


@contextmanager
def _while_moving(limit: asyncio.Timeout, sent: Callable[[], int]) -> Iterator[None]:
    """Let `limit` end early where `sent` stays the same for as long as the caller's patience."""
    loop, patient = asyncio.get_running_loop(), patience_s()
    end = limit.when() or float("inf")
    at, timer = -1, None

    def look() -> None:
        nonlocal at, timer
        if limit.expired():
            return
        if at != (now := sent()):
            at = now
            limit.reschedule(min(loop.time() + patient, end))
        timer = loop.call_later(patient / 10, look)

    look()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


def _translate(error: ClientError, bucket: str, key: str) -> TrainyardError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    context = {"bucket": bucket, "key": key, "code": code, "status": status}
    if code in _MISSING:
        return ObjectMissing(**context)
    if code in _EXISTS:
        return ObjectExists(**context)
    if code in _DAMAGED:
        return DamagedOnTheWay(**context)
    if code in _CORRUPT:
        return StorageCorrupt(**context)
    if code == "NoSuchUpload":
        return UploadLost(**context)
    if code == "NoSuchBucket":
        # `python -m shared.storage` makes it
        return StorageUnavailable(f"The object store has no bucket {bucket!r}", **context)
    if status in (401, 403):
        return StorageUnavailable("The object store refuses this service's credentials", **context)
    return StorageUnavailable(**context)
