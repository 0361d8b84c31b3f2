"""A stack for the demo: the one that runs on the data directory, else one of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from deploy import holder
from deploy.demo.client import DemoFailed
from deploy.processes import launch_command

READY = "Trainyard is ready at "
STOP_S = 60
KEPT_LINES = 20


@contextlib.contextmanager
def running(directory: Path, port: int | None) -> Iterator[tuple[str, bool]]:
    """(its URL, whether it was started here). One that was is stopped again at the end.

    Raises DemoFailed with what the stack said if it does not come up.
    """
    if url := running_url(directory):
        yield url, False
        return
    command = [sys.executable, "-m", "deploy.local", "--data-dir", str(directory)]
    command += ["--port", str(port)] if port else []
    stack = subprocess.Popen(
        launch_command(command, signal.SIGTERM, unprivileged=False),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is the demo's: it stops the stack once it has tidied up
    )
    said: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        url = wait_ready(stack, said)
        # Read on: a full pipe would make the supervisor wait.
        threading.Thread(target=said.extend, args=(stack.stdout or (),), daemon=True).start()
        said.clear()
        try:
            yield url, True
        except DemoFailed as failed:
            trouble = "".join(f"\n  {line.rstrip()}" for line in list(said))
            raise DemoFailed(f"{failed}\nThe stack said:{trouble}" if trouble else str(failed)) from failed
    finally:
        stack.terminate()
        try:
            stack.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            stack.kill()


def running_url(directory: Path) -> str | None:
    """Where a stack on this directory answers, if one does."""
    if not directory.is_dir():
        return None
    try:
        with holder.held(directory):
            return None
    except holder.AlreadyRunning as other:
        if other.holder is None or other.holder.url is None:
            raise DemoFailed(f"{other}, and is not ready yet") from None
        return other.holder.url


def wait_ready(stack: subprocess.Popen[str], said: deque[str]) -> str:
    for line in stack.stdout or ():
        said.append(line.rstrip())
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
    raise DemoFailed("\n".join(said))
