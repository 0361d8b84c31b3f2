"""What the tests of child processes share: a caller that remembers what it heard, and who is alive."""

from __future__ import annotations

import asyncio
import os
import select
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from services.trainer.child import ChildFailed, Children

MIB = 2**20
NAMES = (
    "add surroundings cannot_train invalid bug leave crash allocate_at_once bad_alloc eat forever "
    "leave_grandchildren shout flood meet many_bytes nothing_to_encode write_until_full"
)
STEPS = {name: f"tests.unit.trainer.child_steps:{name}" for name in NAMES.split()}


class Call:
    """One run, with what it said."""

    def __init__(self, children: Children, scratch: Path) -> None:
        self.children, self.scratch = children, scratch
        self.said: list[tuple[float, str]] = []
        self.spoke = asyncio.Event()

    def heard(self, done: float, message: str) -> None:
        self.said.append((done, message))
        self.spoke.set()

    async def __call__(
        self, step: str, *, timeout_s: float = 20, memory: int = 512 * MIB, **payload: Any
    ) -> Any:
        options = {"cancelled": payload.pop("cancelled")} if "cancelled" in payload else {}
        raw = await self.children.run(
            step,
            payload,
            scratch=self.scratch,
            timeout_s=timeout_s,
            memory_bytes=memory,
            on_progress=self.heard,
            **options,
        )
        return msgspec.json.decode(raw)

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.said[-1][1].split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid)]


def ended(pidfds: list[int]) -> bool:
    """Whether the processes end within 3 s; their new parent may take its time to reap them."""
    poll = select.poll()
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    left, until = set(pidfds), time.monotonic() + 3
    while left and time.monotonic() < until:
        for fd, _ in poll.poll(100):
            poll.unregister(fd)
            os.close(fd)
            left.remove(fd)
    return not left


async def failure(call: Call, step: str, **payload: Any) -> ChildFailed:
    with pytest.raises(ChildFailed) as caught:
        await call(step, **payload)
    assert psutil.Process(call.children.server_pid).children(recursive=True) == []
    return caught.value
