"""`python -m tests.bench.scaling`: work out and simulate what docs/scaling.md shows, and write it there.

With options it answers a question instead, e.g. `--rate 0.5 --trainers 8 --slots 2 --models 12 --fit 8`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.bench import report
from tests.bench.queueing import closed_form, waits, workload
from tests.bench.queueing.fleet import Fleet, Simulation
from tests.bench.queueing.tables import TABLES
from tests.bench.queueing.workload import BURST, Shape
from tests.bench.scaling import document, footprint, ladder


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        return write()
    asked = _parser().parse_args(arguments)
    print("\n".join(answer(asked)))
    return 0


def write() -> int:
    """Every table of the document, anew."""
    found = footprint.load()
    document.put("measured", document.measured(found))
    document.put("ladder", report.table(*ladder.ladder(found)))
    document.put("saturation", report.table(*ladder.saturation(found)))
    for table in TABLES:
        rows = []
        for row in table.rows:
            rows.append(row())
            print(*rows[-1], sep="  ", flush=True)
        document.put(table.name, report.table(table.head, rows))
    print(f"Written to {document.PATH}")
    return 0


def answer(asked: argparse.Namespace) -> list[str]:
    """What one fleet makes of one load."""
    shape = Shape(
        models=asked.models,
        ensembles=asked.ensembles,
        fit_s=asked.fit,
        spread=asked.spread,
        budget_s=asked.budget,
    )
    slots = asked.trainers * asked.slots
    runs = workload.even(shape, rate=asked.rate, count=asked.runs, users=asked.users, seed=asked.seed)
    if asked.burst:
        runs = workload.with_burst(runs, shape, size=asked.burst, at=runs[-1].at / 4, seed=asked.seed)
    busy = asked.rate * shape.heavy_s / slots
    served = Simulation(Fleet(trainers=asked.trainers, slots=asked.slots), seed=asked.seed).serve(runs)
    settled = [run for run in waits.settled(served.outcomes) if run.run.user != BURST]
    rows = [
        ("asked for → plan claimed", *map(waits.said, waits.of(settled, lambda run: run.wait_s))),
        (
            "asked for → first model",
            *map(waits.said, waits.of(settled, lambda run: run.first_done_at - run.run.at)),
        ),
        ("asked for → report", *map(waits.said, waits.of(settled, lambda run: run.whole_s))),
    ]
    skipped = sum(run.skipped for run in settled)
    needed = closed_form.servers_for(asked.rate * shape.heavy_s, 1.0, shape.fit_s, 0.95)
    return [
        f"{asked.rate:g} runs a second of {asked.models} models on {asked.trainers} trainers of {asked.slots}"
        f" slots: {busy:.0%} of what they can do.",
        *report.table(("", "p50", "p95", "p99"), rows),
        f"At most {served.deepest:,} jobs waited; {skipped:,} models were skipped for want of time.",
        f"By Erlang C, were jobs independent, {needed:,} slots would keep 95 of 100 from waiting longer than"
        " a second.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make simulate ARGS=", description=__doc__)
    shape = Shape()
    parser.add_argument("--rate", type=float, required=True, help="runs a second")
    parser.add_argument("--trainers", type=int, required=True)
    parser.add_argument("--slots", type=int, default=2, help="of a trainer")
    parser.add_argument("--models", type=int, default=shape.models, help="of a run, ensembles apart")
    parser.add_argument("--ensembles", type=int, default=shape.ensembles)
    parser.add_argument("--fit", type=float, default=shape.fit_s, help="seconds of a fit on average")
    parser.add_argument("--spread", type=float, default=shape.spread, help="their deviation over their mean")
    parser.add_argument("--budget", type=float, default=shape.budget_s, help="time budget of a run, seconds")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--burst", type=int, default=0, help="runs that one user more asks for at once")
    parser.add_argument("--runs", type=int, default=2000, help="that are simulated")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
