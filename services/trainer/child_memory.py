"""How much memory a fit may use, and how much its processes do use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

_SHARE = 0.75
"""Of the machine's memory for fits; the rest is the trainer's, the kernel's and the page cache's."""


def guard_bytes(slots: int) -> int:
    """What one of `slots` fits may use, in bytes: three quarters of the machine, or of its cgroup, shared."""
    return int(_machine_bytes() * _SHARE / max(1, slots))


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
