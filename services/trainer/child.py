"""The process a fit runs in, seen from the trainer: start it, watch it, end it, say what became of it.

One process a step, in a session of its own, forked from a server that has the libraries imported. A
step is `step(**payload, scratch: Path, progress) -> struct`; its result comes back as JSON, and files
stay in `scratch`. Whatever a step does (eats memory, never ends, crashes the interpreter, forks), it
is that step's failure, with a reason a user understands, and nothing else's.

A step is not trusted: `services.trainer.sandbox` keeps it in, and what it leaves is looked at before it
is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog

from services.trainer import sandbox_disk
from services.trainer.child_log import Heard
from services.trainer.child_main import FAILURE_FILE, RESULT_FILE, Request
from services.trainer.child_memory import group_exceeds
from services.trainer.child_outcome import ChildCancelled, ChildFailed, out_of_memory, outcome
from services.trainer.child_process import Ended, ForkServer, Run, child_environ
from services.trainer.cluster_door import Door
from services.trainer.sandbox import Layers
from services.trainer.sandbox_choice import held
from services.trainer.sandbox_disk import NEARLY_FULL
from services.trainer.step_record import watched
from shared.errors import ConfigurationError

log = structlog.get_logger(__name__)

PRELOAD = ("services.trainer.preload",)

DISK_BYTES = 16 * 2**30
"""What a step may write, unless said otherwise."""

_KILL_S = 1.0
_WATCH_EVERY_S = 0.2


class Children:
    """Runs steps in processes of their own; one a trainer, an async context manager.

    `steps` maps the names `run` takes to "module:function"; nothing else can be run. `preload` names the
    modules that the fork server imports (those of the steps are added), `threads` caps what each library
    starts in a step, and of `environ` (default: the process's) only what is harmless reaches a step.
    `layers` keep a step in (default: all that hold on this machine), `disk_bytes` is what it may write, and
    `log_level` the trainer's, by which what is logged in a step is heard.
    """

    def __init__(
        self,
        steps: Mapping[str, str],
        *,
        preload: Sequence[str] = PRELOAD,
        threads: int = 1,
        environ: Mapping[str, str] | None = None,
        layers: Layers | None = None,
        disk_bytes: int = DISK_BYTES,
        log_level: str = "warning",
    ) -> None:
        self._steps = dict(steps)
        modules = [target.partition(":")[0] for target in steps.values()]
        self._modules = list(dict.fromkeys([*preload, *modules]))
        self._environ = child_environ(os.environ if environ is None else environ, threads)
        self._layers = held() if layers is None else layers
        self._disk_bytes = disk_bytes
        self._log_level = log_level
        self._server: ForkServer | None = None
        self._closed = False

    def start(self) -> None:
        """Start the fork server, which takes seconds to be ready: may be called before there is a loop.

        From a thread that lives on: the kernel ends the server's preload with the thread that started it.
        """
        if self._closed:
            raise ChildFailed("the trainer is stopping", kind="lost")
        if self._server is None or self._server.lost:
            if self._server is not None:
                self._server.close()
                self._server.kill()
                self._server.process.wait()
            hidden = self._layers.privileges
            self._server = ForkServer(self._modules, self._environ, self._replace, hidden=hidden)

    def _replace(self) -> None:
        """At once, so that the next run does not wait for the preload."""
        if not self._closed:
            self.start()

    async def __aenter__(self) -> Self:
        self._closed = False
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the fork server and with it every process that still runs."""
        self._closed = True
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        try:
            await asyncio.to_thread(server.process.wait, 2 * _KILL_S)
        except subprocess.TimeoutExpired:  # it is still in its preload and holds no children, or it hangs
            server.kill()
            server.process.wait()

    @property
    def server_pid(self) -> int:
        """The fork server's process id."""
        assert self._server is not None, "not started"
        return self._server.process.pid

    async def ready(self) -> None:
        """Wait until steps start at once. Raises ChildFailed (lost) where the server cannot be started."""
        await self._serving(_Stops(None, None))

    async def run(
        self,
        step: str,
        payload: Mapping[str, Any],
        *,
        scratch: Path,
        timeout_s: float,
        memory_bytes: int,
        reads: Sequence[Path] = (),
        on_progress: Callable[[float, str], None] | None = None,
        cancelled: asyncio.Event | None = None,
        door: Door | None = None,
    ) -> bytes:
        """Run one step in a process of its own; its result as JSON. With `door` it can speak to a cluster.

        `scratch` is made if need be; besides the libraries it and `reads` (files or folders) are all that
        the step can open. `timeout_s` counts from this call. `memory_bytes` guards the sum over the step's
        processes. When this returns or raises, none of those processes is left, and in `scratch` there are
        folders and plain files only.

        Raises the TrainyardError that the step raised, ChildFailed for all else that went wrong,
        ChildCancelled once `cancelled` is set, ConfigurationError for an unknown step.
        """
        if step not in self._steps:
            raise ConfigurationError(f"there is no step {step!r}")
        scratch = _cleared(scratch)
        request = Request(
            target=self._steps[step],
            payload={name: msgspec.Raw(_encode(value)) for name, value in payload.items()},
            scratch=str(scratch),
            memory_bytes=memory_bytes,
            disk_bytes=self._disk_bytes,
            reads=[str(path.absolute()) for path in reads],
            layers=self._layers,
            log_level=self._log_level,
        )
        with watched(step, on_progress) as (progress, told), _Stops(timeout_s, cancelled) as stops:
            lent = None if door is None else door.theirs
            ended = await self._ended(request, progress, Heard(step), stops, lent)
            told(ended.code, ended.max_rss_kib)
            return outcome(step, ended, request)

    async def _ended(
        self,
        request: Request,
        on_progress: Callable[[float, str], None] | None,
        heard: Heard,
        stops: _Stops,
        door: int | None,
    ) -> Ended:
        for _ in range(3):
            server = await self._serving(stops)
            try:
                run = server.fork(request, on_progress, heard, door)
            except (ConnectionError, BlockingIOError):
                server.lost = True
                continue
            try:
                await stops.wait(run.started)
                if run.pid is not None:
                    async with _watch(run.pid, request) as exceeded:
                        await stops.wait(run.ended, exceeded)
            finally:
                await _stop(run, server)
                heard.end()
            ended = run.ended.result()
            if run.pid is not None or ended.refused:
                return ended
            # the server went down before it forked: nothing of the step has run
        return Ended(None)

    async def _serving(self, stops: _Stops) -> ForkServer:
        while True:
            self.start()
            server = self._server
            assert server is not None
            state = server.settled()
            await stops.wait(state)
            if not state.result():
                raise ChildFailed("the process that starts fits could not be started", kind="lost")
            if not server.lost:  # it may go down while this waits
                return server


class _Stops:
    """What ends a wait early: the deadline, the cancelled event, a limit exceeded."""

    def __init__(self, timeout_s: float | None, cancelled: asyncio.Event | None) -> None:
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        self._cancelled = asyncio.ensure_future(cancelled.wait()) if cancelled else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._cancelled is not None:
            self._cancelled.cancel()

    async def wait(
        self, done: asyncio.Future[Any], exceeded: asyncio.Future[ChildFailed] | None = None
    ) -> None:
        """Until `done`, or raise what came first. Never cancels `done`."""
        futures = [future for future in (done, self._cancelled, exceeded) if future is not None]
        loop = asyncio.get_running_loop()
        left = None if self._until is None else max(0.0, self._until - loop.time())
        await asyncio.wait(futures, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return
        if self._cancelled is not None and self._cancelled.done():
            raise ChildCancelled
        if exceeded is not None and exceeded.done():
            raise exceeded.result()
        raise ChildFailed(
            f"stopped after {round(self._timeout_s or 0, 1):g} s: its share of the time budget",
            kind="deadline",
        )


@contextlib.asynccontextmanager
async def _watch(group: int, request: Request) -> AsyncIterator[asyncio.Task[ChildFailed]]:
    """A task that ends, with the failure to raise, once the group takes more than it may."""

    def look() -> ChildFailed | None:
        if group_exceeds(group, request.memory_bytes):
            return out_of_memory(request.memory_bytes)
        why = sandbox_disk.too_much(group, Path(request.scratch), request.disk_bytes)
        return ChildFailed(why, kind="full" if why == NEARLY_FULL else "disk") if why else None

    async def watch() -> ChildFailed:
        failure = None
        while failure is None:
            await asyncio.sleep(_WATCH_EVERY_S)
            # in a thread: reading a large process's proportional size takes tens of milliseconds
            failure = await asyncio.to_thread(look)
        return failure

    task = asyncio.create_task(watch())
    try:
        yield task
    finally:
        task.cancel()


async def _stop(run: Run, server: ForkServer) -> None:
    """Have the whole group killed and wait until it is gone, however often the caller is cancelled."""
    if run.ended.done():
        return
    run.kill()
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _KILL_S
    interrupted = False
    while not run.ended.done() and (left := give_up - loop.time()) > 0:
        try:
            await asyncio.wait({run.ended}, timeout=left)
        except asyncio.CancelledError:
            interrupted = True
    if not run.ended.done():
        log.error("fork_server_hangs", pid=server.process.pid)
        run.kill_directly()
        server.kill()
        server.lost = True
        run.abandon()
    if interrupted:
        raise asyncio.CancelledError


def _cleared(scratch: Path) -> Path:
    """The folder, made if need be, without the answer of an earlier step."""
    scratch = scratch.absolute()
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (RESULT_FILE, FAILURE_FILE):
        (scratch / name).unlink(missing_ok=True)
    return scratch


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=os.fspath)
