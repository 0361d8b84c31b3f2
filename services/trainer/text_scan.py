"""The first pass over a text upload: unpacked, checked to be UTF-8 text, within limits.

Faults are raised as TableUnreadable with the byte and the line, before any parser sees the file.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from services.trainer.table_limits import TableLimits
from shared.errors import TableUnreadable

BLOCK_BYTES = 4 * 2**20

PARQUET = b"PAR1"
PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

NOT_A_TABLE: list[tuple[bytes, str]] = [
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; save the sheet as CSV (UTF-8) and upload that"),
    (b"PK\x05\x06", "an empty ZIP archive; upload the table itself"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV (UTF-8) and upload that"),
    (b"ARROW1", "an Arrow (Feather) file; save it as Parquet or CSV"),
    (b"PARE", "an encrypted Parquet file; save it without encryption"),
    (b"BZh", "packed with bzip2; use .gz or .zst, or the plain file"),
    (b"\xfd7zXZ", "packed with xz; use .gz or .zst, or the plain file"),
    (b"7z\xbc\xaf", "a 7-Zip archive; use .gz or .zst, or the plain file"),
    (b"%PDF", "a PDF document; upload the table as CSV or Parquet"),
    (b"\x89PNG", "an image; upload a table as CSV or Parquet"),
    (b"\xff\xd8\xff", "an image; upload a table as CSV or Parquet"),
    (b"SQLite format 3", "a SQLite database; export the table as CSV"),
    (b"\x89HDF", "an HDF5 file; save the table as CSV or Parquet"),
    (b"\x80\x04\x95", "a pickle, which is never opened; save the table as CSV or Parquet"),
]
"""First bytes of what people upload by mistake, and what to do instead."""

WIDE = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
"""Byte order marks, the longer ones first: UTF-32's begins with UTF-16's."""


_FAR = [re.compile(rb"e[-+]?[0-9]{4}"), re.compile(rb"E[-+]?[0-9]{4}")]
"""Two patterns: each begins with one letter, which is searched for four times as fast."""
_FAR_BYTES = 6


class PlainText(NamedTuple):
    """A text upload as UTF-8. `far_exponents`: it holds what may be a number with an exponent of four digits
    or more; of some of those pandas' quick reading of numbers crashes, and of others it gets them wrong."""

    path: Path
    far_exponents: bool


def plain_text(source: Path, spare: Path, advance: Callable[[float], None], limits: TableLimits) -> PlainText:
    """The text of `source` as UTF-8: in `source` itself, or in `spare`, written for it.

    `advance` is told the share of `source` read, 0..1. Raises TableUnreadable where it is no text, not
    UTF-8 (UTF-16 and UTF-32 with a byte order mark are taken), cut short, or over the limits.
    """
    size = source.stat().st_size
    with pa.OSFile(str(source), "rb") as raw:
        packing = _packing(source)
        stream = pa.CompressedInputStream(raw, packing) if packing else raw

        def blocks() -> Iterator[bytes]:
            while block := _read(stream, packing):
                yield block
                advance(min(1.0, raw.tell() / size))

        first = next(pieces := blocks(), b"")
        _refuse_other_formats(first, packing)
        wide = next((name for mark, name in WIDE if first.startswith(mark)), None)
        pieces = itertools.chain([first], pieces)
        if wide:
            with spare.open("wb") as sink:
                return PlainText(spare, _rewrite(pieces, wide, sink, limits))
        if packing:
            with spare.open("wb") as unpacked:
                return PlainText(spare, _check(pieces, unpacked, limits))
        return PlainText(source, _check(pieces, None, limits))


def _packing(source: Path) -> str | None:
    with source.open("rb") as file:
        head = file.read(4)
    return next((name for magic, name in PACKINGS.items() if head.startswith(magic)), None)


def _read(stream: pa.NativeFile, packing: str | None) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except OSError as error:
        if error.errno or not packing:  # the disk's fault, not the upload's
            raise
        if "too much memory" in str(error):
            raise TableUnreadable(
                f"the {packing} data asks for too much memory to be unpacked; pack it without --long"
            ) from error
        raise TableUnreadable(f"the {packing} data is cut short or damaged: {error}") from error


