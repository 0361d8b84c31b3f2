"""Real processes: every way a step can end, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import structlog
import uvloop

from services.trainer.child import ChildCancelled, ChildFailed, Children
from services.trainer.child_main import ADDRESS_SLACK
from services.trainer.child_process import child_environ
from services.trainer.sandbox import OFF
from shared.errors import CannotTrain, ConfigurationError, InvalidRequest
from tests.unit.trainer.child_call import MIB, STEPS, Call, alive, failure

SECRETS = {
    "DATABASE_URL": "postgres://trainyard:hunter2@db/trainyard",
    "WORKER_DATABASE_URL": "postgres://worker:hunter2@db/trainyard",
    "REDIS_URL": "redis://:hunter2@redis",
    "S3_SECRET_ACCESS_KEY": "hunter2",
    "AUTH_JWT_SECRET": "hunter2",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "SOMETHING_NEW_TOKEN": "hunter2",
}


@pytest_asyncio.fixture
async def children(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Children]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    async with Children(STEPS, preload=[]) as children:
        yield children


@pytest.fixture
def call(children: Children, tmp_path: Path) -> Call:
    return Call(children, tmp_path / "scratch")


@pytest_asyncio.fixture
async def unconfined() -> AsyncIterator[Children]:
    """For steps that start processes, which they can where the kernel has no sandbox."""
    async with Children(STEPS, preload=[], layers=OFF) as children:
        yield children


@pytest.fixture
def free(unconfined: Children, tmp_path: Path) -> Call:
    return Call(unconfined, tmp_path / "scratch")


# --- a step that works --------------------------------------------------------------------------


async def test_arguments_are_typed_and_the_result_is_json(call: Call) -> None:
    result = await call("add", numbers=[1, 2], kind="regression", day="2024-02-29", source=Path("/data"))
    assert result == {"total": 3.0, "kind": "regression", "day": "2024-02-29", "source": "/data/x"}
    assert call.said == [(0.25, "a quarter"), (1.0, "ä line\nbreak")]
    assert (call.scratch / "model.pkl").read_bytes() == b"model"


async def test_a_child_sees_no_credentials_and_is_shut_in(call: Call) -> None:
    seen = await call("surroundings", memory=256 * MIB)
    for name in SECRETS:
        assert name not in seen["environ"]
    assert "hunter2" not in seen["initial_environ"] + str(seen["environ"])
    assert seen["environ"]["OMP_NUM_THREADS"] == seen["environ"]["OPENBLAS_NUM_THREADS"] == "1"
    assert seen["environ"]["TMPDIR"] == seen["cwd"] == str(call.scratch)
    assert seen["session"]
    assert seen["sigterm_default"]
    assert seen["nice"] == min(19, os.nice(0) + 5)
    assert seen["core"] == [0, 0]
    room = 256 * MIB + ADDRESS_SLACK
    assert room < seen["address_space"] < room + 2**30
    assert seen["mode"] == 0o600
    assert [name.split(":")[0] for name in seen["open"].values()] == ["pipe"], (
        "only the progress pipe is inherited"
    )


def test_the_environment_is_an_allow_list() -> None:
    given = SECRETS | {"PATH": "/bin", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "64"}
    made = child_environ(given, threads=2)
    assert made["PATH"] == "/bin"
    assert made["LC_ALL"] == "C.UTF-8"
    assert made["OMP_NUM_THREADS"] == "2"
    assert made["OMP_WAIT_POLICY"] == "PASSIVE"
    assert child_environ(given | {"OMP_WAIT_POLICY": "ACTIVE"}, threads=2)["OMP_WAIT_POLICY"] == "ACTIVE"
    assert not set(SECRETS) & set(made)


async def test_only_registered_steps_run(call: Call) -> None:
    with pytest.raises(ConfigurationError, match="no step 'os:system'"):
        await call("os:system")


async def test_two_run_at_the_same_time(unconfined: Children, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    calls = [
        Call(unconfined, tmp_path / end)("meet", fifo=str(tmp_path / "fifo"), end=end) for end in ("r", "w")
    ]
    assert await asyncio.gather(*calls) == ["r", "w"]


async def test_a_flood_of_progress_holds_nobody_up(call: Call) -> None:
    assert await call("flood", updates=50_000) is None
    assert 0 < len(call.said) < 50_000
    assert call.said == sorted(call.said)


async def test_a_callback_that_raises_does_not_end_the_run(children: Children, tmp_path: Path) -> None:
    def heard(done: float, message: str) -> None:
        raise RuntimeError("database away")

    raw = await children.run(
        "flood", {"updates": 1}, scratch=tmp_path, timeout_s=10, memory_bytes=512 * MIB, on_progress=heard
    )
    assert raw == b"null"


async def test_large_results_come_whole(call: Call) -> None:
    assert len(await call("many_bytes", size=3_000_000)) == 3_000_000


def test_works_with_uvloop(tmp_path: Path) -> None:
    async def main() -> None:
        async with Children(STEPS, preload=[], layers=OFF) as children:
            call = Call(children, tmp_path / "scratch")
            assert await call("leave_grandchildren") == 2
            assert (await failure(call, "forever", timeout_s=1)).kind == "deadline"
            assert alive(call.pids()) == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# --- a step that fails --------------------------------------------------------------------------


async def test_a_domain_error_is_raised_as_its_nearest_known_class(call: Call) -> None:
    with pytest.raises(CannotTrain) as caught:
        await call("cannot_train")
    assert caught.value.detail == str(caught.value) == "one class only"
    assert caught.value.context == {"column": "y"}


async def test_an_invalid_request_keeps_its_errors(call: Call) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await call("invalid")
    assert caught.value.errors == [("/target", "missing"), ("/models/0", "unknown")]
    assert caught.value.detail == "/target: missing; /models/0: unknown"


async def test_any_other_exception_is_told_in_one_line_and_logged_whole(call: Call) -> None:
    with structlog.testing.capture_logs() as logs:
        error = await failure(call, "bug")
    assert (error.kind, error.detail) == ("error", "ValueError: first line about scratch/x")
    (logged,) = [entry for entry in logs if entry["event"] == "step_raised"]
    assert "in bug" in logged["traceback"]
    assert "second line" in logged["traceback"]


async def test_a_result_that_is_no_json_fails(call: Call) -> None:
    assert "cannot return a <class 'object'>" in (await failure(call, "nothing_to_encode")).detail


@pytest.mark.parametrize(
    ("how", "code", "kind", "detail"),
    [
        ("at once", 3, "exited", "the process ended early (exit code 3)"),
        ("at once", 0, "exited", "the process ended early (exit code 0)"),
        ("politely", 3, "error", "SystemExit: 3"),
    ],
)
async def test_exits(call: Call, how: str, code: int, kind: str, detail: str) -> None:
    error = await failure(call, "leave", how=how, code=code)
    assert (error.kind, error.detail) == (kind, detail)


@pytest.mark.parametrize(
    ("how", "kind", "detail"),
    [
        ("abort", "crashed", "the process crashed (SIGABRT)"),
        ("segfault", "crashed", "the process crashed (SIGSEGV)"),
        ("kill", "killed", "killed by the operating system, probably out of memory"),
    ],
)
async def test_crashes(call: Call, how: str, kind: str, detail: str) -> None:
    with structlog.testing.capture_logs() as logs:
        error = await failure(call, "crash", how=how)
    assert (error.kind, error.detail) == (kind, detail)
    if kind == "crashed":  # where it was in Python goes to the log
        assert "in crash" in next(entry["output"] for entry in logs if entry["event"] == "child_died")


async def test_a_failure_of_an_earlier_run_in_the_same_folder_is_not_reported_again(call: Call) -> None:
    await failure(call, "bug")
    assert (await failure(call, "leave", how="at once", code=70)).kind == "exited"


@pytest.mark.parametrize(
    ("step", "payload", "mib"),
    [
        ("allocate_at_once", {}, 64),
        ("bad_alloc", {}, 64),
        ("eat", {"processes": 1}, 64),
        ("eat", {"processes": 3}, 150),
    ],
)
async def test_too_much_memory(free: Call, step: str, payload: dict[str, int], mib: int) -> None:
    error = await failure(free, step, memory=mib * MIB, **payload)
    assert (error.kind, error.detail) == ("memory", f"ran out of memory: needed more than {mib} MiB")


async def test_prints_without_end_are_bounded(call: Call) -> None:
    assert await call("shout", megabytes=1024) == 1024
    output = (call.scratch / "output.txt").read_text()
    assert len(output) < 1.2 * MIB
    assert output.startswith("first words\n")
    assert output.endswith("last words\n")
    assert "bytes left out]" in output


# --- a step that is ended -----------------------------------------------------------------------


async def test_the_deadline_kills_the_whole_group(free: Call) -> None:
    started = time.monotonic()
    error = await failure(free, "forever", timeout_s=1)
    assert time.monotonic() - started < 2
    assert (error.kind, error.detail) == ("deadline", "stopped after 1 s: its share of the time budget")
    assert len(free.pids()) == 4
    assert alive(free.pids()) == []


async def test_a_cancelled_event_kills_the_whole_group(free: Call) -> None:
    cancelled = asyncio.Event()
    run = asyncio.create_task(free("forever", cancelled=cancelled))
    await free.spoke.wait()
    started = time.monotonic()
    cancelled.set()
    with pytest.raises(ChildCancelled):
        await run
    assert time.monotonic() - started < 1
    assert alive(free.pids()) == []


async def test_cancelling_the_task_kills_the_whole_group(free: Call) -> None:
    run = asyncio.create_task(free("forever"))
    await free.spoke.wait()
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()  # impatience must not leave anything behind either
    with pytest.raises(asyncio.CancelledError):
        await run
    assert alive(free.pids()) == []


async def test_no_descriptor_is_left_open_whatever_the_end(free: Call) -> None:
    def opened() -> list[int]:
        server = psutil.Process(free.children.server_pid)
        return [psutil.Process().num_fds(), server.num_fds()]

    await free("many_bytes", size=1)
    before = opened()
    for step, payload in (("bug", {}), ("crash", {"how": "kill"}), ("shout", {"megabytes": 3})) * 3:
        with contextlib.suppress(ChildFailed):
            await free(step, **payload)
    await failure(free, "forever", timeout_s=0.1)
    async with asyncio.timeout(3):  # the server says that it is over a moment before it closes that socket
        while any(now > then for now, then in zip(opened(), before, strict=True)):
            await asyncio.sleep(0.01)


async def test_an_event_set_before_starts_nothing_that_stays(free: Call) -> None:
    cancelled = asyncio.Event()
    cancelled.set()
    with pytest.raises(ChildCancelled):
        await free("forever", cancelled=cancelled)
    assert psutil.Process(free.children.server_pid).children() == []


async def test_what_a_step_leaves_running_ends_with_it(free: Call) -> None:
    assert await free("leave_grandchildren") == 2
    assert len(free.pids()) == 2
    assert alive(free.pids()) == []
    assert psutil.Process(free.children.server_pid).children() == [], "no zombies"


async def test_one_that_dies_takes_no_other_with_it(unconfined: Children, tmp_path: Path) -> None:
    staying = Call(unconfined, tmp_path / "staying")
    cancelled = asyncio.Event()
    run = asyncio.create_task(staying("forever", cancelled=cancelled))
    await staying.spoke.wait()
    with pytest.raises(ChildFailed, match="SIGABRT"):
        await Call(unconfined, tmp_path / "dying")("crash", how="abort")
    assert len(alive(staying.pids())) == 4
    assert not run.done()
    cancelled.set()
    with pytest.raises(ChildCancelled):
        await run
