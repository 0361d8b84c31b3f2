"""`python -m tests.bench [name …]`: run every `bench_*.py` (or those named), and write docs/benchmarks.md."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.bench.report import REPORT, Figure, machine, table


def main(names: list[str]) -> int:
    known = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [name for name in known if not names or name.removeprefix("bench_") in names]
    if not chosen:
        print(f"There is no such benchmark; there are {', '.join(n.removeprefix('bench_') for n in known)}")
        return 2
    on = machine()
    figures: list[Figure] = []
    for name in chosen:
        print(f"{name} …", flush=True)
        for figure in importlib.import_module(f"tests.bench.{name}").measure():
            figures.append(figure)
            print(f"  {figure}", flush=True)
    if not names:
        REPORT.write_text(table(figures, on))
        print(f"Written to {REPORT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
