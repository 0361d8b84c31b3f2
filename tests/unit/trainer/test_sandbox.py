"""Steps that try to get out. Each attempt is made twice: without the sandbox, where it must succeed, or it
would prove nothing, and within, where it must be refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import structlog

from services.trainer import sandbox_choice
from services.trainer.child import ChildCancelled, ChildFailed, Children
from services.trainer.sandbox import OFF, Layers
from services.trainer.sandbox_choice import held
from shared.errors import ConfigurationError
from tests.unit.trainer.child_call import MIB, Call, failure

NAMES = (
    "attempt abort stay find_in_itself rights limits leave_behind claim write_files start_threads "
    "fork_all_it_can work_in_threads"
)
STEPS = {name: f"tests.unit.trainer.sandbox_steps:{name}" for name in NAMES.split()}

REFUSED = {"EPERM", "EACCES", "EXDEV", "EROFS", "no such name"}
SECRETS = {
    "WORKER_DATABASE_URL": "postgres://worker:correct-horse-battery@db/trainyard",
    "REDIS_URL": "redis://:staple-giraffe-lantern@redis",
    "S3_SECRET_ACCESS_KEY": "umbrella-quartz-meadow",
    "SOMETHING_NEW_TOKEN": "velvet-anchor-pumpkin",
}

Attempts = dict[str, tuple[Any, ...]]


@contextlib.asynccontextmanager
async def confined(layers: Layers | None = None, **options: Any) -> AsyncIterator[Children]:
    async with Children(STEPS, preload=[], layers=layers, **options) as children:
        yield children


@pytest_asyncio.fixture
async def children(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Children]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    async with confined() as children:
        yield children


@pytest.fixture
def call(children: Children, tmp_path: Path) -> Call:
    return Call(children, tmp_path / "own")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder as another user's, or the stack's own, might be."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in (".env", "other.arrow", "to_remove", "to_rename", "to_truncate"):
        (folder / name).write_text("S3_SECRET_ACCESS_KEY=umbrella-quartz-meadow")
    return folder


@contextlib.asynccontextmanager
async def another_fit(children: Children, folder: Path) -> AsyncIterator[int]:
    """One of another user, at work in the same trainer: its process id."""
    cancelled, call = asyncio.Event(), Call(children, folder)
    run = asyncio.create_task(call("stay", cancelled=cancelled))
    await call.spoke.wait()
    try:
        yield call.pids()[0]
    finally:
        cancelled.set()
        with pytest.raises(ChildCancelled):
            await run


async def outcomes(children: Children, folder: Path, attempts: Attempts, **options: Any) -> dict[str, str]:
    told = {}
    for label, (what, *arguments) in attempts.items():
        call = Call(children, folder / "attempts" / label.replace(" ", "-").replace("/", "-"))
        raw = await children.run(
            "attempt",
            {"what": what, "arguments": arguments},
            scratch=call.scratch,
            timeout_s=20,
            memory_bytes=512 * MIB,
            **options,
        )
        told[label] = msgspec.json.decode(raw)
    return told


async def refused(children: Children, folder: Path, attempts: Attempts, **options: Any) -> None:
    """All of them, here, and none of them without the sandbox."""
    inside = await outcomes(children, folder / "inside", attempts, **options)
    assert {label for label, said in inside.items() if said not in REFUSED} == set(), inside
    async with confined(OFF) as free:
        without = await outcomes(free, folder / "without", attempts, **options)
    assert without == dict.fromkeys(attempts, "did it")


def test_this_machine_has_every_layer() -> None:
    """What follows is about all of them; Linux from 6.2 on has them, in containers too."""
    assert held().missing() == []
    assert held().privileges


# --- the network --------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Attempts]:
    """Listening sockets of every kind, and the attempts to reach them."""
    with contextlib.ExitStack() as stack:

        def listen(family: int, kind: int, address: Any) -> Any:
            server = stack.enter_context(socket.socket(family, kind))
            server.bind(address)
            if kind != socket.SOCK_DGRAM:
                server.listen()
            return server.getsockname()

        tcp = listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        udp = listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        stream = listen(socket.AF_UNIX, socket.SOCK_STREAM, str(tmp_path / "s"))
        datagram = listen(socket.AF_UNIX, socket.SOCK_DGRAM, str(tmp_path / "d"))
        abstract = f"\0trainyard-test-{os.getpid()}"
        listen(socket.AF_UNIX, socket.SOCK_STREAM, abstract)
        yield {
            "tcp": ("connect", "AF_INET", "SOCK_STREAM", tcp),
            "udp": ("connect", "AF_INET", "SOCK_DGRAM", udp),
            "unix stream": ("connect", "AF_UNIX", "SOCK_STREAM", stream),
            "unix datagram": ("connect", "AF_UNIX", "SOCK_DGRAM", datagram),
            "unix abstract": ("connect", "AF_UNIX", "SOCK_STREAM", abstract),
            "a pair": ("pair",),
            "a name": ("resolve", "localhost"),
        }


async def test_no_network_and_no_socket(children: Children, tmp_path: Path, servers: Attempts) -> None:
    await refused(children, tmp_path, servers)


async def test_landlock_alone_keeps_from_tcp_and_abstract_sockets(tmp_path: Path, servers: Attempts) -> None:
    async with confined(Layers(landlock=held().landlock)) as children:
        said = await outcomes(children, tmp_path, servers)
    assert said["tcp"] in REFUSED
    assert said["unix abstract"] in REFUSED
    assert said["udp"] == "did it", "which is why there is a filter too"


# --- files --------------------------------------------------------------------------------------


async def test_no_file_but_its_own(children: Children, tmp_path: Path, outside: Path) -> None:
    env, other = str(outside / ".env"), str(outside / "other.arrow")
    victim = str(outside / "to_truncate")
    attempts: Attempts = {
        "read .env": ("read", env),
        "read another's table": ("read", other),
        "read the password file": ("read", "/etc/passwd"),
        "list the folder": ("listing", str(outside)),
        "list the root": ("listing", "/"),
        "list home": ("listing", str(Path.home())),
        "list the project": ("listing", str(Path(__file__).parents[3])),
        "new file": ("write", str(outside / "new")),
        "append": ("append", env),
        "write to temporary files": ("write", str(tmp_path / "made")),
        "truncate by name": ("truncate", victim, "by name"),
        "truncate read-only": ("truncate", victim, "read"),
        "truncate unopened": ("truncate", victim, "neither"),
        "remove": ("remove", str(outside / "to_remove")),
        "rights": ("change", other, "rights"),
        "owner": ("change", other, "owner"),
        "times": ("change", other, "times"),
        "attributes": ("change", other, "attributes"),
    }
    await refused(children, tmp_path, attempts)


async def test_what_the_next_fit_imports_cannot_be_changed(children: Children, tmp_path: Path) -> None:
    place = Path(msgspec.__file__).with_name("made_by_a_test")
    attempts: Attempts = {"new": ("write", str(place)), "known": ("append", msgspec.__file__)}
    assert set((await outcomes(children, tmp_path, attempts)).values()) <= REFUSED
    assert not place.exists()


@pytest.mark.parametrize("how", ["hard link", "rename", "symbolic link"])
async def test_nothing_is_taken_in(children: Children, tmp_path: Path, outside: Path, how: str) -> None:
    """A link left where the trainer looks for the model would have it hand over any file of its own."""
    attempts: Attempts = {how: ("take_in", str(outside / "to_rename"), how)}
    assert set((await outcomes(children, tmp_path, attempts)).values()) <= REFUSED
    async with confined(OFF) as free:
        if how == "rename":
            assert await outcomes(free, tmp_path, attempts) == {how: "did it"}
        else:
            with pytest.raises(ChildFailed, match="no plain file"):
                await outcomes(free, tmp_path, attempts)


async def test_its_table_is_there_to_read_alone(children: Children, tmp_path: Path, outside: Path) -> None:
    table = outside / "other.arrow"
    link = tmp_path / "table.arrow"
    link.hardlink_to(table)
    attempts: Attempts = {
        "append": ("append", str(link)),
        "map to write": ("mapped", str(link)),
        "truncate": ("truncate", str(link), "read"),
        "remove": ("remove", str(link)),
        "rights": ("change", str(link), "rights"),
    }
    said = await outcomes(children, tmp_path, {"read": ("read", str(link))} | attempts, reads=[link])
    assert said.pop("read") == "did it"
    assert set(said.values()) <= REFUSED
    assert table.read_text().startswith("S3_SECRET")


async def test_what_every_library_needs_is_there(children: Children, tmp_path: Path) -> None:
    attempts: Attempts = {
        path: ("read", path)
        for path in ("/dev/urandom", "/proc/self/status", "/proc/cpuinfo", "/proc/meminfo", msgspec.__file__)
    }
    attempts["null"] = ("append", "/dev/null")
    assert await outcomes(children, tmp_path, attempts) == dict.fromkeys(attempts, "did it")


async def test_threads_share_work(call: Call) -> None:
    assert await call("work_in_threads", threads=2) == sum(n * n for n in range(100))


# --- other processes ----------------------------------------------------------------------------


async def test_other_processes_are_out_of_reach(children: Children, tmp_path: Path) -> None:
    trainer = os.getpid()
    async with another_fit(children, tmp_path / "theirs") as other:
        attempts: Attempts = {"another's file": ("read", str(tmp_path / "theirs" / "theirs"))}
        for name, pid in (("trainer", trainer), ("fork server", children.server_pid), ("other fit", other)):
            attempts |= {
                f"environment of the {name}": ("read", f"/proc/{pid}/environ"),
                f"command of the {name}": ("read", f"/proc/{pid}/cmdline"),
                f"memory of the {name}": ("read", f"/proc/{pid}/maps"),
                f"descriptors of the {name}": ("listing", f"/proc/{pid}/fd"),
                f"trace the {name}": ("trace", pid),
                f"copy memory of the {name}": ("read_memory", pid),
                f"signal the {name}": ("send_signal", pid, 0),
                f"signal a thread of the {name}": ("signal_thread", pid),
                f"signal by descriptor the {name}": ("signal_by_descriptor", pid),
                f"slow down the {name}": ("slow_down", pid),
                f"limit the {name}": ("limit_another", pid),
            }
        inside = await outcomes(children, tmp_path / "inside", attempts)
        assert {label for label, said in inside.items() if said not in REFUSED} == set(), inside


async def test_what_is_refused_there_is_possible_without(tmp_path: Path) -> None:
    """The counterpart of the last, against a process that nobody minds being slowed down."""
    async with confined(OFF) as free, another_fit(free, tmp_path / "theirs") as other:
        attempts: Attempts = {
            "file": ("read", str(tmp_path / "theirs" / "theirs")),
            "environment": ("read", f"/proc/{other}/environ"),
            "command": ("read", f"/proc/{other}/cmdline"),
            "memory": ("read", f"/proc/{other}/maps"),
            "descriptors": ("listing", f"/proc/{other}/fd"),
            "trace": ("trace", other),
            "copy": ("read_memory", other),
            "signal": ("send_signal", other, 0),
            "thread": ("signal_thread", other),
            "by descriptor": ("signal_by_descriptor", other),
            "slow": ("slow_down", other),
            "limit": ("limit_another", other),
        }
        assert await outcomes(free, tmp_path, attempts) == dict.fromkeys(attempts, "did it")


@pytest.mark.parametrize("layers", [Layers(landlock=1), Layers(seccomp=True)], ids=["landlock", "seccomp"])
async def test_the_trainer_is_not_killed_whichever_layer_there_is(layers: Layers, tmp_path: Path) -> None:
    """Landlock's first version knows no signals; the filter knows no files."""
    layers = msgspec.structs.replace(layers, landlock=layers.landlock and held().landlock)
    async with confined(layers) as children:
        said = await outcomes(
            children, tmp_path, {"signal": ("send_signal", os.getpid(), 0), "trace": ("trace", os.getpid())}
        )
    assert set(said.values()) <= REFUSED


