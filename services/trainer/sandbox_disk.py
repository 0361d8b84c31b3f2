"""What a fit does to the disk, seen from the trainer: how much it writes while it runs, and what it leaves.

A limit of the kernel bounds each file (RLIMIT_FSIZE); nothing but the trainer bounds their sum and
their number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_FILES = 2_000
MAX_THREADS = 1024
NEARLY_FULL = "the disk is nearly full, and it wrote much to it"
LEFT_BYTES = 2**20
"""A disk with less than this left is full: whoever meets its end leaves a few blocks."""
_LITTLE = 2**28
_FULL = (errno.ENOSPC, errno.EDQUOT)

_WRITTEN = re.compile(r"^write_bytes: (\d+)$", re.MULTILINE)


def half_of_free(folder: Path) -> int:
    """What one fit may write, in bytes: half of what is free on the disk of `folder`."""
    return max(_LITTLE, free(folder) // 2)


def too_much(pid: int, scratch: Path, limit: int) -> str | None:
    """Why the process is to be stopped, in words for its user; None while there is no reason.

    Counted are what the folder holds with what was removed there but is still open, and all that the
    process has ever written to a disk. A file on a tmpfs that was mapped, closed and removed is in neither,
    so that mapping alone is reason enough. Several fits can fill a disk together: where little is left, those
    that have written much are stopped.
    """
    used = 0
    for number, entry in enumerate(_beneath(scratch)):
        if number >= MAX_FILES:
            return f"made more than {MAX_FILES:,} files"
        with contextlib.suppress(OSError):
            used += entry.stat(follow_symlinks=False).st_blocks * 512
    used = max(used + _removed_but_open(pid), _written(pid))
    if used > limit or _removed_but_mapped(pid, scratch):
        return wrote_too_much(limit)
    if used > _LITTLE and free(scratch) < limit // 16:
        return NEARLY_FULL
    if _threads(pid) > MAX_THREADS:
        return f"started more than {MAX_THREADS:,} threads"
    return None


def wrote_too_much(limit: int) -> str:
    return f"wrote more than {limit // 2**20} MiB to the disk"


def oddity(scratch: Path) -> str | None:
    """What in the folder is neither a folder nor a plain file of its own, once no process is left there.

    The trainer goes on to read these files with its own rights: a symbolic or hard link would have it
    hand over any file of the machine, its own environment included, and a FIFO would hold it up.
    """
    for number, entry in enumerate(_beneath(scratch)):
        if number >= MAX_FILES:
            return f"left more than {MAX_FILES:,} files"
        status = entry.stat(follow_symlinks=False)
        plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not plain and not stat.S_ISDIR(status.st_mode):
            return "left something in its folder that is no plain file"
    return None


def read_bounded(path: Path, limit: int) -> bytes | None:
    """A file's content; None where it is larger than `limit` bytes."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


def is_full(error: BaseException) -> bool:
    """Whether it tells of a full disk; pyarrow tells it in words alone."""
    return getattr(error, "errno", None) in _FULL or any(os.strerror(code) in str(error) for code in _FULL)


def is_used_up(folder: Path) -> bool:
    """Whether the disk of `folder` is full, by the machine's own account: a step may say what it likes."""
    return free(folder) < LEFT_BYTES


def free(folder: Path) -> int:
    """Bytes that are left on the disk of `folder`."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _beneath(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every entry, however deep; what vanishes meanwhile, or cannot be listed, is left out."""
    waiting = [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _written(pid: int) -> int:
    """Bytes that the process has had sent to a disk (Linux; 0 where that is not told)."""
    with contextlib.suppress(OSError):
        found = _WRITTEN.search(Path(f"/proc/{pid}/io").read_text())
        return int(found[1]) if found else 0
    return 0


def _removed_but_open(pid: int) -> int:
    used = 0
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                status = fd.stat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    used += status.st_blocks * 512
    return used


def _removed_but_mapped(pid: int, scratch: Path) -> bool:
    with contextlib.suppress(OSError):
        if os.major(scratch.stat().st_dev) == 0:  # no device: a tmpfs, or a file system that hides its own
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
            return any(f" {scratch}/" in line and line.endswith(" (deleted)") for line in maps.splitlines())
    return False


def _threads(pid: int) -> int:
    with contextlib.suppress(OSError):
        # after the name, which may hold anything, in brackets: man proc_pid_stat, field 20
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[17])
    return 0
