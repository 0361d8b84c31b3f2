"""The log of a step: what is logged in its process stands in the trainer's log, under the trainer's ids.

The step has no file and no socket of its own for that. Its records go over the pipe that its progress goes
over; the trainer, which knows which job they are of, logs them. A step is not trusted: what it says is cut
to a line of bounded length, it is said to be a step's, and of one step so many lines are taken and no more.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Literal

import msgspec
import structlog

log = structlog.get_logger(__name__)

MOST_LINES = 100
LONGEST_EVENT = 500
LONGEST_NAME = 60
"""Of characters. Even where each is escaped, a line is below what a pipe takes whole (4,096 bytes)."""

LEVELS = {"debug": logging.INFO, "info": logging.WARNING, "warning": logging.WARNING, "error": logging.ERROR}
"""The trainer's level → from which on a step's libraries are heard: what they think worth telling is, by the
dozen, of the step that runs anyway."""


class Said(msgspec.Struct):
    """One record, on its way to the trainer."""

    level: Literal["info", "warning", "error"]
    name: str
    event: str


class _Pipe(logging.Handler):
    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        # what goes wrong with telling is not to go wrong with the step
        with contextlib.suppress(Exception):
            event = record.getMessage()
            if record.exc_info and (error := record.exc_info[1]) is not None:
                event = f"{event}: {type(error).__name__}: {error}"
            rank = "error" if record.levelno >= logging.ERROR else "warning"
            said = Said(
                level=rank if record.levelno >= logging.WARNING else "info",  # type: ignore[arg-type]
                name=record.name[:LONGEST_NAME],
                event=event[:LONGEST_EVENT],
            )
            os.write(self._fd, msgspec.json.encode(said) + b"\n")  # a full pipe loses it


def tell_over(fd: int, level: str) -> None:
    """In the step's process: send what is logged there, by us or by a library, over the pipe."""
    root = logging.getLogger()
    root.handlers[:] = [_Pipe(fd)]
    root.setLevel(LEVELS[level])
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class Heard:
    """In the trainer: logs what one step says. What is above the number of lines that are taken is counted,
    and not even read."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._lines = 0

    def __call__(self, line: bytes) -> None:
        self._lines += 1
        if self._lines > MOST_LINES:
            return
        with contextlib.suppress(msgspec.MsgspecError):
            said = msgspec.json.decode(line, type=Said)
            # an error of a step's is no error of the trainer's
            tell = log.info if said.level == "info" else log.warning
            tell("step says", step=self._step, said=_line(said.event), by=_line(said.name), rank=said.level)

    def end(self) -> None:
        if self._lines > MOST_LINES:
            log.warning("step said more", step=self._step, left_out=self._lines - MOST_LINES)


def _line(text: str) -> str:
    """Of bounded length, and without what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:LONGEST_EVENT])
