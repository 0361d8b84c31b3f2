"""Steps that try to get out, for test_sandbox.py. Run in child processes only.

Each attempt answers with "did it" or with the name of the error that stopped it, so that a test can tell
a refusal from an attempt that went wrong for another reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PTRACE_SEIZE = 0x4206
"""Without stopping the process."""


def attempt(what: str, arguments: list[Any], *, scratch: Path, progress: Any) -> str:
    try:
        ATTEMPTS[what](scratch, *arguments)
    except socket.gaierror:
        return "no such name"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "did it"


def stay(*, scratch: Path, progress: Any) -> None:
    """Another fit at work, with something to read in its folder and its memory."""
    (scratch / "theirs").write_text("another user's table")
    progress(0.5, str(os.getpid()))
    while True:
        signal.pause()


def abort(*, scratch: Path, progress: Any) -> None:
    os.abort()


def find_in_itself(secrets: list[tuple[str, str]], *, scratch: Path, progress: Any) -> list[str]:
    """Where in this process a secret is: environment, arguments, memory. They come in halves, since a
    whole one would be found in this function."""
    halves = [(first.encode(), second.encode()) for first, second in secrets]
    found = []
    for name in ("environ", "cmdline"):
        found += [name] * _holds(Path("/proc/self", name).read_bytes(), halves)
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        for line in Path("/proc/self/maps").read_text().splitlines():
            region, allowed, *_ = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in region.split("-"))
            if allowed.startswith("rw"):
                with contextlib.suppress(OSError, OverflowError):
                    memory.seek(start)
                    found += [line] * _holds(memory.read(end - start), halves)
    return found


def _holds(content: bytes, halves: list[tuple[bytes, bytes]]) -> bool:
    for first, second in halves:
        at = content.find(first)
        while at >= 0:
            if content[at + len(first) :].startswith(second):
                return True
            at = content.find(first, at + 1)
    return False


def rights(*, scratch: Path, progress: Any) -> dict[str, str]:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    return {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}


def limits(*, scratch: Path, progress: Any) -> dict[str, list[int]]:
    names = ("CORE", "FSIZE", "NOFILE", "AS")
    return {name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))) for name in names}


def leave_behind(what: str, target: str, *, scratch: Path, progress: Any) -> None:
    place = scratch / "model.pkl"
    if what == "symlink":
        place.symlink_to(target)
    elif what == "hard link":
        place.hardlink_to(target)
    elif what == "fifo":
        os.mkfifo(scratch / "result.json")
        os._exit(0)
    elif what == "many files":
        for number in range(2_100):
            (scratch / f"{number}").touch()
    elif what == "closed folder":
        deep = scratch
        for _ in range(3):
            deep = deep / "x"
            deep.mkdir()
        (deep / "file").touch()
        (scratch / "x" / "closed").mkdir(mode=0)


def claim(failure: str, *, scratch: Path, progress: Any) -> None:
    """Fail as if the step had raised what it likes."""
    (scratch / "failure.json").write_text(failure)
    os._exit(70)


def write_files(how: str, mebibytes: int, each: int, *, scratch: Path, progress: Any) -> int:
    """Write so much in files of `each` MiB, which may be removed at once while they stay open."""
    block = os.urandom(2**20)
    kept: list[object] = []
    for number in range(0, mebibytes, each):
        path = scratch / f"file-{number}"
        with path.open("wb") as file:
            for _ in range(each):
                file.write(block)
            file.flush()
            if how == "mapped and removed":
                kept.append(_mapped(path))
            elif how == "removed":
                kept.append(os.dup(file.fileno()))
        if how != "kept":
            path.unlink()
    while True:
        signal.pause()


def work_in_threads(threads: int, *, scratch: Path, progress: Any) -> int:
    """As a forest's trees are grown: joblib's threads, on multiprocessing's pool."""
    from joblib import Parallel, delayed

    return sum(Parallel(n_jobs=threads, prefer="threads")(delayed(pow)(n, 2) for n in range(100)))


