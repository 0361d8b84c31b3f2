"""The one way out of the sandbox: connections to one address, made by the trainer and handed in."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deploy import ports
from services.trainer import cluster_door
from services.trainer.child import ChildFailed, Children
from services.trainer.cluster_door import Door
from services.trainer.sandbox_choice import held
from services.trainer.sandbox_seccomp import ALLOW, ERROR
from tests.unit.trainer.test_sandbox_filter import answer

STEPS = {name: f"tests.unit.trainer.cluster_steps:{name}" for name in ("echo", "connect_often", "reach_out")}
REFUSED = ERROR | errno.EPERM
SOCKETPAIR, SENDTO = {"x86_64": 53, "aarch64": 199}, {"x86_64": 44, "aarch64": 206}


@pytest_asyncio.fixture
async def children() -> AsyncIterator[Children]:
    async with Children(STEPS, preload=[]) as made:
        yield made


@pytest_asyncio.fixture
async def echo_port() -> AsyncIterator[int]:
    """A server that sends back what it is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def run(children: Children, step: str, scratch: Path, door: Door | None, **payload: Any) -> Any:
    answered = await children.run(step, payload, scratch=scratch, timeout_s=30, memory_bytes=2**28, door=door)
    return msgspec.json.decode(answered)


async def test_a_step_speaks_through_it(children: Children, echo_port: int, tmp_path: Path) -> None:
    async with Door("127.0.0.1", echo_port) as door:
        assert await run(children, "echo", tmp_path, door, text="hello") == "hello"
        assert door.away is None


async def test_there_is_none_for_a_step_that_was_given_none(
    children: Children, echo_port: int, tmp_path: Path
) -> None:
    async with Door("127.0.0.1", echo_port) as door:
        await run(children, "echo", tmp_path, door, text="once")
    with pytest.raises(ChildFailed, match="no way to a cluster"):
        await run(children, "echo", tmp_path, None, text="hello")


async def test_it_says_that_nobody_is_there(children: Children, tmp_path: Path) -> None:
    async with Door("127.0.0.1", ports.free(1)[0]) as door:
        with pytest.raises(ChildFailed, match="the scheduler is not reached"):
            await run(children, "echo", tmp_path, door, text="hello")
        assert "refused" in str(door.away)


async def test_it_gives_so_many_connections_and_no_more(
    children: Children, echo_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_door, "MOST_CONNECTIONS", 3)
    async with Door("127.0.0.1", echo_port) as door:
        assert await run(children, "connect_often", tmp_path, door, times=10) == 3


async def test_nothing_else_is_opened_with_it(children: Children, echo_port: int, tmp_path: Path) -> None:
    assert held().seccomp, "nothing here would be refused without it"
    with socket.create_server(("127.0.0.1", 0)) as other:
        async with Door("127.0.0.1", echo_port) as door:
            found = await run(children, "reach_out", tmp_path, door, port=other.getsockname()[1])
    assert found.pop("its own pair") == "own"
    assert found.pop("a program") in ("EPERM", "EACCES")
    assert set(found.values()) == {"EPERM"}, found


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_names_no_address(machine: str) -> None:
    unix, inet, nowhere = 1, 2, 0
    for somewhere in (0x1000, 0x1000_0000_0000):  # an address in the lower and in the upper half of a pointer
        assert answer(machine, SENDTO[machine], 3, 0, 1, 0, somewhere, 16, talks=True) == REFUSED
    assert answer(machine, SENDTO[machine], 3, 0, 1, 0, nowhere, 0, talks=True) == ALLOW
    assert answer(machine, SOCKETPAIR[machine], unix, talks=True) == ALLOW
    assert answer(machine, SOCKETPAIR[machine], inet, talks=True) == REFUSED
    assert answer(machine, SENDTO[machine], 3, 0, 1, 0, nowhere, 0) == REFUSED
    assert answer(machine, SOCKETPAIR[machine], unix) == REFUSED
