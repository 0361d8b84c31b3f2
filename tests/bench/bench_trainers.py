"""One run over more trainers of one slot each: eight equal fits, from the first's begin to the last's end.

Fits that compute share the machine's cores with everything else, so they are divided among as many trainers
as there are cores at most. Fits that only wait show what the fleet itself makes of more trainers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import asyncpg

from tests.bench import product, report
from tests.bench.product import Product
from tests.bench.report import Figure
from tests.bench.runs import BUDGET_S, ended, fitted
from tests.bench.work import fits, steps
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "One run over more trainers"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
ROWS = int(os.environ.get("BENCH_ROWS") or 6_000)
CORES = os.cpu_count() or 1
FLEETS = {"equal": [n for n in (1, 2, 4) if n <= CORES], "waiting": [1, 2, 4]}
WORDS = {
    "equal": "fits that compute, one core each",
    "waiting": f"fits that wait {steps.WAITING_S:g} s",
}


def measure() -> list[str]:
    with product.running("api", TRAINER_SLOTS="1") as stack:
        return report.ratios(asyncio.run(_measure(stack)))


async def _measure(stack: Product) -> list[Figure]:
    person = Person(stack.url, "trainers@example.org")
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        content = fits.table(ROWS).to_csv(index=False).encode()
        file_id = person.upload(Table("table.csv", content))["file_id"]
        took: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for kind, sizes in FLEETS.items():
                for size in sizes:
                    seconds = await _of(stack, owner, person, file_id, kind, size)
                    took.setdefault((kind, size), []).append(seconds)
        return [
            _figure(kind, size, took[kind, size], took[kind, 1])
            for kind, sizes in FLEETS.items()
            for size in sizes
            if size > 1
        ]
    finally:
        person.close()
        await owner.close()


async def _of(
    stack: Product, owner: asyncpg.Connection, person: Person, file_id: str, kind: str, size: int
) -> float:
    """Seconds of one run with a fleet of this size, whose trainers have the table already."""
    names = [f"trainer-{number}" for number in range(1, size + 1)]
    # a cache of each one's own, as on machines of their own
    for name in names:
        cache = str(stack.directory / name)
        stack.start(name, module=["tests.bench.work.trainer", kind], TRAINER_CACHE_DIR=cache)
    try:
        assert person.profile(file_id).status_code == 200
        for models in (fits.EQUAL[:size], fits.EQUAL):  # the first run brings the table to every trainer
            answer = person.train(file_id, fits.TARGET, models=list(models), time_budget_s=BUDGET_S)
            ended(person, answer["task_id"])
        return (await fitted(owner, answer["task_id"])).window_s
    finally:
        stack.stop(*names)


def _figure(kind: str, size: int, took: Sequence[float], alone: Sequence[float]) -> Figure:
    ratios = [one / many / size for many, one in zip(took, alone, strict=True)]
    return Figure(
        what=f"speed of {size} trainers over {size} times that of one",
        ours=f"{report.percentile(took, 0.5):.1f} s",
        anchor=f"{report.percentile(alone, 0.5):.1f} s, one trainer",
        ratio=report.percentile(ratios, 0.5),
        spread=(min(ratios), max(ratios)),
        goal=">= 0.9",
        note=WORDS[kind],
    )


if __name__ == "__main__":
    print("\n".join(measure()))
