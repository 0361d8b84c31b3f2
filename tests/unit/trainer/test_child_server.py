"""The fork server and the trainer die, hang and leave: no process stays, and the next step runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import structlog

from services.trainer.child import ChildCancelled, ChildFailed, Children
from services.trainer.child_memory import group_exceeds, guard_bytes
from services.trainer.sandbox import OFF
from tests.unit.trainer.child_call import STEPS, Call, alive, ended


@pytest_asyncio.fixture
async def children() -> AsyncIterator[Children]:
    async with Children(STEPS, preload=[]) as children:
        yield children


@pytest.fixture
def call(children: Children, tmp_path: Path) -> Call:
    return Call(children, tmp_path / "scratch")


@pytest_asyncio.fixture
async def free(tmp_path: Path) -> AsyncIterator[Call]:
    """For steps that start processes, which they can where the kernel has no sandbox."""
    async with Children(STEPS, preload=[], layers=OFF) as children:
        yield Call(children, tmp_path / "scratch")


def test_starts_before_there_is_a_loop(tmp_path: Path) -> None:
    children = Children(STEPS, preload=[])
    children.start()

    async def main() -> int:
        async with children:
            pid = children.server_pid
            await children.ready()
            assert await Call(children, tmp_path)("many_bytes", size=1) == "x"
            assert children.server_pid == pid
            return pid

    assert alive([asyncio.run(main())]) == []


# --- the server, and the trainer itself ---------------------------------------------------------


async def test_a_killed_server_is_replaced(call: Call) -> None:
    await call.children.ready()
    killed = call.children.server_pid
    os.kill(killed, signal.SIGKILL)
    assert await call("many_bytes", size=1) == "x"
    assert call.children.server_pid != killed
    assert alive([killed]) == []


async def test_a_killed_server_is_replaced_before_it_is_needed(call: Call) -> None:
    await call.children.ready()
    killed = call.children.server_pid
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(5):
        while call.children.server_pid == killed:
            await asyncio.sleep(0.01)


async def test_a_server_killed_in_mid_run_leaves_nothing_and_says_so(free: Call) -> None:
    run = asyncio.create_task(free("forever"))
    await free.spoke.wait()
    leader, grandchild, apart, execed = free.pids()
    pidfds = [os.pidfd_open(pid) for pid in (leader, grandchild, execed)]
    os.kill(free.children.server_pid, signal.SIGKILL)
    with pytest.raises(ChildFailed) as caught:
        await run
    assert caught.value.kind == "lost"
    assert ended(pidfds)
    os.kill(apart, signal.SIGKILL)  # a session of its own, and no server to notice
    assert await free("many_bytes", size=1) == "x"


async def test_a_server_that_hangs_is_replaced(call: Call) -> None:
    cancelled = asyncio.Event()
    run = asyncio.create_task(call("eat", processes=1, cancelled=cancelled))
    await call.children.ready()
    while not (started := psutil.Process(call.children.server_pid).children()):
        await asyncio.sleep(0)
    pidfds = [os.pidfd_open(process.pid) for process in started]
    os.kill(call.children.server_pid, signal.SIGSTOP)
    cancelled.set()
    with pytest.raises(ChildCancelled):
        await run
    assert ended(pidfds)
    assert await call("many_bytes", size=1) == "x"


async def test_a_preload_that_fails_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with Children(STEPS, preload=["no.such.module"]) as children:
            assert await Call(children, tmp_path)("many_bytes", size=1) == "x"
    (ready,) = [entry for entry in logs if entry["event"] == "fork_server_ready"]
    assert ready["log_level"] == "warning"
    assert ready["failed"][0].startswith("no.such.module: ModuleNotFound")


async def test_a_server_that_cannot_start_is_told(tmp_path: Path) -> None:
    async with Children(
        STEPS, preload=["antigravity_is_not_it"], environ={"PYTHONHOME": "/nowhere"}
    ) as children:
        with pytest.raises(ChildFailed, match="could not be started") as caught:
            await children.ready()
    assert caught.value.kind == "lost"


async def test_leaving_ends_everything(tmp_path: Path) -> None:
    async with Children(STEPS, preload=[], layers=OFF) as children:
        call = Call(children, tmp_path)
        run = asyncio.create_task(call("forever"))
        await call.spoke.wait()
        server = children.server_pid
    with pytest.raises(ChildFailed):
        await run
    assert alive([server, *call.pids()]) == []
    with pytest.raises(ChildFailed, match="stopping"):
        await call("many_bytes", size=1)


_TRAINER = """
import asyncio, sys
from pathlib import Path
from services.trainer.child import Children
from services.trainer.sandbox import OFF

async def main():
    steps = {"forever": "tests.unit.trainer.child_steps:forever"}
    async with Children(steps, preload=[], layers=OFF) as children:
        def heard(done, message):
            print("PIDS", children.server_pid, message, flush=True)
        await children.run("forever", {}, scratch=Path(sys.argv[1]), timeout_s=60, memory_bytes=2**29,
                           on_progress=heard)

asyncio.run(main())
"""


def test_a_killed_trainer_leaves_no_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", _TRAINER, str(tmp_path / "scratch")],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    ) as trainer:
        assert trainer.stdout is not None
        line = next(line for line in trainer.stdout if line.startswith("PIDS"))
        pidfds = [os.pidfd_open(int(pid)) for pid in line.split()[1:]]
        assert len(pidfds) == 5
        trainer.kill()
    assert ended(pidfds)


# --- memory -------------------------------------------------------------------------------------


def test_the_guard_is_shared_between_the_slots() -> None:
    assert 0 < guard_bytes(4) <= guard_bytes(1) // 4 + 1
    assert guard_bytes(1) <= 0.75 * psutil.virtual_memory().total


def test_a_group_is_measured_as_a_whole() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0
    ) as process:
        assert group_exceeds(process.pid, 1024)
        assert not group_exceeds(process.pid, 10 * 2**30)
        process.kill()
    assert not group_exceeds(process.pid, 0)


# --- what the fit steps find imported -----------------------------------------------------------


async def test_the_preload_imports_everything_and_starts_no_thread() -> None:
    with structlog.testing.capture_logs() as logs:
        async with Children({}) as children:
            await children.ready()
    (ready,) = [entry for entry in logs if entry["event"] == "fork_server_ready"]
    assert ready["failed"] == []
    assert ready["os_threads"] == 1
