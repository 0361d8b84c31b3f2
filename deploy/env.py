"""`make env`: write .env for docker compose, with a random secret wherever the example says change-me.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("env.example")
PROJECT = Path(__file__).resolve().parents[1]


def filled(example: str) -> str:
    """The example with secrets in it: hexadecimal, which needs no quoting in a URL or on a command line."""
    return re.sub(r"(?m)(?<=\=)change-me$", lambda _: secrets.token_hex(32), example)


def main(target: Path) -> int:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target.name} is there already and stays as it is; remove it first for new secrets")
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(filled(EXAMPLE.read_text()))
    print(f"Wrote {target.name} (readable by you alone) with new random secrets")
    return 0


if __name__ == "__main__":
    sys.exit(main(PROJECT / ".env"))
