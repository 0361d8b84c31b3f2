"""How large a table may be. What is over is refused with a reason before it fills memory or disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from shared.settings import Tables

LONGEST_NAME = 1_000
"""Characters of a column's name: a request that names the column takes no more."""

MOST_TIMES = 200
ALWAYS_TAKEN = 2**30
"""An upload may unpack to so many times its size, or to so many bytes, whichever is more."""


class TableLimits(Struct, frozen=True, kw_only=True):
    """The settings TABLE_MAX_…, as they reach the process that reads uploads."""

    max_bytes: int = 20 * 2**30
    """Of the text unpacked, and again of the decoded columns: a few kilobytes can hold terabytes."""
    max_columns: int = 2_000
    max_rows: int = 100_000_000
    max_record_bytes: int = 16 * 2**20
    """Of one record of text, quoted newlines included."""

    def for_upload(self, size: int) -> TableLimits:
        """The limits of an upload of so many bytes: kilobytes are not to fill a disk, even to its limit."""
        most = min(self.max_bytes, max(ALWAYS_TAKEN, MOST_TIMES * size))
        return msgspec.structs.replace(self, max_bytes=most)


def table_limits(settings: Tables, folder: Path) -> TableLimits:
    """The limits that the settings ask for, where decoded tables are kept in `folder`."""
    quarter = shutil.disk_usage(folder).total // 4
    return TableLimits(
        max_bytes=settings.table_max_bytes or min(TableLimits().max_bytes, quarter),
        max_columns=settings.table_max_columns,
        max_rows=settings.table_max_rows,
        max_record_bytes=settings.table_max_record_bytes,
    )