def _refuse_other_formats(first: bytes, packing: str | None) -> None:
    if not first.removeprefix(codecs.BOM_UTF8).strip() and len(first) < BLOCK_BYTES:
        raise TableUnreadable("the file is empty: it holds no header and no rows")
    for magic, what in NOT_A_TABLE:
        if first.startswith(magic):
            raise TableUnreadable(f"the file is {what}")
    if packing and first.startswith((PARQUET, *PACKINGS)):
        raise TableUnreadable(f"the {packing} data holds a packed file; pack text once, Parquet not at all")


class _Lengths:
    """Refuses text that is too long: all of it, or one line, which every parser would hold in memory. Looks
    for far exponents beside.

    A line shorter than a block that is over the limit all the same is found by the parser.
    """

    def __init__(self, limits: TableLimits) -> None:
        self._limits = limits
        self._seen = self._open = self._line = 0
        self._last = b""
        self.far_exponents = False

    def add(self, block: bytes) -> None:
        self._seen += len(block)
        if self._seen > self._limits.max_bytes:
            raise TableUnreadable(
                f"the text is over {self._limits.max_bytes:,} bytes unpacked; "
                "upload a part of the rows, or Parquet"
            )
        if not self.far_exponents:
            joint = self._last + block[:_FAR_BYTES]
            self.far_exponents = any(far.search(part) for far in _FAR for part in (joint, block))
            self._last = block[-_FAR_BYTES:]
        ends = [at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0]
        self._open += min(ends, default=len(block))
        if self._open > self._limits.max_record_bytes:
            raise TableUnreadable(
                f"line {self._line + 1} is over {self._limits.max_record_bytes:,} bytes long; "
                "a table has a line for each row"
            )
        if ends:
            self._open = len(block) - 1 - max(block.rfind(b"\n"), block.rfind(b"\r"))
            self._line += block.count(b"\n") or block.count(b"\r")


def _check(pieces: Iterable[bytes], sink: BinaryIO | None, limits: TableLimits) -> bool:
    """Every block is UTF-8 without NUL bytes; written to `sink` where there is one. Returns whether there are
    far exponents."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, lines, lengths = 0, 0, _Lengths(limits)
    for block in itertools.chain(pieces, [b""]):
        if (at := block.find(b"\0")) >= 0:
            raise TableUnreadable(_binary(block, seen + at, lines + block.count(b"\n", 0, at) + 1))
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = lines + error.object.count(b"\n", 0, error.start) + 1
            raise TableUnreadable(_not_utf8(error, seen - pending + error.start, line)) from None
        seen += len(block)
        lines += block.count(b"\n")
        lengths.add(block)
        if sink:
            sink.write(block)
    return lengths.far_exponents


def _rewrite(pieces: Iterable[bytes], encoding: str, sink: BinaryIO, limits: TableLimits) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    seen, lengths = 0, _Lengths(limits)
    for block in itertools.chain(pieces, [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise TableUnreadable(
                f"not {encoding.upper()} although it begins with its mark: {error.reason} "
                f"near byte {seen + error.start}; save the file as UTF-8"
            ) from None
        if "\0" in text:
            raise TableUnreadable(
                f"binary data: a NUL character near byte {seen}; upload CSV, TSV or Parquet"
            )
        seen += len(block)
        plain = text.encode()
        lengths.add(plain)
        sink.write(plain)
    return lengths.far_exponents


def _binary(block: bytes, offset: int, line: int) -> str:
    where = f"byte {offset} (line {line}) is a NUL byte"
    if any(half.count(0) > 0.4 * len(half) for half in (block[0:400:2], block[1:400:2])):
        return f"not UTF-8: {where}; it looks like UTF-16 without a mark. Save the file as UTF-8"
    return f"a binary file, not text: {where}; upload CSV, TSV or Parquet"


def _not_utf8(error: UnicodeDecodeError, offset: int, line: int) -> str:
    block, at = error.object, error.start
    near = block[max(0, at - 12) : at].rsplit(b"\n")[-1] + block[at : at + 12].split(b"\n")[0]
    where = f"not UTF-8: byte 0x{block[at]:02X} at offset {offset} (line {line})"
    if sum(byte < 32 and byte not in b"\t\r\n" for byte in block[:4096]) > len(block[:4096]) // 50:
        return f"{where}; it looks like a binary file: upload CSV, TSV or Parquet"
    guess = near.decode("cp1252", errors="replace").strip()
    return f"{where}; in Windows-1252 (Latin-1) the text there reads {guess!r}. Save the file as UTF-8"