async def test_memory_is_hidden_without_landlock_too(tmp_path: Path) -> None:
    async with (
        confined(Layers(privileges=True, seccomp=True)) as children,
        another_fit(children, tmp_path / "theirs") as other,
    ):
        attempts: Attempts = {}
        for name, pid in (("fork server", children.server_pid), ("other fit", other)):
            attempts |= {
                f"environment of the {name}": ("read", f"/proc/{pid}/environ"),
                f"memory of the {name}": ("read", f"/proc/{pid}/mem"),
                f"descriptors of the {name}": ("read", f"/proc/{pid}/fd/1"),
            }
        assert set((await outcomes(children, tmp_path, attempts)).values()) <= REFUSED


async def test_a_fit_may_abort_itself(call: Call) -> None:
    error = await failure(call, "abort")
    assert (error.kind, error.detail) == ("crashed", "the process crashed (SIGABRT)")


async def test_no_program_and_no_process(children: Children, call: Call, tmp_path: Path) -> None:
    shells: Attempts = {"execute": ("execute", "/bin/sh"), "shell": ("shell",)}
    assert set((await outcomes(children, tmp_path, shells)).values()) <= REFUSED
    assert await call("fork_all_it_can", most=20) == [0, "EPERM"]
    async with confined(OFF) as free:
        assert await outcomes(free, tmp_path, {"shell": shells["shell"]}) == {"shell": "did it"}
        assert await Call(free, tmp_path / "free")("fork_all_it_can", most=20) == [20, ""]


