"""What stands in a ZIP around its members' bytes: local headers, data descriptors, the directory at the end.
Pure; nothing is read or written here.

PKWARE's APPNOTE 6.3.10 (sections in parentheses). Written so that whatever opens ZIPs opens these: a member's
size and CRC-32 stand before its bytes wherever they are known, which readers that only go forward and
macOS's Archive Utility want; ZIP64 is used where a number needs it and nowhere else; names are UTF-8 and say
so (bit 11) where they are not ASCII; slashes separate folders, and there are no entries for these.
"""

from __future__ import annotations

import datetime as dt
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

STORED, DEFLATED = 0, 8

_LOCAL = Struct("<4sHHHHHIIIHH")  # 4.3.7
_DESCRIPTOR = Struct("<4sIII")  # 4.3.9
_DESCRIPTOR_64 = Struct("<4sIQQ")
_ENTRY = Struct("<4sHHHHHHIIIHHHHHII")  # 4.3.12
_END_64 = Struct("<4sQHHIIQQQQ")  # 4.3.14
_LOCATOR_64 = Struct("<4sIQI")  # 4.3.15
_END = Struct("<4sHHHHIIH")  # 4.3.16
_UNIX_TIME = Struct("<HHBi")  # Info-ZIP's extra field "UT": 4.5, 4.6

_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
"""In the place of a number that stands in a ZIP64 field (4.4.1.4)."""

_PLAIN, _ZIP64 = 20, 45
"""Version needed to extract (4.4.3)."""

_UNIX = 3 << 8
_FILE = (stat.S_IFREG | 0o644) << 16

_SIZES_FOLLOW, _UTF8 = 1 << 3, 1 << 11

OLDEST = dt.datetime(1980, 1, 1, tzinfo=dt.UTC)
"""MS-DOS time begins here."""
NEWEST = dt.datetime(2038, 1, 1, tzinfo=dt.UTC)
"""The Unix time beside it is 32 bits wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A member. Sizes in bytes; `offset` is where its header begins. `follows`: its sizes and CRC-32 are
    known only behind its bytes, where `descriptor` tells them; `wide`: they may not fit in 32 bits."""

    name: str
    mtime: dt.datetime
    method: int
    offset: int
    size: int = 0
    packed: int = 0
    crc32: int = 0
    follows: bool = False
    wide: bool = False

    @property
    def _is_64(self) -> bool:
        return self.wide or max(self.size, self.packed) >= _FULL_32

    @property
    def _flags(self) -> int:
        return (_SIZES_FOLLOW if self.follows else 0) | (0 if self.name.isascii() else _UTF8)

    @property
    def _dos_time(self) -> tuple[int, int]:
        """Time and date (4.4.6), in UTC and to two seconds."""
        at = self._at
        return (
            at.hour << 11 | at.minute << 5 | at.second // 2,
            (at.year - 1980) << 9 | at.month << 5 | at.day,
        )

    @property
    def _at(self) -> dt.datetime:
        return min(max(self.mtime.astimezone(dt.UTC), OLDEST), NEWEST)

    @property
    def _unix_time(self) -> bytes:
        return _UNIX_TIME.pack(0x5455, 5, 1, int(self._at.timestamp()))

    def header(self) -> bytes:
        """What stands before its bytes."""
        name, wide = self.name.encode(), self._is_64
        sizes = (0, 0) if self.follows else (self.packed, self.size)
        extra = (_field_64(sizes[1], sizes[0]) if wide else b"") + self._unix_time
        shown = (_FULL_32, _FULL_32) if wide else sizes
        version = _ZIP64 if wide else _PLAIN
        crc32 = 0 if self.follows else self.crc32
        fixed = (version, self._flags, self.method, *self._dos_time, crc32, *shown, len(name), len(extra))
        return _LOCAL.pack(b"PK\3\4", *fixed) + name + extra

    def descriptor(self) -> bytes:
        """What stands behind its bytes where they `follows`."""
        layout = _DESCRIPTOR_64 if self._is_64 else _DESCRIPTOR
        return layout.pack(b"PK\7\x08", self.crc32, self.packed, self.size)

    def entry(self) -> bytes:
        """Its line in the directory. One whose header is ZIP64's is so here too: readers that check a
        descriptor tell its width by this."""
        name, wide, far = self.name.encode(), self._is_64, self.offset >= _FULL_32
        numbers = ([self.size, self.packed] if wide else []) + ([self.offset] if far else [])
        extra = (_field_64(*numbers) if numbers else b"") + self._unix_time
        sizes = (_FULL_32, _FULL_32) if wide else (self.packed, self.size)
        version = _ZIP64 if numbers else _PLAIN
        return (
            _ENTRY.pack(
                b"PK\1\2",
                _UNIX | version,
                version,
                self._flags,
                self.method,
                *self._dos_time,
                self.crc32,
                *sizes,
                len(name),
                len(extra),
                0,  # comment
                0,  # disk
                0,  # internal attributes
                _FILE,
                _FULL_32 if far else self.offset,
            )
            + name
            + extra
        )


def directory(records: Sequence[Record], offset: int) -> bytes:
    """What ends the archive; `offset` is where it begins."""
    entries = b"".join(record.entry() for record in records)
    count, end = len(records), offset + len(entries)
    ends = b""
    if count >= _FULL_16 or offset >= _FULL_32 or len(entries) >= _FULL_32:
        numbers = (count, count, len(entries), offset)
        ends = _END_64.pack(b"PK\6\6", _END_64.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0, *numbers)
        ends += _LOCATOR_64.pack(b"PK\6\7", 0, end, 1)
    shown = min(count, _FULL_16)
    sizes = (min(len(entries), _FULL_32), min(offset, _FULL_32))
    return entries + ends + _END.pack(b"PK\5\6", 0, 0, shown, shown, *sizes, 0)


def _field_64(*numbers: int) -> bytes:
    """The extra field of ZIP64 (4.5.3)."""
    return Struct(f"<HH{len(numbers)}Q").pack(1, 8 * len(numbers), *numbers)
