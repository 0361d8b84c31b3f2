"""The commands of docs/operations.md, run as they stand there.

    python -m tests.runbook compose        on a deployment of docker-compose.yml that is up

A block that follows `<!-- run: local -->` or `<!-- run: compose -->` is run by `sh -eu`, in order;
`<!-- says: … -->` after it is looked for in what it said.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.env import PROJECT

RUNBOOK = PROJECT / "docs" / "operations.md"
_BLOCK = re.compile(r"<!-- run: (\w+) -->\n```sh\n(.*?)```\n((?:<!-- says: .*? -->\n)*)", re.DOTALL)
_SAYS = re.compile(r"<!-- says: (.*?) -->")


class Block(NamedTuple):
    on: str
    commands: str
    says: list[str]

    def run(self, environ: Mapping[str, str]) -> str:
        """What it said. Raises AssertionError where a command fails, or it did not say what it should."""
        done = subprocess.run(
            ["sh", "-eux", "-c", self.commands],
            cwd=PROJECT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}:\n{self.commands}\n{done.stdout}"
        for said in self.says:
            assert said in done.stdout, f"{said!r} was not said by\n{self.commands}\n{done.stdout}"
        return done.stdout


def blocks(on: str) -> list[Block]:
    """Those that are run on this kind of stack, in order."""
    found = [
        Block(kind, commands, _SAYS.findall(said))
        for kind, commands, said in _BLOCK.findall(RUNBOOK.read_text())
    ]
    return [block for block in found if block.on == on]


def main(on: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        environ = dict(os.environ) | {"BACKUPS": str(Path(folder, "backups"))}
        for block in blocks(on):
            print(block.run(environ), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
