"""`python -m tests.bench [name …]`: run benchmarks, and write what each found into docs/benchmarks.md.

A benchmark is a module `bench_<name>.py` here. It has `TITLE`, the heading of its section, and `measure()`,
which gives a list of `report.Figure` (ratios) or of Markdown lines. One that takes long says `LONG = True`
and runs only where it is named. BENCH_REPORT names another file to write into.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report


def main(names: Sequence[str]) -> int:
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := sorted(set(names) - set(known)):
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    path = Path(os.environ.get("BENCH_REPORT") or report.REPORT)
    for name in names or known:
        bench = importlib.import_module(f"tests.bench.bench_{name}")
        if not names and getattr(bench, "LONG", False):
            print(f"{name}: takes long; run it with NAME={name}")
            continue
        print(f"{name} …", flush=True)
        on = report.machine()
        found = bench.measure()
        if found and isinstance(found[0], report.Figure):
            found = report.ratios(found)
        print("\n".join(found), flush=True)
        report.section(name, bench.TITLE, [f"{report.today()}, {on}.", "", *found], path=path)
        print(f"Written to {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