# --- the kernel ---------------------------------------------------------------------------------


async def test_no_namespace_and_no_shared_memory(children: Children, tmp_path: Path) -> None:
    attempts: Attempts = {
        f"namespace {flag:#x}": ("new_namespace", flag)
        for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000)  # user, mount, net, pid, ipc
    }
    attempts["shared memory"] = ("shared_memory",)
    assert set((await outcomes(children, tmp_path, attempts)).values()) <= REFUSED


async def test_calls_newer_than_the_filter_do_not_exist(children: Children, tmp_path: Path) -> None:
    attempts: Attempts = {"listmount": ("call", 458), "clone3": ("call", 435), "openat2": ("call", 437)}
    assert await outcomes(children, tmp_path, attempts) == dict.fromkeys(attempts, "ENOSYS")


async def test_no_capability_is_left(call: Call) -> None:
    assert await call("rights") == {
        "CapEff": "0" * 16,
        "CapPrm": "0" * 16,
        "CapBnd": "0" * 16 if os.getuid() == 0 else (await call("rights"))["CapBnd"],
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


async def test_limits_cannot_be_lifted(children: Children, call: Call, tmp_path: Path) -> None:
    given = await call("limits")
    assert given["CORE"] == [0, 0]
    assert given["NOFILE"] == [1024, 1024]
    assert given["FSIZE"] == [16 * 2**30] * 2
    assert given["AS"][0] < given["AS"][1] < 2**40
    lifts: Attempts = {name: ("lift_limit", name) for name in ("FSIZE", "NOFILE", "AS")}
    assert set((await outcomes(children, tmp_path, lifts)).values()) <= REFUSED


# --- secrets ------------------------------------------------------------------------------------


async def test_no_secret_is_anywhere_in_a_fit(call: Call) -> None:
    halves = [(value[:9], value[9:]) for value in SECRETS.values()]
    assert await call("find_in_itself", secrets=halves) == []


async def test_that_search_finds_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_SECRET", "umbrella-quartz-meadow")  # LC_… is passed on
    async with confined() as children:
        found = await Call(children, tmp_path)("find_in_itself", secrets=[("umbrella-", "quartz-meadow")])
    assert "environ" in found
    assert any("[stack]" in place or "[heap]" in place for place in found)


async def test_no_connection_is_inherited(children: Children, tmp_path: Path, servers: Attempts) -> None:
    with socket.create_connection(servers["tcp"][3]) as connection:
        connection.set_inheritable(True)
        said = await outcomes(children, tmp_path, {"sockets": ("descriptor_inherited", "socket")})
    assert said == {"sockets": "ENOENT"}


# --- what it writes and leaves ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "each"), [("kept", 64), ("kept", 4), ("removed", 4), ("mapped and removed", 4)]
)
async def test_the_disk_is_not_filled(tmp_path: Path, how: str, each: int) -> None:
    """One file is ended by the kernel at the limit; many by the trainer, soon after."""
    async with confined(disk_bytes=32 * MIB) as children:
        call = Call(children, tmp_path / "own")
        error = await failure(call, "write_files", how=how, mebibytes=2048 if each < 64 else 64, each=each)
    assert (error.kind, error.detail) == ("disk", "wrote more than 32 MiB to the disk")


