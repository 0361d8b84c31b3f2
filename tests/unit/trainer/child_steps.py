"""Steps that behave and steps that do not, for test_child.py. Run in child processes only."""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from shared.contracts.states import TaskType
from shared.errors import CannotTrain, InvalidRequest


class Sum(msgspec.Struct):
    total: float
    kind: TaskType
    day: dt.date
    source: str


class OnlyHere(CannotTrain):
    """Only the child knows this class"""


def add(
    numbers: list[int], kind: TaskType, day: dt.date, source: Path, *, scratch: Path, progress: Any
) -> Sum:
    assert type(kind) is TaskType
    progress(0.25, "a quarter")
    (scratch / "model.pkl").write_bytes(b"model")
    progress(7, "ä line\nbreak")
    return Sum(float(sum(numbers)), kind, day, str(source / "x"))


def surroundings(*, scratch: Path, progress: Any) -> dict[str, Any]:
    (scratch / "made").touch()
    opened = [entry for entry in list(Path("/proc/self/fd").iterdir()) if entry.exists()]
    return {
        "environ": dict(os.environ),
        "initial_environ": Path("/proc/self/environ").read_text(),
        "cwd": str(Path.cwd()),
        "session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "address_space": resource.getrlimit(resource.RLIMIT_AS)[0],
        "mode": (scratch / "made").stat().st_mode & 0o777,
        "open": {entry.name: str(entry.readlink()) for entry in opened if int(entry.name) > 2},
        "sigterm_default": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }


def cannot_train(*, scratch: Path, progress: Any) -> None:
    raise OnlyHere("one class only", column="y")


def invalid(*, scratch: Path, progress: Any) -> None:
    raise InvalidRequest([("/target", "missing"), ("/models/0", "unknown")])


def bug(*, scratch: Path, progress: Any) -> None:
    raise ValueError(f"first line about {scratch}/x\nsecond line")


def leave(how: str, code: int, *, scratch: Path, progress: Any) -> None:
    (os._exit if how == "at once" else sys.exit)(code)


def crash(how: str, *, scratch: Path, progress: Any) -> None:
    if how == "abort":
        os.abort()
    elif how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def allocate_at_once(*, scratch: Path, progress: Any) -> None:
    bytearray(2**40)


def bad_alloc(*, scratch: Path, progress: Any) -> None:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def eat(processes: int, *, scratch: Path, progress: Any) -> None:
    """Each of the processes grows to 96 MiB, 4 MiB at a time, and stays."""
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    held = [bytes([1]) * 2**22 for _ in range(24)]
    while held:
        signal.pause()


def forever(*, scratch: Path, progress: Any) -> None:
    """Ignores SIGTERM, as do a grandchild in its group, one in a session of its own, and one exec'ed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = [_forked(False), _forked(True)]
    pids.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]).pid)
    progress(0.5, " ".join(map(str, [os.getpid(), *pids])))
    while True:
        pass


def leave_grandchildren(*, scratch: Path, progress: Any) -> int:
    pids = [_forked(False), _forked(True)]
    progress(1.0, " ".join(map(str, pids)))
    return len(pids)


def _forked(own_session: bool) -> int:
    """A grandchild that stays; returns once it is in its session."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        if own_session:
            os.setsid()
        os.write(w, b"x")
        while True:
            signal.pause()
    os.read(r, 1)
    return pid


def shout(megabytes: int, *, scratch: Path, progress: Any) -> int:
    print("first words")
    line = b"x" * (2**20 - 1) + b"\n"
    for _ in range(megabytes):
        os.write(2, line)
    print("last words")
    return megabytes


def flood(updates: int, *, scratch: Path, progress: Any) -> None:
    for number in range(updates):
        progress(number / updates, f"update {number}")


def meet(fifo: str, end: str, *, scratch: Path, progress: Any) -> str:
    """Both ends of a FIFO open only once the other has come."""
    with Path(fifo).open(end):
        return end


def many_bytes(size: int, *, scratch: Path, progress: Any) -> str:
    return "x" * size


def write_until_full(*, scratch: Path, progress: Any) -> None:
    with (scratch / "model.pkl").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))


def nothing_to_encode(*, scratch: Path, progress: Any) -> object:
    return object()
