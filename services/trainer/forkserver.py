"""The process that fits are forked from: it imports the heavy libraries once and then only forks.

`multiprocessing`'s fork server was measured against and left: it cannot be given an environment of its
own (the trainer's holds credentials), re-imports the trainer's `__main__` in every child, lives on while
a child holds its pipe, and reaps a leader before its process group can be killed without a race.

The trainer holds one socket to this process (`control`). For each run it sends one byte with four
descriptors: `link` (a socket of that run), `request` (an open file), `progress` (a pipe's write end) and
`output` (an open file); and, where the step may speak to a cluster, a fifth, its `door`
(`services.trainer.cluster_door`). Over `link` this process says, a line each, `pid {pid}`, then
`end {exit code} {max RSS in KiB}` once the whole group is gone; or `refused {why}`. Anything that comes
the other way, or its end, means: kill the group. When `control` closes, the trainer is gone: every group
is killed and this process ends.

It was started with the environment that fits may see, so that nothing of the trainer's is in its memory.
It imports nothing of the trainer but `child_main`, starts no thread, and never blocks.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from services.trainer import child_main, sandbox

FDS_PER_RUN = 4
OUTPUT_HEAD = 2**20
OUTPUT_TAIL = 2**16
_CHUNK = 2**16
_TICK_S = 0.005
_LINGER_S = 0.8
"""How long a killed group may take to vanish (uninterruptible I/O) before its end is reported anyway."""


class Ready(msgspec.Struct):
    """Said once, after the preload. A fork takes only one thread along: of `os_threads` the others are
    BLAS's, which restarts its own, or a hazard."""

    seconds: float
    os_threads: int
    failed: list[str]


class _Output:
    """A child's stdout and stderr, bounded: the first MiB goes to the file, of the rest the last 64 KiB."""

    def __init__(self, pipe: int, file: int) -> None:
        self.pipe, self._file = pipe, file
        self._room, self._left_out = OUTPUT_HEAD, 0
        self._tail = b""
        os.set_blocking(pipe, False)

    def read(self) -> bool:
        """Take what is there, at most one chunk; False when there is nothing more for now."""
        try:
            data = os.read(self.pipe, _CHUNK)
        except BlockingIOError:
            return False
        head, rest = data[: self._room], data[self._room :]
        self._write(head)
        self._room -= len(head)
        kept = self._tail + rest
        self._tail = kept[-OUTPUT_TAIL:]
        self._left_out += len(kept) - len(self._tail)
        return bool(data)

    def close(self) -> None:
        while self.read():
            pass
        if self._left_out:
            self._write(f"\n[{self._left_out} bytes left out]\n".encode())
        self._write(self._tail)
        os.close(self.pipe)
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not take the server down
            os.write(self._file, data)


