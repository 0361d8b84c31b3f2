"""What a fit may read besides its own table: Python, the libraries, and a few facts about the machine.

Never a folder because it is on the import path: the project's own may hold `.env`, and the local
stack's data. Of such a folder only the packages are readable that are imported.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
"""Shared libraries, time zones, fonts. `/opt` only where Python is there."""

_FACTS = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
"""What allocators, OpenMP and BLAS ask about memory and cores."""

_RANDOM = ("/dev/urandom", "/dev/random")

DEVICES = (Path("/dev/null"), Path("/dev/zero"))
"""To read and write."""


def readable() -> list[Path]:
    """Asked for in a child, after the preload: `/proc/self` is the process that asks."""
    return [*libraries(), Path("/proc/self")]


@functools.cache
def libraries() -> list[Path]:
    """The part of it that is the same for all children of a process, which finds it out once."""
    trees = [Path(path) for path in (*_SYSTEM, sys.prefix, sys.base_prefix)]
    for entry in map(Path, sys.path):
        if entry.name in ("site-packages", "dist-packages") or entry.suffix == ".zip":
            trees.append(entry)
    found = dict.fromkeys(trees)
    for place in _imported():
        if not any(place.is_relative_to(tree) for tree in trees):
            found[place] = None
    return [*found, *map(Path, (*_FACTS, *_RANDOM))]


def _imported() -> Iterator[Path]:
    """Where each imported top-level package (a folder) or module (a file) is."""
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        places = getattr(module, "__path__", None) or [getattr(module, "__file__", None)]
        yield from (Path(place) for place in places if place)
