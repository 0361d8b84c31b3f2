"""The process a fit runs in, seen from the trainer: start it, watch it, end it, say what became of it.

One process a step, in a session of its own, forked from a server that has the libraries imported. A
step is `step(**payload, scratch: Path, progress) -> struct`; its result comes back as JSON, and files
stay in `scratch`. Whatever a step does (eats memory, never ends, crashes the interpreter, forks), it
is that step's failure, with a reason a user understands, and nothing else's.

This keeps mistakes apart, not attackers: a step runs as the trainer's own OS user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import structlog

from services.trainer.child_main import (
    FAILED,
    FAILURE_FILE,
    OUTPUT_FILE,
    RESULT_FILE,
    Failure,
    Request,
    name_of,
)
from services.trainer.child_memory import group_exceeds
from services.trainer.child_process import Ended, ForkServer, Run, child_environ
from shared.errors import ConfigurationError, TrainyardError

log = structlog.get_logger(__name__)

PRELOAD = ("services.trainer.preload",)

MAX_RESULT_BYTES = 256 * 2**20
"""Above this a result is refused: the trainer holds it in memory."""

_KILL_S = 1.0
_MEMORY_EVERY_S = 0.2
_TAIL_BYTES = 4096

Kind = Literal["error", "memory", "deadline", "crashed", "killed", "exited", "lost"]


class ChildFailed(TrainyardError):
    """The process that ran it failed"""

    slug = "child-failed"

    def __init__(self, detail: str | None = None, *, kind: Kind = "error", **context: Any) -> None:
        """`detail` is the reason for the user; `kind` for code.

        error: the step raised · memory: over the guard · deadline · crashed: by a signal · killed:
        SIGKILL from outside · exited: without a result · lost: the fork server went down or could not
        fork, which says nothing about the step, so that it may be tried again.
        """
        self.kind = kind
        super().__init__(detail, **context)


class ChildCancelled(TrainyardError):
    """The work was cancelled"""

    slug = "child-cancelled"


class Children:
    """Runs steps in processes of their own; one a trainer, an async context manager.

    `steps` maps the names `run` takes to "module:function"; nothing else can be run. `preload` names the
    modules that the fork server imports (those of the steps are added), `threads` caps what each library
    starts in a step, and of `environ` (default: the process's) only what is harmless reaches a step.
    """

    def __init__(
        self,
        steps: Mapping[str, str],
        *,
        preload: Sequence[str] = PRELOAD,
        threads: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._steps = dict(steps)
        modules = [target.partition(":")[0] for target in steps.values()]
        self._modules = list(dict.fromkeys([*preload, *modules]))
        self._environ = child_environ(os.environ if environ is None else environ, threads)
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
            self._server = ForkServer(self._modules, self._environ, self._replace)

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
        on_progress: Callable[[float, str], None] | None = None,
        cancelled: asyncio.Event | None = None,
    ) -> bytes:
        """Run one step in a process of its own; its result as JSON.

        `scratch` is made if need be. `timeout_s` counts from this call. `memory_bytes` guards the sum
        over the step's processes. When this returns or raises, none of those processes is left.

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
        )
        started = time.monotonic()
        with _Stops(timeout_s, cancelled) as stops:
            ended = await self._ended(request, on_progress, stops)
        log.info(
            "child_ended",
            step=step,
            code=ended.code,
            seconds=round(time.monotonic() - started, 3),
            max_rss_kib=ended.max_rss_kib,
        )
        return _outcome(step, ended, scratch, memory_bytes)

    async def _ended(
        self, request: Request, on_progress: Callable[[float, str], None] | None, stops: _Stops
    ) -> Ended:
        for _ in range(3):
            server = await self._serving(stops)
            try:
                run = server.fork(request, on_progress)
            except (ConnectionError, BlockingIOError):
                server.lost = True
                continue
            try:
                await stops.wait(run.started)
                if run.pid is not None:
                    async with _memory_watch(run.pid, request.memory_bytes) as exceeded:
                        await stops.wait(run.ended, exceeded)
            finally:
                await _stop(run, server)
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
    """What ends a wait early: the deadline, the cancelled event, the memory guard."""

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
async def _memory_watch(group: int, limit: int) -> AsyncIterator[asyncio.Task[ChildFailed]]:
    """A task that ends, with the failure to raise, once the group holds more than `limit` bytes."""

    async def watch() -> ChildFailed:
        exceeds = False
        while not exceeds:
            await asyncio.sleep(_MEMORY_EVERY_S)
            # in a thread: reading a large process's proportional size takes tens of milliseconds
            exceeds = await asyncio.to_thread(group_exceeds, group, limit)
        return _out_of_memory(limit)

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


def _outcome(step: str, ended: Ended, scratch: Path, memory_bytes: int) -> bytes:
    """The result, or raise what became of it."""
    if ended.refused:
        raise ChildFailed(f"the process could not be started: {ended.refused}", kind="lost")
    if ended.code is None:
        raise ChildFailed("the process was lost with the one that started it; try again", kind="lost")
    if ended.code == FAILED and (scratch / FAILURE_FILE).exists():
        failure = msgspec.json.decode((scratch / FAILURE_FILE).read_bytes(), type=Failure)
        raise _failure(step, failure, memory_bytes)
    if ended.code == 0 and (scratch / RESULT_FILE).exists():
        if (scratch / RESULT_FILE).stat().st_size > MAX_RESULT_BYTES:
            raise ChildFailed("its result is too large")
        return (scratch / RESULT_FILE).read_bytes()
    tail = _tail(scratch / OUTPUT_FILE)
    log.warning("child_died", step=step, code=ended.code, output=tail)
    if "bad_alloc" in tail or "Cannot allocate memory" in tail:
        raise _out_of_memory(memory_bytes)
    if ended.code == -signal.SIGKILL:
        raise ChildFailed("killed by the operating system, probably out of memory", kind="killed")
    if ended.code < 0:
        raise ChildFailed(f"the process crashed ({_signal_name(-ended.code)})", kind="crashed")
    raise ChildFailed(f"the process ended early (exit code {ended.code})", kind="exited")


def _failure(step: str, failure: Failure, memory_bytes: int) -> TrainyardError:
    if failure.out_of_memory:
        log.warning("step_ran_out_of_memory", step=step, traceback=failure.traceback)
        return _out_of_memory(memory_bytes)
    known = {name_of(kind): kind for kind in _domain_errors(TrainyardError)}
    kind = next((known[name] for name in failure.classes if name in known), None)
    if kind is None:
        log.warning("step_raised", step=step, reason=failure.detail, traceback=failure.traceback)
        return ChildFailed(failure.detail)
    # not through its constructor: each class has its own parameters, and these are what they come to
    error = kind.__new__(kind)
    TrainyardError.__init__(error, failure.detail, **failure.context)
    if failure.errors is not None:
        error.errors = failure.errors  # type: ignore[attr-defined]
    return error


def _domain_errors(kind: type[TrainyardError]) -> Iterator[type[TrainyardError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _domain_errors(sub)


def _out_of_memory(memory_bytes: int) -> ChildFailed:
    return ChildFailed(f"ran out of memory: needed more than {memory_bytes // 2**20} MiB", kind="memory")


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
