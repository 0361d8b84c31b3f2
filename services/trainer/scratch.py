"""Folders for work under way. What a trainer that was killed leaves behind, the next one removes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import structlog

log = structlog.get_logger(__name__)

_PREFIX = "work-"
_LOCK = "lock"


class Scratch:
    """A folder of this process's own under `parent`, which several trainers may share.

    A lock on a file in it says that its process lives; the kernel lets go of it however that one ends.
    """

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self._lock: int | None = None
        self._root = parent

    def __enter__(self) -> Self:
        self.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_leftovers(self.parent)
        # locked before it has the name under which others look for leftovers
        draft = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=self.parent))
        self._lock = os.open(draft / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._root = draft.rename(draft.with_name(draft.name.removeprefix(".")))
        return self

    def __exit__(self, *_: object) -> None:
        removed(self._root)
        if self._lock is not None:
            os.close(self._lock)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh folder, gone at the end of the block."""
        folder = Path(tempfile.mkdtemp(dir=self._root))
        try:
            yield folder
        finally:
            removed(folder)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:  # it is being removed by its owner, or by another trainer
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed(folder)
            log.info("scratch of a killed trainer removed", folder=folder.name)
        except BlockingIOError:  # its process lives
            pass
        finally:
            os.close(lock)


def removed(folder: Path) -> None:
    """Remove a folder with all it holds, as far as that is possible; never raises OSError.

    A fit may have nested folders deeper than `shutil.rmtree` follows, or than a path can be long, and
    left some that not even their owner may list: each is moved to the top, then emptied.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(current) as entries:
            for entry in list(entries):
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        Path(entry.path).unlink()
                        continue
                    deeper = Path(entry.path)
                    deeper.chmod(0o700)
                    waiting.append(deeper.rename(folder / uuid.uuid4().hex))
        if current != folder:
            with contextlib.suppress(OSError):
                current.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
