"""`.venv/bin/python -I deploy/install.py GROUP`: install requirements/GROUP.txt, hashes checked.

Runs before anything is installed, so the standard library has to do. What was installed is noted by
the lock file's digest: an unchanged lock costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NOTE = Path(sys.prefix) / "trainyard-installed.json"
CONTAINS = {"dev": ("dev", "local"), "local": ("local",)}
"""Groups of pyproject.toml that come along: pins agree, `make lint` sees to it."""
STEP = re.compile(r"\s*(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")


def main(group: str) -> int:
    lock = PROJECT / "requirements" / f"{group}.txt"
    digest = digest_of(group)
    noted = read_note()
    if noted.get(group) == digest:
        return 0
    packages = len(re.findall(r"^[a-z0-9]", lock.read_text(), flags=re.MULTILINE | re.IGNORECASE))
    print(f"Installing about {packages} packages; the first time takes a minute or two", flush=True)
    begun = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "-r", str(lock)]
    pip = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    tail = follow(pip, packages)
    if pip.wait():
        print("\n".join(["pip could not install them:", *tail]), file=sys.stderr)
        return 1
    NOTE.write_text(json.dumps(noted | {name: digest_of(name) for name in CONTAINS.get(group, (group,))}))
    print(f"Installed in {time.monotonic() - begun:.0f} s", flush=True)
    return 0


@dataclass
class State:
    """How far pip is: packages it has looked at, and the one it is at."""

    name: str = ""
    count: int = 0
    unpacking: bool = False


def digest_of(group: str) -> str:
    return hashlib.sha256((PROJECT / "requirements" / f"{group}.txt").read_bytes()).hexdigest()


def read_note() -> dict[str, str]:
    try:
        return dict(json.loads(NOTE.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def follow(pip: subprocess.Popen[str], packages: int) -> deque[str]:
    """Say how far pip is: one living line on a terminal, a few lines elsewhere. Its last words."""
    tail: deque[str] = deque(maxlen=15)
    state = State()
    done = threading.Event()
    reporter = threading.Thread(target=report, args=(state, packages, done), daemon=True)
    reporter.start()
    for line in pip.stdout or ():
        tail.append(line.rstrip())
        if found := STEP.match(line):
            state.name, state.count = found[1], state.count + 1
        elif line.startswith("Installing collected packages"):
            state.name, state.unpacking = "unpacking", True
    done.set()
    reporter.join()
    return tail


def report(state: State, packages: int, done: threading.Event) -> None:
    begun, terminal, said_unpacking = time.monotonic(), sys.stdout.isatty(), False
    while not done.wait(0.2 if terminal else 1):
        seconds = time.monotonic() - begun
        if terminal:
            text = f"  {seconds:3.0f} s  {state.count}/{packages}  {state.name}"
            print(f"\r{text[:78]:<78}", end="", flush=True)
        elif state.unpacking and not said_unpacking:
            said_unpacking = True
            print(f"  all downloaded after {seconds:.0f} s, unpacking", flush=True)
    if terminal:
        print(f"\r{'':<78}\r", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
