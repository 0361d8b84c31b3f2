"""What became of a step, once its process is gone: its result, or an error with a reason for the user.

Everything that is read here was written by the child, which may have been taken over by what it read.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog

from services.trainer import sandbox_disk
from services.trainer.child_main import (
    BROKEN,
    DONE,
    FAILED,
    FAILURE_FILE,
    OUTPUT_FILE,
    RESULT_FILE,
    Failure,
    Request,
    name_of,
)
from services.trainer.child_process import Ended
from shared.errors import (
    CannotTrain,
    ClusterFailed,
    InvalidRequest,
    NotConvertible,
    TableUnreadable,
    TrainyardError,
)

log = structlog.get_logger(__name__)

MAX_RESULT_BYTES = 256 * 2**20
"""Above this a result is refused: the trainer holds it in memory."""

MAX_FAILURE_BYTES = 2**20

_TAIL_BYTES = 4096

_FROM_STEPS = (CannotTrain, ClusterFailed, InvalidRequest, NotConvertible, TableUnreadable)
"""The domain errors that a step may raise. Others, such as that the store is away, mean something to the
worker that a step must not be able to say; that the cluster failed it costs a try, as a crash does."""

Kind = Literal["error", "memory", "disk", "full", "deadline", "crashed", "killed", "exited", "lost"]


class ChildFailed(TrainyardError):
    """The process that ran it failed"""

    slug = "child-failed"

    def __init__(self, detail: str | None = None, *, kind: Kind = "error", **context: Any) -> None:
        """`detail` is the reason for the user; `kind` for code.

        error: the step raised · memory: over the guard · disk: wrote too much · full: the machine's disk is ·
        deadline · crashed: by a signal · killed: SIGKILL from outside · exited: without a result · lost: the
        fork server went down or could not fork. The last and `full` say nothing about the step, so that it
        may be tried again.
        """
        self.kind = kind
        super().__init__(detail, **context)


class ChildCancelled(TrainyardError):
    """The work was cancelled"""

    slug = "child-cancelled"


def outcome(step: str, ended: Ended, request: Request) -> bytes:
    """The result, or raise what became of it."""
    if ended.refused:
        raise ChildFailed(f"the process could not be started: {ended.refused}", kind="lost")
    if ended.code is None:
        raise ChildFailed("the process was lost with the one that started it; try again", kind="lost")
    scratch = Path(request.scratch)
    if odd := sandbox_disk.oddity(scratch):
        log.warning("step_left_oddity", step=step, code=ended.code, reason=odd)
        raise ChildFailed(odd)
    if ended.code == FAILED and (scratch / FAILURE_FILE).exists():
        raise _failure(step, scratch / FAILURE_FILE, request)
    if ended.code == 0 and (scratch / RESULT_FILE).exists():
        result = sandbox_disk.read_bounded(scratch / RESULT_FILE, MAX_RESULT_BYTES)
        if result is None:
            raise ChildFailed("its result is too large")
        return result
    if ended.code in (DONE, BROKEN) and sandbox_disk.is_used_up(scratch):
        raise disk_full()  # it could not even tell
    tail = _tail(scratch / OUTPUT_FILE)
    log.warning("child_died", step=step, code=ended.code, output=tail)
    if "bad_alloc" in tail or "Cannot allocate memory" in tail:
        raise out_of_memory(request.memory_bytes)
    if ended.code == -signal.SIGKILL:
        raise ChildFailed("killed by the operating system, probably out of memory", kind="killed")
    if ended.code < 0:
        raise ChildFailed(f"the process crashed ({_signal_name(-ended.code)})", kind="crashed")
    raise ChildFailed(f"the process ended early (exit code {ended.code})", kind="exited")


def _failure(step: str, path: Path, request: Request) -> TrainyardError:
    try:
        told = sandbox_disk.read_bounded(path, MAX_FAILURE_BYTES) or b""
        failure = msgspec.json.decode(told, type=Failure)
    except (msgspec.MsgspecError, RecursionError):
        if sandbox_disk.is_used_up(path.parent):
            return disk_full()  # cut short
        return ChildFailed("what it said of its failure cannot be read")
    if failure.disk_full and sandbox_disk.is_used_up(path.parent):
        return disk_full()
    if failure.out_of_memory:
        log.warning("step_ran_out_of_memory", step=step, traceback=failure.traceback)
        return out_of_memory(request.memory_bytes)
    if failure.out_of_disk:
        log.warning("step_wrote_too_much", step=step, traceback=failure.traceback)
        return ChildFailed(sandbox_disk.wrote_too_much(request.disk_bytes), kind="disk")
    known = {name_of(kind): kind for base in _FROM_STEPS for kind in _domain_errors(base)}
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


def disk_full() -> ChildFailed:
    return ChildFailed(sandbox_disk.NEARLY_FULL, kind="full")


def out_of_memory(memory_bytes: int) -> ChildFailed:
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
