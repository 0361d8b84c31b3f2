"""The whole product, as `make up` runs it: six programs of their own under their supervisor."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deploy import ports

START_S = 120
STOP_S = 60
READY = "Trainyard is ready at "


class Stack(NamedTuple):
    url: str
    said: list[str]
    """What the supervisor has printed so far: one line more for each program that died."""
    directory: Path
    """Its data."""


@contextlib.contextmanager
def running(directory: Path, **variables: str) -> Iterator[Stack]:
    """`python -m deploy.local` on a data directory and a port of its own, with these variables of its
    environment, for as long as the block lasts."""
    port = ports.free(1)[0]
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "--data-dir", str(directory), "--port", str(port)],
        env={"PATH": os.environ["PATH"]} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if READY in line:
                ready.set()
        ready.set()  # it has ended: whoever waits is told at once

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        ready.wait(START_S)
        url = next((line.removeprefix(READY) for line in said if line.startswith(READY)), None)
        assert url is not None, "the stack did not start:\n" + "\n".join(said)
        yield Stack(url, said, directory)
    finally:
        process.terminate()
        try:
            code = process.wait(STOP_S)
        finally:
            process.kill()  # its programs end with it, whatever they are doing
            reader.join(STOP_S)
    assert code == 0, "the stack did not end cleanly:\n" + "\n".join(said)
