"""A step's connection to the cluster: over the door, with the same software on both sides, told in words.

Imported where a cluster is set, and nowhere else: what it needs is a group of dependencies of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar, cast

import dask
from distributed import Client, KilledWorker, futures_of, wait
from distributed.comm import CommClosedError
from distributed.comm.core import FatalCommClosedError
from distributed.comm.registry import backends
from distributed.comm.tcp import TCPBackend, TCPConnector
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient

from services.trainer import cluster_door, cluster_software, cluster_worker
from shared.errors import ClusterFailed, TrainyardError

T = TypeVar("T")

CONNECT_S = 10.0
CLOSE_S = 2.0
REST_S = 30.0
LOOK_EVERY_S = 1.0
"""How often it is seen whether the workers that a fit counts on are still there."""

_LOST = (KilledWorker, CommClosedError, CancelledError, TimeoutError, OSError)
"""What Dask raises where it has lost a worker, data that one held, or the scheduler."""


class _OverTheDoor:
    """What Dask asks of tornado's TCPClient, with a connection that was handed to this process."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)

    async def connect(
        self, host: str, port: int, max_buffer_size: int | None = None, **_options: Any
    ) -> IOStream:
        if (host, port) != self._to:
            raise FatalCommClosedError(f"a fit may speak to the scheduler alone, not to {host}:{port}")
        try:
            made = await asyncio.to_thread(cluster_door.connection)
        except ConnectionRefusedError as error:  # the trainer has tried: Dask need not go on trying
            raise FatalCommClosedError(str(error)) from error
        return IOStream(made, max_buffer_size=max_buffer_size)


def _only(host: str, port: int) -> TCPBackend:
    class Connector(TCPConnector):
        client = cast(TCPClient, _OverTheDoor(host, port))

    class Backend(TCPBackend):
        _connector_class = Connector

    return Backend()


@contextlib.contextmanager
def opened(scheduler: str) -> Iterator[Client]:
    """A client of the cluster, for the rest of this step; Dask's default client is it.

    Raises ClusterFailed where the scheduler is not reached, has no worker, or a worker's software is another
    than this one's; and for whatever ends within the block because workers or the scheduler were lost.
    """
    host, _, port = scheduler.removeprefix("tcp://").rpartition(":")
    backends["tcp"] = _only(host.strip("[]"), int(port))
    dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_S} s"})
    try:
        client = Client(scheduler, timeout=CONNECT_S, direct_to_workers=False, name="trainyard")
    except (OSError, ImportError, TimeoutError) as error:
        raise ClusterFailed(f"the Dask scheduler at {scheduler} does not answer") from error
    began_with: set[str] = set()
    try:
        began_with = workers_of(client)
        if not began_with:
            raise ClusterFailed(f"the Dask scheduler at {scheduler} has no workers")
        cluster_software.same(client)
        yield client
    except (Exception, CancelledError) as error:
        if isinstance(error, TrainyardError):
            raise
        raise _told(error, client, began_with) from error
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=CLOSE_S)


def workers_of(client: Client) -> set[str]:
    """The addresses of the workers that are there now. Asked for by themselves: of what `scheduler_info` says
    another thread of the client may just have left the workers out."""
    return set(client.nthreads())


def at_rest(client: Client) -> None:
    """Wait until no worker computes what was given up, since it is about to end itself for it. Raises
    ClusterFailed where that takes too long."""
    until = time.monotonic() + REST_S
    while any(client.run(cluster_worker.given_up, on_error="ignore").values()):
        if time.monotonic() > until:
            raise ClusterFailed("the cluster's workers are still busy with a fit that was given up")
        time.sleep(LOOK_EVERY_S)


def there(*collections: Any) -> None:
    """Wait until all of these, which were persisted, are on the workers; raises what kept one from it."""
    futures = futures_of(collections)
    wait(futures)
    for future in futures:
        if future.status != "finished":
            raise future.exception() or CancelledError(future.key)


def while_all_work(client: Client, call: Callable[[], T]) -> T:
    """What `call` gives. Raises ClusterFailed as soon as a worker is gone that was there when it began.

    For distributed training, whose peers may wait for a lost one for ever. `call` is then left behind in its
    thread, which ends with this step's process.
    """
    began_with = workers_of(client)
    done = threading.Event()
    result: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 — raised where it is waited for
            raised.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True, name="distributed training").start()
    while not done.wait(LOOK_EVERY_S):
        if lost := _lost(client, began_with):
            raise ClusterFailed(_words(lost))
    if raised:
        raise raised[0]
    return result[0]


def _told(error: BaseException, client: Client, began_with: set[str]) -> BaseException:
    """What the step ends with: that the cluster failed it, where that is so, and otherwise the error."""
    if isinstance(error, KilledWorker):
        return ClusterFailed(
            "a piece of the fit took the worker down that computed it, time after time: as a rule its "
            "memory was not enough"
        )
    if lost := _lost(client, began_with):
        return ClusterFailed(_words(lost))
    if isinstance(error, _LOST):
        return ClusterFailed(f"the cluster lost a piece of the fit ({type(error).__name__})")
    return error


def _lost(client: Client, began_with: set[str]) -> set[str]:
    try:
        return began_with - workers_of(client)
    except (Exception, CancelledError):  # noqa: BLE001 — whatever a client without a scheduler raises
        return began_with


def _words(lost: set[str]) -> str:
    return f"the cluster lost {', '.join(sorted(lost)[:3])}{' and more' if len(lost) > 3 else ''} in the fit"
