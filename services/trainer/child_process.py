"""The trainer's ends of what `services.trainer.forkserver` does: the server, and one run in it.

Both speak to the event loop through `add_reader` alone, which asyncio and uvloop both have.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from services.trainer.child_main import OUTPUT_FILE, Request
from services.trainer.forkserver import Ready

log = structlog.get_logger(__name__)

_ALLOWED = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONHASHSEED",
        "PYTHONUTF8",
        "PYTHONIOENCODING",
        "PYTHONMALLOC",
        "PYTHONNOUSERSITE",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "MPLCONFIGDIR",
        "NUMBA_CACHE_DIR",
        "NUMBA_CPU_NAME",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "MALLOC_ARENA_MAX",
        "OMP_WAIT_POLICY",
    ]
)
"""What of the trainer's environment a fit may see. A list of what is allowed, never of what is secret."""

_THREAD_CAPS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)

_FIXED = {
    "MPLBACKEND": "Agg",
    # pyarrow's jemalloc would start a thread in the process that is to be forked
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}

_UNLESS_SAID = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin while they wait for one another starve each other where cores are shared: fits of a
second took minutes (decision 0012)."""

_BOOT = (
    "import json, sys; fd, pid, sys.path[:], modules, hidden = json.loads(sys.argv[1]); "
    "from services.trainer.forkserver import main; main(fd, pid, modules, hidden=hidden)"
)
"""Not `-m`: a `__main__` with a name would be imported again by every worker that joblib spawns."""

_PROGRESS_KEPT = 16
_READ = 2**16


def child_environ(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """The whole environment of the fork server and every fit: no credentials, capped threads."""
    kept = {name: value for name, value in environ.items() if name in _ALLOWED or name.startswith("LC_")}
    return _UNLESS_SAID | kept | dict.fromkeys(_THREAD_CAPS, str(threads)) | _FIXED


class ForkServer:
    """One fork server process. It is started at once; `settled` needs a running loop.

    `on_lost` is called where it ends by itself after it has served. `hidden`: from the memory of processes
    of the same user.
    """

    def __init__(
        self,
        modules: Sequence[str],
        environ: Mapping[str, str],
        on_lost: Callable[[], object],
        *,
        hidden: bool,
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        paths = [path or str(Path.cwd()) for path in sys.path]
        boot = json.dumps([theirs.fileno(), os.getpid(), paths, list(modules), hidden])
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, boot],
            env=dict(environ),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # a session of its own: Ctrl-C at the trainer must not end work that is being drained
            start_new_session=True,
        )
        theirs.close()
        self.lost = False
        self._on_lost = on_lost
        self._served = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state: asyncio.Future[bool] | None = None
        self._said = b""

    def settled(self) -> asyncio.Future[bool]:
        """Done with True once it serves, with False where it ended before it did."""
        if self._state is None:
            self._loop = asyncio.get_running_loop()
            self._state = self._loop.create_future()
            self._loop.add_reader(self._control.fileno(), self._on_control)
        return self._state

    def fork(
        self,
        request: Request,
        on_progress: Callable[[float, str], None] | None,
        on_said: Callable[[bytes], None],
        door: int | None = None,
    ) -> Run:
        """Ask for a child; what it logs comes to `on_said`, and `door` is its way to a cluster. Raises
        ConnectionError or BlockingIOError where the server is gone or hangs."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            link, link_theirs = socket.socketpair()
            ours.callback(link.close)
            theirs.callback(link_theirs.close)
            progress_r, progress_w = os.pipe()
            ours.callback(os.close, progress_r)
            theirs.callback(os.close, progress_w)
            # without a name, so that it is gone with the run and no step can take it for its own
            file = theirs.enter_context(tempfile.TemporaryFile(dir=request.scratch))
            file.write(msgspec.json.encode(request))
            file.flush()
            output = os.open(Path(request.scratch, OUTPUT_FILE), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            theirs.callback(os.close, output)
            lent = [link_theirs.fileno(), file.fileno(), progress_w, output]
            socket.send_fds(self._control, [b"+"], lent if door is None else [*lent, door])
            run = Run(link, progress_r, on_progress, on_said)
            ours.pop_all()  # they are the run's now
            return run

    def close(self) -> None:
        """Let go: the server kills what it runs and ends."""
        self._forget()
        self._control.close()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()

    def _forget(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._control.fileno())
        self._loop = None
        self.lost = True
        if self._state is not None and not self._state.done():
            self._state.set_result(False)

    def _on_control(self) -> None:
        try:
            data = self._control.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget()
            log.warning("fork_server_lost", pid=self.process.pid, served=self._served)
            if self._served:
                self._on_lost()
            return
        self._said += data
        if self._said.endswith(b"\n") and self._state is not None and not self._state.done():
            said = msgspec.json.decode(self._said, type=Ready)
            level = log.warning if said.failed else log.info
            level("fork_server_ready", pid=self.process.pid, **msgspec.structs.asdict(said))
            self._served = True
            self._state.set_result(True)


class Ended(msgspec.Struct):
    """How a child ended. `code`: its exit code, below 0 the signal, None where the server was lost."""

    code: int | None
    max_rss_kib: int = 0
    refused: str | None = None


class Run:
    """One child: its number, its progress, what it logs, its end."""

    def __init__(
        self,
        link: socket.socket,
        progress_r: int,
        on_progress: Callable[[float, str], None] | None,
        on_said: Callable[[bytes], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link, self._progress_r, self._on_progress = link, progress_r, on_progress
        self._on_said = on_said
        self.pid: int | None = None
        self.started: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._said = b""
        self._line = b""
        link.setblocking(False)
        os.set_blocking(progress_r, False)
        self._loop.add_reader(link.fileno(), self._on_link)
        self._loop.add_reader(progress_r, self._on_progress_data)

    def kill(self) -> None:
        """Have the server kill the whole group; `ended` tells when it is gone."""
        if not self.ended.done():
            with contextlib.suppress(OSError):
                self._link.send(b"K")

    def kill_directly(self) -> None:
        """The same without the server. Only where it is gone or hangs: then nobody else reaps the leader."""
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """End the run for the trainer, whatever became of the processes."""
        self._end(Ended(None))

    def _on_link(self) -> None:
        try:
            data = self._link.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._said += data
        while not self.ended.done() and b"\n" in self._said:
            line, self._said = self._said.split(b"\n", 1)
            word, _, rest = line.decode().partition(" ")
            if word == "pid":
                self.pid = int(rest)
                self.started.set_result(None)
            elif word == "end":
                code, max_rss = rest.split()
                self._end(Ended(int(code), int(max_rss)))
            else:
                self._end(Ended(None, refused=rest))
        if not data and not self.ended.done():
            # the leader dies with the server, what it forked does not
            self.kill_directly()
            self._end(Ended(None))

    def _on_progress_data(self) -> bool:
        """Hand on what was said; a flood of progress loses all but its latest. False where nothing was."""
        try:
            data = os.read(self._progress_r, _READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._progress_r)
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[:_READ]
        progress = []
        for line in lines:
            if line.startswith(b"{"):
                self._on_said(line)
            else:
                progress.append(line)
        for line in progress[-_PROGRESS_KEPT:]:
            self._report(line)
        return True

    def _report(self, line: bytes) -> None:
        if self._on_progress is None:
            return
        with contextlib.suppress(msgspec.MsgspecError):
            done, message = msgspec.json.decode(line, type=tuple[float, str])
            if math.isfinite(done):
                try:
                    self._on_progress(min(1.0, max(0.0, done)), message)
                except Exception:
                    log.exception("progress_callback_failed")

    def _end(self, ended: Ended) -> None:
        if self.ended.done():
            return
        while self._on_progress_data():
            pass
        for fd in (self._link.fileno(), self._progress_r):
            self._loop.remove_reader(fd)
        self._link.close()
        os.close(self._progress_r)
        if not self.started.done():
            self.started.set_result(None)
        self.ended.set_result(ended)
