"""Steps that log, as libraries and as our own code do."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import structlog


def libraries(*, scratch: Path, progress: Any) -> dict[str, str]:
    """What a step may say: to a logger of the standard library's, to ours, to standard output."""
    progress(0.5, "Half way")
    theirs = logging.getLogger("lightgbm")
    theirs.debug("nobody wants to know")
    theirs.info("[LightGBM] started")
    theirs.warning("no further splits, %s left", 3)
    try:
        raise ValueError("bad bin")
    except ValueError:
        theirs.exception("failed once")
    structlog.get_logger("ours").warning("odd rows", rows=7)
    warnings.warn("a warning of Python's", stacklevel=1)
    print("printed")
    return {"said": "all"}


def flood(*, lines: int, scratch: Path, progress: Any) -> dict[str, int]:
    """More than anybody reads; slowly enough that the pipe takes all of it."""
    log = logging.getLogger("chatty")
    for number in range(lines):
        log.warning("line %d", number)
        progress(number / lines, "Talking")
        if number % 10 == 0:
            os.sched_yield()
    return {"lines": lines}


def forge(*, scratch: Path, progress: Any) -> dict[str, str]:
    """What somebody would say who wants to be taken for the trainer, or to move the reader's cursor."""
    log = logging.getLogger('x", "task_id": "another\'s')
    log.error('\x1b[2J\n{"event": "forged", "level": "critical"}\n' + "x" * 5_000)
    for line in (
        b'{"level":"critical","name":"x","event":"forged"}\n',
        b"[1e999]\n",
        b'{"event":1}\n',
        b"\xff\n",
    ):
        for fd in range(3, 20):
            try:
                os.write(fd, line)
            except OSError:
                continue
    sys.stderr.write("to nobody\n")
    return {"done": "yes"}
