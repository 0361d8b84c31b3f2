"""`python -m tests.compose [--report]`: the round, step by step with its seconds.

COMPOSE_FILE names other files than docker-compose.yml, as for compose itself: with
`COMPOSE_FILE=docker-compose.yml:deploy/compose.embedded-s3.yml` no image of SeaweedFS is needed. Nothing of
another project on the engine is touched. `--report` writes seconds and sizes into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import report
from tests.compose.engine import EngineFailed, versions
from tests.compose.smoke import Smoke

TITLE = "The deployed form"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compose")
    parser.add_argument("--report", action="store_true", help="write into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    on = report.machine()
    with tempfile.TemporaryDirectory() as folder:
        try:
            engine = versions()
            smoke = Smoke(Path(folder))
            smoke.run()
        except EngineFailed as failed:
            print(failed)
            return 1
    total = sum(smoke.seconds.values())
    print(f"Green in {total:.0f} s ({engine})")
    if options.report:
        steps = [(name, f"{seconds:.1f}") for name, seconds in smoke.seconds.items()]
        images = [(name, f"{size / 1e6:,.0f}") for name, size in smoke.sizes.items()]
        lines = [
            f"{report.today()}, {on}; {engine}. `make smoke-compose`, green.",
            "",
            *report.table(("step", "seconds"), [*steps, ("everything", f"{total:.0f}")]),
            "",
            *report.table(("image", "MB, unpacked"), images),
        ]
        report.section("compose", TITLE, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