async def test_threads_are_bounded(call: Call) -> None:
    error = await failure(call, "start_threads", count=1200, memory=4096 * MIB)
    assert (error.kind, error.detail) == ("disk", "started more than 1,024 threads")


@pytest.mark.parametrize("what", ["symlink", "hard link", "fifo"])
async def test_what_is_left_is_looked_at_before_it_is_read(tmp_path: Path, outside: Path, what: str) -> None:
    """Also where nothing kept the step from leaving it."""
    async with confined(OFF) as free:
        error = await failure(
            Call(free, tmp_path / "own"), "leave_behind", what=what, target=outside / ".env"
        )
    assert error.detail == "left something in its folder that is no plain file"


async def test_too_many_files_are_refused(call: Call) -> None:
    error = await failure(call, "leave_behind", what="many files", target="")
    assert error.detail in ("left more than 2,000 files", "made more than 2,000 files")


@pytest.mark.parametrize(
    ("failure_file", "detail"),
    [
        ("", "what it said of its failure cannot be read"),
        ('{"detail": "x", "traceback": "", "context": ' + '{"a":' * 5000, "cannot be read"),
        ('{"detail": "' + "x" * 2**20 + '", "traceback": ""}', "cannot be read"),
        # to the worker these mean: try again as soon as it is there, as often as it takes
        ('{"detail": "away", "traceback": "", "classes": ["shared.errors.StorageUnavailable"]}', "away"),
        ('{"detail": "lost", "traceback": "", "classes": ["shared.errors.LeaseLost"]}', "lost"),
    ],
)
async def test_a_made_up_failure_is_the_steps_own(call: Call, failure_file: str, detail: str) -> None:
    error = await failure(call, "claim", failure=failure_file)
    assert type(error) is ChildFailed
    assert detail in error.detail


# --- which layers -------------------------------------------------------------------------------


def test_require_refuses_to_start_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_choice, "held", lambda: Layers(privileges=True, seccomp=True))
    assert sandbox_choice.chosen("auto") == Layers(privileges=True, seccomp=True)
    assert sandbox_choice.chosen("off") == OFF
    with pytest.raises(ConfigurationError, match="TRAINER_SANDBOX=require, but this machine has no landlock"):
        sandbox_choice.chosen("require")


def test_what_holds_is_said_once() -> None:
    with structlog.testing.capture_logs() as logs:
        sandbox_choice.announce(Layers(privileges=True, landlock=6, seccomp=True))
        sandbox_choice.announce(Layers(privileges=True))
    assert [(entry["log_level"], entry["layers"], entry["missing"]) for entry in logs] == [
        ("info", "landlock abi 6, seccomp, no capabilities, no credentials", []),
        ("warning", "no capabilities, no credentials", ["landlock", "seccomp"]),
    ]
