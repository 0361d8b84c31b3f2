"""How much memory a fit may use, and how much its processes do use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from shared.errors import ConfigurationError

LEAST_BYTES = 256 * 2**20
"""What a fit needs whatever its table: on 60 rows every family of models held 164 to 174 MiB at its end, the
libraries counted by its share of them."""

_SHARE = 0.75
"""Of the machine's memory for fits; the rest is the trainer's, the kernel's and the page cache's."""


def guard_bytes(slots: int) -> int:
    """What one of `slots` fits may use, in bytes: three quarters of the machine, or of its cgroup, shared."""
    return int(_machine_bytes() * _SHARE / max(1, slots))


def fits_and_guard(slots: int, memory_bytes: int, most: int) -> tuple[int, int]:
    """How many fits there are at a time, and what each may use, in bytes.

    `slots` and `memory_bytes`: as they were set, 0 where they were not; `most`: as many fits as there are
    cores for. Raises ConfigurationError where a fit would have less than any needs.
    """
    needed = f"{LEAST_BYTES // 2**20} MiB that a fit needs whatever its table"
    if memory_bytes:
        if memory_bytes < LEAST_BYTES:
            given = f"{memory_bytes:,} bytes are less than the {needed}"
            raise ConfigurationError(f"environment variable TRAINER_MEMORY_BYTES: {given}")
        return slots or most, memory_bytes
    slots = slots or max(1, min(most, guard_bytes(1) // LEAST_BYTES))
    guard = guard_bytes(slots)
    if guard < LEAST_BYTES:
        raise ConfigurationError(
            f"this machine's memory leaves {guard // 2**20} MiB to each of {slots} fits at a time, less than "
            f"the {needed}; TRAINER_SLOTS and TRAINER_MEMORY_BYTES say otherwise"
        )
    return slots, guard


def _machine_bytes() -> int:
    total = psutil.virtual_memory().total
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            total = min(total, int(Path(limit).read_text()))
    return total


def group_exceeds(group: int, limit: int) -> bool:
    """Whether the processes of a process group hold more than `limit` bytes.

    Resident size is cheap to read but counts the pages shared with the fork server once for each
    process; so only where its sum is over, the proportional size (Linux) decides.
    """
    processes = list(_members(group))
    if sum(_resident(process) for process in processes) <= limit:
        return False
    return sum(_proportional(process) for process in processes) > limit


def _members(group: int) -> list[psutil.Process]:
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(pid) == group:
                found.append(psutil.Process(pid))
    return found


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    try:
        return getattr(process.memory_full_info(), "pss", None) or _resident(process)
    except psutil.Error:
        return 0
