"""One stack a data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from deploy.processes import wait_gone

LOCK_FILE = "lock"
STATE_FILE = "run.json"


class Holder(Struct, kw_only=True):
    """Who runs a stack, where it answers (once it does), and its children: (process id, start time)."""

    pid: int
    url: str | None = None
    children: dict[str, tuple[int, float]] = {}


class AlreadyRunning(Exception):
    """Another supervisor holds the directory."""

    def __init__(self, directory: Path, holder: Holder | None) -> None:
        self.holder = holder
        where = f" at {holder.url}" if holder and holder.url else ""
        process = f" (process {holder.pid})" if holder else ""
        super().__init__(f"Trainyard already runs on {directory}{where}{process}")


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold `directory` for the `with` block. Raises AlreadyRunning.

    The kernel lets go of the lock with its process, so a killed one leaves nothing to clean up.
    """
    with (directory / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(directory, read_holder(directory)) from None
        try:
            yield
        finally:
            (directory / STATE_FILE).unlink(missing_ok=True)


def read_holder(directory: Path) -> Holder | None:
    try:
        return msgspec.json.decode((directory / STATE_FILE).read_bytes(), type=Holder)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_holder(directory: Path, url: str | None, children: dict[str, int]) -> None:
    started = {}
    for name, pid in children.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            started[name] = (pid, psutil.Process(pid).create_time())
    draft = directory / f"{STATE_FILE}.new"
    draft.write_bytes(msgspec.json.encode(Holder(pid=os.getpid(), url=url, children=started)))
    draft.replace(directory / STATE_FILE)


def end_leftovers(directory: Path) -> list[str]:
    """End children of a supervisor that was killed (where the kernel did not); their names.

    Call it while the directory is held. Postgres is left to its own way of making way.
    """
    holder = read_holder(directory)
    ended = []
    for name, (pid, started) in (holder.children if holder else {}).items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if name != "postgres" and process.create_time() == started:
                process.kill()
                wait_gone(process, timeout_s=5)
                ended.append(name)
    return ended
