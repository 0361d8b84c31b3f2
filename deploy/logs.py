"""Keeps an eye on the log files of running programs: bounded on disk, errors told to a person."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

MAX_BYTES = 10 * 2**20
SHOWN_AT_ONCE = 3
QUIET_S = 30.0
WIDTH = 200


class _Line(msgspec.Struct):
    """What is read of a structured log line (shared/logging.py)."""

    event: str
    level: str = "info"
    exception: str = ""


@dataclass
class LogWatch:
    """Reads what was added to one log since the last look."""

    path: Path
    error_line: re.Pattern[str]
    _at: int = field(init=False)
    _shown: int = 0
    _held_back: int = 0
    _quiet_until: float = 0.0

    def __post_init__(self) -> None:
        self._at = self.path.stat().st_size if self.path.exists() else 0

    def look(self) -> list[str]:
        """New errors, one line each: a few at a time, then a count of the others."""
        errors = [message for line in self._added() if (message := error_in(line, self.error_line))]
        now = time.monotonic()
        if now >= self._quiet_until:
            held_back, self._shown, self._held_back = self._held_back, 0, 0
            if held_back:
                errors.insert(0, f"… and {held_back} more errors before")
        room = max(SHOWN_AT_ONCE - self._shown, 0)
        shown, hidden = errors[:room], errors[room:]
        if shown:
            self._shown += len(shown)
            self._quiet_until = max(self._quiet_until, now + QUIET_S)
        self._held_back += len(hidden)
        return [message[:WIDTH] for message in shown]

    def _added(self) -> list[str]:
        try:
            with self.path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                if size < self._at:  # truncated
                    self._at = 0
                log.seek(self._at)
                whole_lines, newline, _ = log.read(MAX_BYTES).rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._at += len(whole_lines) + len(newline)
        return whole_lines.decode(errors="replace").splitlines()

    def bound(self) -> None:
        """Over MAX_BYTES: keep what is there as `NAME.log.1` and go on from empty.

        The program goes on writing to the same open file, at its end wherever that is (O_APPEND). A
        line written between the copy and the cut is lost; two files bound a log, whoever writes it.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > MAX_BYTES:
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
                os.truncate(self.path, 0)
                self._at = 0


def error_in(line: str, error_line: re.Pattern[str]) -> str | None:
    """The message of a line that tells of an error, else None."""
    if line.startswith("{"):
        try:
            structured = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            return None
        if structured.level not in ("error", "critical"):
            return None
        reason = structured.exception.strip().rpartition("\n")[2]
        return f"{structured.event}: {reason}" if reason else structured.event
    found = error_line.search(line)
    return found["message"].strip() if found else None
