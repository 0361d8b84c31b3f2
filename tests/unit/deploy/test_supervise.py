"""Supervision of small programs; the real servers are in tests/integration."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from deploy.processes import Program, ProgramFailed, Running, wait_gone
from deploy.supervise import Supervisor

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


class Terminal:
    """Collects what is said, and wakes who waits for a certain line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._more.set()

    async def line_with(self, part: str) -> str:
        async with asyncio.timeout(20):
            while not (found := [line for line in self.lines if part in line]):
                self._more.clear()
                await self._more.wait()
        return found[0]


@pytest.fixture
async def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
async def supervisor(tmp_path: Path, terminal: Terminal) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", terminal)
    yield supervisor
    await supervisor.stop([])


def shell(
    name: str, script: str, *, ready: Callable[[int], bool] = lambda _: True, **options: object
) -> Program:
    return Program(name=name, command=["sh", "-c", script], environ=os.environ, ready=ready, **options)  # type: ignore[arg-type]


async def test_what_dies_is_started_again(supervisor: Supervisor, terminal: Terminal) -> None:
    prepared: list[int] = []
    await supervisor.start(shell("server", "exec sleep 100", prepare=lambda: prepared.append(1)))
    first = supervisor.running["server"].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    said = await terminal.line_with("server ended")
    assert "killed by SIGKILL" in said
    assert "starting it again in 0.5 s" in said
    await terminal.line_with("server is back")
    assert supervisor.running["server"].pid != first
    assert len(prepared) == 2


async def test_waits_double_while_it_keeps_failing(
    supervisor: Supervisor, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "may-run").touch()
    await supervisor.start(shell("server", f"test -e '{tmp_path}/may-run' && exec sleep 100"))
    (tmp_path / "may-run").unlink()
    pid = supervisor.running["server"].pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    await terminal.line_with("again in 1 s")
    (tmp_path / "may-run").touch()
    await terminal.line_with("server is back")


async def test_a_start_that_fails_tells_the_last_log_lines(supervisor: Supervisor) -> None:
    with pytest.raises(ProgramFailed) as failed:
        await supervisor.start(shell("server", "echo cannot bind to port 7; exit 3", ready=lambda _: False))
    assert "server ended while starting (exit code 3)" in str(failed.value)
    assert "cannot bind to port 7" in str(failed.value)
    assert "server.log" in str(failed.value)


async def test_a_report_leaves_out_what_an_earlier_run_logged(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_text("from last week\n")
    with pytest.raises(ProgramFailed) as failed:
        await supervisor.start(shell("server", "echo from now; exit 3", ready=lambda _: False))
    assert "from now" in str(failed.value)
    assert "last week" not in str(failed.value)


async def test_a_server_that_never_answers_is_reported(supervisor: Supervisor) -> None:
    with pytest.raises(ProgramFailed, match=r"server did not answer in 0\.2 s"):
        await supervisor.start(shell("server", "exec sleep 100", ready=lambda _: False, ready_within_s=0.2))


async def test_a_command_that_fails_is_reported(supervisor: Supervisor) -> None:
    await supervisor.run("migrate", ["sh", "-c", "exit 0"], os.environ)
    with pytest.raises(ProgramFailed, match=r"migrate failed \(exit code 4\)\n  no such table"):
        await supervisor.run("migrate", ["sh", "-c", "echo no such table >&2; exit 4"], os.environ)


async def test_programs_end_group_after_group(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for name in ("database", "service"):
        script = (
            f"trap 'sleep 0.1; echo {name} >> {order}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
        )
        log = tmp_path / "logs" / f"{name}.log"
        await supervisor.start(shell(name, script, ready=lambda _, log=log: b"up" in log.read_bytes()))
    await supervisor.stop([["service"], ["database"]])
    assert order.read_text().split() == ["service", "database"]
    assert all(running.exit_code() == 0 for running in supervisor.running.values())


async def test_what_does_not_end_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    await supervisor.start(
        shell("server", STUBBORN, ready=lambda _: b"up" in log.read_bytes(), kill_after_s=0.2)
    )
    begun = time.monotonic()
    await supervisor.stop([["server"]])
    assert supervisor.running["server"].exit_code() == -signal.SIGKILL
    assert time.monotonic() - begun < 5


async def test_what_a_program_left_behind_ends_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    left = tmp_path / "left"
    await supervisor.start(
        shell("server", f"sleep 100 & echo $! > {left}; exec sleep 100", ready=lambda _: left.exists())
    )
    child = psutil.Process(int(left.read_text()))
    await supervisor.stop([["server"]])
    assert wait_gone(child, timeout_s=5)


async def test_errors_in_a_log_are_told(supervisor: Supervisor, terminal: Terminal) -> None:
    line = '{"event": "cannot reach the store", "level": "error", "logger": "services.api"}'
    await supervisor.start(shell("api", f"echo '{line}'; echo all is well; exec sleep 100"))
    await terminal.line_with("api: cannot reach the store")
    assert not any("all is well" in said for said in terminal.lines)


OWNER = """
import os, sys
from pathlib import Path
from deploy.processes import Program, Running
running = Running(Program("child", ["sleep", "100"], os.environ, ready=lambda _: True), Path(sys.argv[1]))
running.start()
print(running.pid, flush=True)
sys.stdin.read()
"""


async def test_a_child_ends_with_a_killed_supervisor(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert owner.stdout is not None
    child = psutil.Process(int(await owner.stdout.readline()))
    owner.kill()
    await owner.wait()
    assert await asyncio.to_thread(wait_gone, child, 5)


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    running = Running(Program("x", ["/nowhere/x"], os.environ, ready=lambda _: False), tmp_path)
    running.start()
    with pytest.raises(ProgramFailed, match="cannot run /nowhere/x: No such file"):
        running.wait_ready()
