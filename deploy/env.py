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
ADDED_LATER = ("ARTIFACT_HMAC_KEYS",)
"""Secrets that no .env of an earlier version has, and without which nothing starts."""


def filled(example: str) -> str:
    """The example with secrets in it: hexadecimal, which needs no quoting in a URL or on a command line."""
    return re.sub(r"(?m)(?<=[=:])change-me$", lambda _: secrets.token_hex(32), example)


def missing(content: str) -> list[str]:
    """Lines, secrets filled in, that a .env of an earlier version lacks."""
    return [
        line
        for line in filled(EXAMPLE.read_text()).splitlines()
        if (name := line.partition("=")[0]) in ADDED_LATER
        and not re.search(rf"(?m)^\s*{name}(_FILE)?=", content)
    ]


def main(target: Path) -> int:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        content = target.read_text()
        if lines := missing(content):
            end = "" if not content or content.endswith("\n") else "\n"
            with target.open("a") as file:
                file.write(end + "".join(f"{line}\n" for line in lines))
            names = ", ".join(line.partition("=")[0] for line in lines)
            print(f"{target.name} was there already; added what it lacked, with a new random secret: {names}")
            return 0
        print(f"{target.name} is there already and stays as it is; remove it first for new secrets")
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(filled(EXAMPLE.read_text()))
    print(f"Wrote {target.name} (readable by you alone) with new random secrets")
    return 0


if __name__ == "__main__":
    sys.exit(main(PROJECT / ".env"))
