"""From a bare machine to a leaderboard: `make demo` in a fresh clone, installs and all, and once more when
everything is there. It installs a .venv of its own, so it needs the network, or pip's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from deploy.processes import PROJECT
from tests.bench import report

TITLE = "From a bare machine to a leaderboard"
LONG = True
NOT_ITS_OWN = ("MAKE", "MFLAGS", "VIRTUAL_ENV", "BENCH")
"""Variables in which this make and this virtual environment speak of themselves."""
WARM_ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)


def measure() -> list[str]:
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
        clone = Path(folder, "trainyard")
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", PROJECT.as_uri(), str(clone)], check=True)
        cold = _demo(clone)
        warm = [_demo(clone) for _ in range(WARM_ROUNDS)]
        size = sum(path.lstat().st_size for path in (clone / ".venv").rglob("*") if not path.is_symlink())
    rows = [
        ("a fresh clone, `.venv` and dashboard made", f"{cold:.0f} s", "<= 180 s"),
        ("again, data and all", f"{report.percentile(warm, 0.5):.1f} s", "<= 30 s"),
    ]
    return [
        *report.table(("`make demo`", "took", "goal"), rows),
        "",
        f"The second line is the median of {len(warm)} ({min(warm):.1f} to {max(warm):.1f} s). `.venv` takes"
        f" {size / 1e9:.1f} GB.",
    ]


def _demo(clone: Path) -> float:
    """Seconds, the stack's end included."""
    began = time.monotonic()
    subprocess.run(
        ["make", "demo"],
        cwd=clone,
        env={k: v for k, v in os.environ.items() if not k.startswith(NOT_ITS_OWN)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    took = time.monotonic() - began
    shutil.rmtree(clone / "demo-output")
    return took


if __name__ == "__main__":
    print("\n".join(measure()))
