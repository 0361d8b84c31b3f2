"""`python -m tests.web.chromium`: see to it that there is a Chromium, Debian's where it can be installed.

CHROMIUM=/path/to/it names another. Without one the tests of the dashboard are skipped, and say so;
where CI is set, they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SKIPPED = "There is no Chromium here: the tests of the dashboard are skipped"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str | None:
    """The Chromium of this machine."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


def main() -> None:
    if executable():
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and not shutil.which("sudo")):
        print(SKIPPED, file=sys.stderr)
        return
    print("Installing Chromium, which the tests of the dashboard need", flush=True)
    said = []
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            [*as_root, "apt-get", "-qq", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said.append(done.stdout)
    if not executable():
        print(*said, SKIPPED, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
