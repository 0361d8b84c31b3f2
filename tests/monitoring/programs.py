"""`python -m tests.monitoring.programs`: see to it that there are Prometheus and promtool.

Those of the machine, or else Debian's, whose package is unpacked into .prometheus and not installed: its
service would start. PROMETHEUS=/path/to/it and PROMTOOL=/path/to/it name others. Where there are none, rules
and dashboards' queries are held to the metrics that there are, and are not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.env import PROJECT

UNPACKED = PROJECT / ".prometheus"
NAMES = ("prometheus", "promtool")
NEEDED = ("apt-get", "dpkg-deb")


def program(name: str) -> str | None:
    """The path of one of NAMES, if it is here."""
    named = os.environ.get(name.upper())
    unpacked = UNPACKED / "usr" / "bin" / name
    return named or shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


def main() -> None:
    if all(program(name) for name in NAMES):
        return
    if not all(shutil.which(tool) for tool in NEEDED):
        print(
            "There is no Prometheus here: alerts and dashboards are compared with the metrics",
            file=sys.stderr,
        )
        return
    print("Fetching Prometheus, which the tests of alerts and dashboards need", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        said = unpack(Path(folder))
    if not all(program(name) for name in NAMES):
        print("Debian's Prometheus could not be had:", *said, sep="\n", file=sys.stderr)


def unpack(folder: Path) -> list[str]:
    """Fetch Debian's package by way of `folder` and unpack it; what the commands said."""
    said = []
    for command in (["apt-get", "-qq", "download", "prometheus"], ["apt-get", "-qq", "update"]) * 2:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said.append(done.stdout)
        if fetched := next(folder.glob("prometheus_*.deb"), None):
            # under another name first: a process beside this one may be looking
            partly = Path(tempfile.mkdtemp(prefix=".prometheus-", dir=PROJECT))
            subprocess.run(["dpkg-deb", "-x", str(fetched), str(partly)], check=True)
            shutil.rmtree(UNPACKED, ignore_errors=True)
            partly.replace(UNPACKED)
            break
    return said


if __name__ == "__main__":
    main()
