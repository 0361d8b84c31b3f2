"""What happens inside the process a fit runs in, from the fork to its exit.

The process was forked by `services.trainer.forkserver`, so the heavy libraries are imported already.
It shuts itself in (own session, limits, scratch folder as working directory, the sandbox), calls one step
and leaves either `result.json` or `failure.json` in the scratch folder. No pickle goes to the trainer.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import importlib
import inspect
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from services.trainer import cluster_door, sandbox, sandbox_disk
from services.trainer.child_log import tell_over
from services.trainer.sandbox import Layers
from shared.errors import TrainyardError

RESULT_FILE = "result.json"
FAILURE_FILE = "failure.json"
OUTPUT_FILE = "output.txt"

DONE, FAILED, BROKEN = 0, 70, 71
"""Exit codes: the result is written · the failure is written · not even that worked (sysexits.h's 70 up)."""

NICENESS = 5
"""Below the trainer's own priority, so that leases are renewed while every core fits."""

ADDRESS_SLACK = 2**31
"""RLIMIT_AS counts address space, of which allocators and threads reserve more than they ever touch. With
half of it CatBoost, each of whose threads has an arena, was aborted in three of six fits on 60 rows."""

TELLING_SLACK = 2**28
"""What telling of a failure may take above that."""

MAX_DESCRIPTORS = 1024

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


class Request(msgspec.Struct, kw_only=True):
    """What the trainer asks for. `target` is "module:function"; `payload` its keyword arguments as JSON.
    The step may write in `scratch` up to `disk_bytes` and read the paths in `reads`; `layers` keep it in.
    `log_level` is the trainer's."""

    target: str
    payload: dict[str, msgspec.Raw]
    scratch: str
    memory_bytes: int
    disk_bytes: int
    reads: list[str]
    layers: Layers
    log_level: str = "warning"


class Failure(msgspec.Struct, kw_only=True):
    """Why a step raised. `classes`: the domain error's class and its bases, nearest first; else empty."""

    detail: str
    traceback: str
    classes: list[str] = []
    errors: list[tuple[str, str]] | None = None
    context: dict[str, Any] = {}
    out_of_memory: bool = False
    out_of_disk: bool = False
    disk_full: bool = False


def prctl(option: int, value: int | bytes) -> None:
    """Linux's prctl(2); does nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as `parent` is gone, and end it if that is so already."""
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(BROKEN)


def outlive_parent() -> None:
    prctl(_PR_SET_PDEATHSIG, 0)


def set_name(name: str) -> None:
    """The name that `ps` and `top` show, at most 15 characters."""
    prctl(_PR_SET_NAME, name.encode())


def enter(
    request_fd: int, progress_fd: int, output_fd: int, server_pid: int, door_fd: int | None = None
) -> NoReturn:
    """Run the request found in `request_fd` and end the process; never returns to the fork server."""
    code = BROKEN
    try:
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.setsid()
        die_with(server_pid)
        with open(request_fd, "rb") as file:
            file.seek(0)
            request = msgspec.json.decode(file.read(), type=Request)
        keep = {0, 1, 2, progress_fd}
        if door_fd is not None:
            keep.add(door_fd)
            cluster_door.use(door_fd)
        _shut_in(request, keep, talks=door_fd is not None)
        code = _work(request, progress_fd)
    except BaseException:  # noqa: BLE001 — nothing may return into the fork server's frames
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        # neither the fork server's frames nor exit handlers of the libraries it imported may run here
        os._exit(code)


def _shut_in(request: Request, keep: set[int], *, talks: bool) -> None:
    set_name("trainyard-fit")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _close_all_but(keep)
    os.umask(0o077)
    os.chdir(request.scratch)
    # whatever a killed fit leaves behind goes with its scratch folder; nowhere else can it write
    for name in ("TMPDIR", "JOBLIB_TEMP_FOLDER", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ[name] = request.scratch
    tempfile.tempdir = None
    sandbox.show()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, request.disk_bytes)
    _limit(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit
        room = _mapped_bytes() + request.memory_bytes + ADDRESS_SLACK
        _limit(resource.RLIMIT_AS, room + TELLING_SLACK)
        _limit_address_space(room)
    with contextlib.suppress(OSError):  # where memory runs out all the same, the fit goes before the trainer
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(file=2)
    reads = [Path(path) for path in request.reads]
    sandbox.enter(request.layers, scratch=Path(request.scratch), reads=reads, talks=talks)


def _limit(kind: int, value: int) -> None:
    """Soft and hard, so that it cannot be lifted; a lower one that is there stays."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _limit_address_space(room: int | None) -> None:
    """The soft limit only: telling of the failure may need more than the step has left."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if room is None or (hard != resource.RLIM_INFINITY and room > hard):
        room = hard
    resource.setrlimit(resource.RLIMIT_AS, (room, hard))


def _close_all_but(keep: set[int]) -> None:
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")
    for fd in [int(entry.name) for entry in folder.iterdir()]:
        if fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)
    for fd in keep - {0, 1, 2}:
        os.set_inheritable(fd, False)


def _mapped_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _work(request: Request, progress_fd: int) -> int:
    scratch = Path(request.scratch)
    os.set_blocking(progress_fd, False)
    tell_over(progress_fd, request.log_level)
    try:
        step = _resolve(request.target)
        arguments = _arguments(step, request.payload)
        result = step(**arguments, scratch=scratch, progress=_reporter(progress_fd))
        (scratch / RESULT_FILE).write_bytes(msgspec.json.encode(result, enc_hook=_plain))
    except BaseException as error:  # noqa: BLE001 — SystemExit too: a step is not to end the process
        with contextlib.suppress(OSError, ValueError):
            _limit_address_space(None)
        failure = _failure(error, scratch)
        (scratch / FAILURE_FILE).write_bytes(msgspec.json.encode(failure, enc_hook=str))
        return FAILED
    return DONE


def _resolve(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def _arguments(step: Callable[..., Any], payload: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Each argument decoded as the step annotates it: structs, enums, UUIDs, times and paths included."""
    parameters = inspect.signature(step, eval_str=True).parameters
    arguments = {}
    for name, raw in payload.items():
        hint = parameters[name].annotation if name in parameters else Any
        kind = Any if hint is inspect.Parameter.empty else hint
        arguments[name] = msgspec.json.decode(raw, type=kind, dec_hook=_rich)
    return arguments


def _rich(kind: type, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Path):
        return kind(value)
    raise NotImplementedError(f"a step cannot be handed a {kind!r}")


def _plain(value: Any) -> Any:
    """What msgspec does not know: NumPy's scalars and arrays, paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise NotImplementedError(f"a step cannot return a {type(value)!r}")


def _reporter(fd: int) -> Callable[..., None]:
    def progress(done: float, message: str = "") -> None:
        # short enough that the pipe takes a line whole or not at all; a full pipe costs an update, not time
        line = msgspec.json.encode((float(done), str(message)[:300])) + b"\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(fd, line)

    return progress


def _failure(error: BaseException, scratch: Path) -> Failure:
    trace = "".join(traceback.format_exception(error))[-65_536:]
    if isinstance(error, TrainyardError):
        return Failure(
            detail=error.detail,
            traceback=trace,
            classes=[name_of(kind) for kind in type(error).__mro__ if issubclass(kind, TrainyardError)],
            errors=getattr(error, "errors", None),
            context=error.context,
        )
    first_line = (str(error).strip().splitlines() or [""])[0].replace(str(scratch), "scratch")[:300]
    detail = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    return Failure(
        detail=detail,
        traceback=trace,
        out_of_memory=_is_memory(error),
        out_of_disk=_is_disk(error),
        disk_full=sandbox_disk.is_full(error),
    )


def _is_memory(error: BaseException) -> bool:
    """MemoryError, and what the C++ libraries make of a failed allocation."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return "bad_alloc" in str(error) or "bad allocation" in str(error)


def _is_disk(error: BaseException) -> bool:
    """A file grew to RLIMIT_FSIZE, of which Python ignores the signal; pyarrow tells it in words alone."""
    return getattr(error, "errno", None) == errno.EFBIG or os.strerror(errno.EFBIG) in str(error)


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
