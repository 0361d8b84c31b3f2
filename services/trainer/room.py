"""A full disk under a trainer. It is no job's fault: what met it goes back, costs no try, and is done by a
trainer that has room or once there is some; what is removed to make room are tables that nobody reads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from services.trainer import sandbox_disk
from shared.db.jobs import Job
from shared.errors import NoRoom
from shared.metrics import DISK_FULL

log = structlog.get_logger(__name__)

KEPT_FREE_BYTES = 2**30
KEPT_FREE_SHARE = 0.05
"""What decoded tables leave free of their disk, at most and as a share: others may have their data on it."""


def to_keep_free(folder: Path) -> int:
    """What decoded tables are to leave free on the disk of a folder, in bytes."""
    disk = os.statvfs(folder)
    return min(KEPT_FREE_BYTES, int(disk.f_blocks * disk.f_frsize * KEPT_FREE_SHARE))


def telling(run: Callable[[Job], Awaitable[None]], folder: Path) -> Callable[[Job], Awaitable[None]]:
    """`run`, raising NoRoom for whatever it meets of a full disk, which is said to whoever runs this."""

    async def told(job: Job) -> None:
        try:
            await run(job)
        except (OSError, NoRoom) as error:
            if not isinstance(error, NoRoom) and not sandbox_disk.is_full(error):
                raise
            DISK_FULL.labels("trainer").inc()
            log.error("no room left on the disk", folder=str(folder), free_bytes=sandbox_disk.free(folder))
            raise NoRoom(reason=f"no room left under {folder}") from error

    return told