class _Run:
    def __init__(self, pid: int, link: socket.socket, output: _Output) -> None:
        self.pid, self.link, self.output = pid, link, output
        self.code: int | None = None
        self.max_rss = 0
        self.linger_until = 0.0

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the trainer may be gone
            self.link.sendall(text.encode() + b"\n")

    def kill(self) -> None:
        """Kill the group. The leader has not been reaped yet, so its number can be nobody else's."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # it may not have come to its own session yet
            os.killpg(self.pid, signal.SIGKILL)

    def group_is_gone(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except OSError:
            return True
        return False


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, _Run] = {}
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._watch(control, self._on_control)
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_r, False)
        os.set_blocking(wake_w, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self._watch(wake_r, lambda: os.read(wake_r, _CHUNK))

    def serve(self) -> None:
        while self._runs or not self._closing:
            ending = any(run.code is not None for run in self._runs.values())
            for key, _ in self._selector.select(_TICK_S if ending else None):
                if (
                    key.fd in self._selector.get_map()
                ):  # an earlier callback of this round may have removed it
                    key.data()
            self._reap()
            for run in [run for run in self._runs.values() if run.code is not None]:
                self._end(run)

    def _watch(self, source: int | socket.socket, callback: Callable[[], object]) -> None:
        self._selector.register(source, selectors.EVENT_READ, callback)

    def _unwatch(self, source: int | socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(source)

    def _on_control(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 1, FDS_PER_RUN + 1)
        except ConnectionError:
            data, fds = b"", []
        if data and len(fds) in (FDS_PER_RUN, FDS_PER_RUN + 1):
            self._fork(*fds)
            return
        for fd in fds:  # too many are open here for all of them: the trainer sees this run's socket close
            os.close(fd)
        if data:
            return
        self._closing = True
        self._unwatch(self._control)
        for run in self._runs.values():
            run.kill()

    def _fork(self, link_fd: int, request: int, progress: int, output: int, door: int | None = None) -> None:
        link = socket.socket(fileno=link_fd)
        pipe_r, pipe_w = os.pipe()
        server_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            with contextlib.suppress(OSError):
                link.sendall(f"refused {error.strerror}\n".encode())
            link.close()
            for fd in (pipe_r, output):
                os.close(fd)
        else:
            if pid == 0:
                signal.set_wakeup_fd(-1)
                child_main.enter(request, progress, pipe_w, server_pid, door)
            run = self._runs[pid] = _Run(pid, link, _Output(pipe_r, output))
            self._watch(pipe_r, lambda: self._on_output(run))
            self._watch(link, lambda: self._on_link(run))
            run.say(f"pid {pid}")
        finally:
            for fd in (request, progress, pipe_w, *([] if door is None else [door])):
                os.close(fd)

    def _on_output(self, run: _Run) -> None:
        if not run.output.read():
            self._unwatch(run.output.pipe)

    def _on_link(self, run: _Run) -> None:
        self._unwatch(run.link)
        if run.code is None:
            run.kill()

    def _reap(self) -> None:
        """Collect the dead: leaders of runs, and orphans of their groups, which come to this subreaper."""
        for pid in iter(_next_dead if hasattr(os, "waitid") else self._next_dead_leader, None):
            run = self._runs.get(pid)
            if run:
                run.kill()
            _, status, usage = os.wait4(pid, 0)
            if run:
                run.code = os.waitstatus_to_exitcode(status)
                run.max_rss = usage.ru_maxrss
                run.linger_until = time.monotonic() + _LINGER_S

    def _next_dead_leader(self) -> int | None:
        """The same for leaders alone, where there is no waitid (Python below 3.13 on macOS)."""
        import psutil

        for pid, run in self._runs.items():
            if run.code is None:
                with contextlib.suppress(psutil.Error):
                    if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                        return pid
        return None

    def _end(self, run: _Run) -> None:
        gone = run.group_is_gone() and not self._kill_strays()
        if not gone and time.monotonic() < run.linger_until:
            return
        self._unwatch(run.output.pipe)
        self._unwatch(run.link)
        run.output.close()
        del self._runs[run.pid]
        run.say(f"end {run.code} {run.max_rss}")
        run.link.close()

    def _kill_strays(self) -> bool:
        """Kill what left its group (a daemon in a session of its own); True while there was something.

        Whatever loses its parent becomes a child of this process, and every other child is a run.
        """
        try:
            pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        except OSError:
            return False
        strays = [pid for pid in map(int, pids) if pid not in self._runs]
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return bool(strays)


def _next_dead() -> int | None:
    """The next child that has ended, left as a zombie so that its number stays taken."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _preload(modules: Sequence[str]) -> list[str]:
    """Import each; one that fails is reported, since only the steps that need it have to fail."""
    failed = []
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 — whatever a library does at import
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def _os_threads() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return 1


def main(control_fd: int, trainer_pid: int, modules: Sequence[str], *, hidden: bool) -> None:
    """Preload `modules`, say so, and serve until the trainer is gone."""
    started = time.monotonic()
    # a preload that hangs must not outlive the trainer; later the closed socket tells, since a server
    # that is simply killed could not take the grandchildren with it
    child_main.die_with(trainer_pid)
    child_main.set_name("trainyard-forks")
    if hidden:
        sandbox.hide()  # a fit that got out must not write into what the next one is forked from
    # a service manager signals every process of the unit, but the trainer decides what is drained
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    failed = _preload(modules)
    sandbox.prepare()
    child_main.outlive_parent()
    child_main.prctl(child_main.PR_SET_CHILD_SUBREAPER, 1)
    # what is alive now never dies: keep the collector from touching it, and so from copying its pages
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=control_fd)
    ready = Ready(seconds=time.monotonic() - started, os_threads=_os_threads(), failed=failed)
    with contextlib.suppress(ConnectionError):
        control.sendall(msgspec.json.encode(ready) + b"\n")
        _Server(control).serve()
    sys.exit(0)
