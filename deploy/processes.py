"""A program that is to run, and one that does.

Every child gets a session of its own, so that Ctrl-C reaches only who supervises it, and is ended by
the kernel (Linux) should its supervisor be killed: see `launch.py`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LAUNCH = Path(__file__).with_name("launch.py")
PROJECT = Path(__file__).resolve().parents[1]
"""Where every program is started, so that `python -m services.api` is found from anywhere."""


class ProgramFailed(Exception):
    """A program did not start, or ended where it should run; the message is fit for a terminal."""


@dataclass(frozen=True)
class Program:
    """What to run. `ready` is asked again and again with the process id until it says True.

    `prepare` runs before every start, restarts included, and so has to be idempotent. `stop_signal`
    asks for an orderly end, `kill_after_s` later the whole session is killed. `orphan_signal` is what
    the kernel sends should the supervisor die. `unprivileged`: refuses to run as root. `error_line`
    finds what is worth showing to whoever watches, besides structured log lines of level error.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    ready: Callable[[int], bool]
    prepare: Callable[[], None] = lambda: None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGTERM
    kill_after_s: float = 10.0
    ready_within_s: float = 60.0
    unprivileged: bool = False
    error_line: re.Pattern[str] = re.compile(r"^(?:ERROR|CRITICAL|FATAL)\b:?\s*(?P<message>.+)")


def launch_command(command: Sequence[str], orphan_signal: signal.Signals, *, unprivileged: bool) -> list[str]:
    """`command` behind `launch.py`, which ties it to this process and, for root, drops root."""
    options = ["--unprivileged"] if unprivileged and os.geteuid() == 0 else []
    python = [sys.executable, "-I", "-S", str(LAUNCH)]
    return [*python, *options, str(os.getpid()), str(int(orphan_signal)), *command]


@dataclass
class Running:
    """One program's process and log file (`logs/NAME.log`, appended to)."""

    program: Program
    logs: Path
    process: subprocess.Popen[bytes] | None = None
    _log_start: int = field(default=0, repr=False)

    @property
    def log(self) -> Path:
        return self.logs / f"{self.program.name}.log"

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def prepare(self) -> None:
        self.program.prepare()

    def start(self) -> None:
        """Start the process; returns at once. Call it from a thread that outlives the process."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                launch_command(
                    self.program.command, self.program.orphan_signal, unprivileged=self.program.unprivileged
                ),
                env=dict(self.program.environ),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self.process.poll() if self.process else None

    def is_ready(self) -> bool:
        """Whether it answers. Raises ProgramFailed if it has ended."""
        if self.process is None:
            return False
        if (code := self.exit_code()) is not None:
            raise ProgramFailed(self.report(f"{self.program.name} ended while starting ({say_exit(code)})"))
        return self.program.ready(self.process.pid)

    def wait_ready(self) -> None:
        """Block until it answers. Raises ProgramFailed if it ends or takes too long."""
        deadline = time.monotonic() + self.program.ready_within_s
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise ProgramFailed(
                    self.report(f"{self.program.name} did not answer in {self.program.ready_within_s:.0f} s")
                )
            time.sleep(0.02)

    def report(self, headline: str, lines: int = 15) -> str:
        """`headline` and what the log ends with since this start."""
        tail = self.tail(lines)
        return f"{headline}\n{tail}\n(all of it: {self.log})" if tail else headline

    def tail(self, lines: int) -> str:
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_start, size), size - 64 * 1024))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.program.stop_signal)

    def kill(self) -> None:
        """End the whole session at once, also what a leader that has ended left behind."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            pass
        self.process.wait()

    def stop(self) -> None:
        """Orderly, and by force after `kill_after_s`; returns when the process is gone."""
        self.ask_to_stop()
        if self.process is not None:
            try:
                self.process.wait(self.program.kill_after_s)
            except subprocess.TimeoutExpired:
                pass
            self.kill()


def say_exit(code: int) -> str:
    """An exit code in words: "exit code 1", "killed by SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Wait for a process that is not our child; one that only waits to be reaped counts as gone."""
    deadline = time.monotonic() + timeout_s
    while process.is_running():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