def _mapped(path: Path) -> object:
    """A page of the file, whose descriptor is closed: mmap.mmap keeps one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    fd = os.open(path, os.O_RDONLY)
    page = libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    os.close(fd)
    return page


def start_threads(count: int, *, scratch: Path, progress: Any) -> int:
    threading.stack_size(65_536)
    for _ in range(count):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Event().wait()
    return count


def fork_all_it_can(most: int, *, scratch: Path, progress: Any) -> list[Any]:
    """Bounded: every process ends at once."""
    started = 0
    for _ in range(most):
        try:
            pid = os.fork()
        except OSError as error:
            return [started, errno.errorcode[error.errno or 0]]
        if pid == 0:
            os._exit(0)
        started += 1
    return [started, ""]


# --- attempts: each raises OSError where it is refused -------------------------------------------


def connect(_scratch: Path, family: str, kind: str, address: Any) -> None:
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as own:
        own.settimeout(5)
        own.connect(tuple(address) if isinstance(address, list) else address)
        own.send(b"hello")


def pair(_scratch: Path) -> None:
    """A datagram pair can be turned to any other address."""
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()


def resolve(_scratch: Path, name: str) -> None:
    socket.getaddrinfo(name, 80)


def read(_scratch: Path, path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(16)


def listing(_scratch: Path, path: str) -> None:
    next(Path(path).iterdir(), None)


def write(_scratch: Path, path: str) -> None:
    Path(path).write_bytes(b"mine")


def append(_scratch: Path, path: str) -> None:
    with Path(path).open("ab") as file:
        file.write(b"mine")


def truncate(_scratch: Path, path: str, how: str) -> None:
    if how == "by name":
        os.truncate(path, 0)
    else:  # 3: neither for reading nor for writing
        os.close(os.open(path, os.O_TRUNC | (os.O_RDONLY if how == "read" else 3)))


def remove(_scratch: Path, path: str) -> None:
    Path(path).unlink()


def change(_scratch: Path, path: str, how: str) -> None:
    if how == "rights":
        Path(path).chmod(0o600)
    elif how == "owner":
        os.chown(path, os.getuid(), os.getgid())
    elif how == "times":
        os.utime(path, (0, 0))
    else:
        os.setxattr(path, "user.mine", b"1")


def take_in(scratch: Path, path: str, how: str) -> None:
    """Bring a file of elsewhere into one's own folder."""
    place = scratch / "taken"
    if how == "hard link":
        place.hardlink_to(path)
    elif how == "rename":
        Path(path).rename(place)
    else:
        place.symlink_to(path)


def mapped(_scratch: Path, path: str) -> None:
    """Write through a mapping of a file that may only be read."""
    with Path(path).open("rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE).close()


def send_signal(_scratch: Path, pid: int, number: int) -> None:
    os.kill(pid, number)


def signal_thread(_scratch: Path, pid: int) -> None:
    _libc("tgkill", pid, pid, 0)


def signal_by_descriptor(_scratch: Path, pid: int) -> None:
    r, _w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, pid)


def trace(_scratch: Path, pid: int) -> None:
    _libc("ptrace", _PTRACE_SEIZE, pid, 0, 0)


def read_memory(_scratch: Path, pid: int) -> None:
    _libc("process_vm_readv", pid, None, 0, None, 0, 0)


def slow_down(_scratch: Path, pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, 19)


def limit_another(_scratch: Path, pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))


def lift_limit(_scratch: Path, name: str) -> None:
    kind = getattr(resource, f"RLIMIT_{name}")
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:  # "not allowed to raise maximum limit"
        raise PermissionError(errno.EPERM, str(error)) from error


def execute(_scratch: Path, path: str) -> None:
    os.execv(path, [path, "-c", "exit 0"])  # noqa: S606


def shell(_scratch: Path) -> None:
    subprocess.run(["/bin/sh", "-c", "exit 0"], check=True)


def new_namespace(_scratch: Path, flags: int) -> None:
    _libc("unshare", flags)


def call(_scratch: Path, number: int) -> None:
    """A system call by its number, with arguments that make it harmless where it is allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


def shared_memory(_scratch: Path) -> None:
    _libc("shmget", 0, 4096, 0o1600)


def descriptor_inherited(_scratch: Path, target: str) -> None:
    """Among one's own descriptors: one that leads to something of that kind."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if target in str(entry.readlink()):
                return
    raise FileNotFoundError(errno.ENOENT, "none")


def _libc(name: str, *arguments: Any) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


ATTEMPTS: dict[str, Callable[..., None]] = {
    attempt.__name__: attempt
    for attempt in (
        connect, pair, resolve, read, listing, write, append, truncate, remove, change, take_in, mapped,
        send_signal, signal_thread, signal_by_descriptor, trace, read_memory, slow_down, limit_another,
        lift_limit, execute, shell, new_namespace, call, shared_memory, descriptor_inherited,
    )
}  # fmt: skip
