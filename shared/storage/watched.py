"""A client of the store whose calls are timed and traced, by operation and by how they ended."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from botocore.exceptions import ClientError

from shared import tracing
from shared.metrics import STORE_SECONDS


class Watched:
    """Everything of an aiobotocore client; the operations of its API are watched.

    Paginators and signed links are the client's own: the first are for sweeps, the second call nobody.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._operations: dict[str, str] = client.meta.method_to_api_mapping

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in self._operations:
            found = _watched(found, self._operations[name])
        setattr(self, name, found)  # the next time it is not looked for
        return found


def _watched(call: Callable[..., Awaitable[Any]], operation: str) -> Callable[..., Awaitable[Any]]:
    STORE_SECONDS.labels(operation, "error")  # the first one is to be seen as an increase

    @functools.wraps(call)
    async def watched(**given: Any) -> Any:
        attributes = {
            "rpc.system": "aws-api",
            "rpc.service": "S3",
            "rpc.method": operation,
            "aws.s3.bucket": given.get("Bucket"),
            "aws.s3.key": given.get("Key"),
        }
        began, outcome = time.perf_counter(), "error"
        try:
            with tracing.span(f"S3.{operation}", kind="client", within=True, attributes=attributes):
                answer = await call(**given)
            outcome = "ok"
            return answer
        except ClientError as error:
            # what is not there, is there already, or lies beyond the end: answers, and nobody's fault
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            outcome = "refused" if 400 <= status < 500 else "error"
            raise
        except asyncio.CancelledError:
            outcome = "cut_short"
            raise
        finally:
            STORE_SECONDS.labels(operation, outcome).observe(time.perf_counter() - began)

    return watched
