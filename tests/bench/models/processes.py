"""A step in a process of its own, with a limit, from which nothing is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]


class StepFailed(Exception):
    """Why, for a person."""


def run(python: Path | str, arguments: Sequence[str], *, home: Path, limit: float) -> None:
    """`python -m arguments` from the project's folder; what it says goes into `home/log.txt`.

    Raises StepFailed where it fails or takes more than `limit` seconds; all it started is killed then.
    """
    home.mkdir(parents=True, exist_ok=True)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONWARNINGS": "ignore"}
    with (home / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [str(python), "-m", *arguments],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"killed after {limit:g} s") from None
        finally:
            _kill(process)
    if code != 0:
        raise StepFailed(_reason(home) or f"it ended with {code}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started, also where that has left its group (as H2O's server does)."""
    try:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def _reason(home: Path) -> str:
    said = home / "failed.txt"
    return said.read_text() if said.exists() else ""
