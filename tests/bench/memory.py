"""How much more memory a process takes for what it does, in the kernel's own words where it has some."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

SAMPLED_S = 0.02
FORGET_PEAK = "5"
"""Written to `clear_refs`: VmHWM begins anew from what is resident now (Linux, proc_pid_clear_refs(5))."""


class Peak:
    """Of one process; its children are not counted. `more_bytes`: the peak less what it held at first."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.peak = psutil.Process(pid).memory_info().rss

    @property
    def more_bytes(self) -> int:
        return self.peak - self.before


@contextlib.contextmanager
def peak(pid: int) -> Iterator[Peak]:
    """The peak over the block. On Linux the kernel's high-water mark; elsewhere what samples saw."""
    found = Peak(pid)
    if _forgotten(pid):
        yield found
        found.peak = max(found.peak, _high_water(pid))
        return
    over = threading.Event()

    def sample() -> None:
        process = psutil.Process(pid)
        while not over.wait(SAMPLED_S):
            found.peak = max(found.peak, process.memory_info().rss)

    sampling = threading.Thread(target=sample, daemon=True)
    sampling.start()
    try:
        yield found
    finally:
        over.set()
        sampling.join()


def _forgotten(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(FORGET_PEAK)
    except OSError:
        return False
    return True


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not tell the peak of {pid}")
