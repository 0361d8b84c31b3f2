"""Processes beside the product: what it is measured against."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import httpx

from deploy.processes import PROJECT

START_S = 300


@contextlib.contextmanager
def running(arguments: Sequence[str], url: str = "", **environ: str) -> Iterator[None]:
    """`python -m arguments` for as long as the block lasts, which begins when `url`, if given, answers.

    Raises RuntimeError where it does not.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        if url:
            _wait(process, url)
        yield
    finally:
        process.kill()  # nothing of it is needed any more, and arq does not end when it is asked to
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url)
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} does not answer at {url}")
