"""What the product adds to the fits it is asked for: the same work, done by a plain scikit-learn script
(`work/script.py`) and by a run of the product, in turn.

Ours is everything from `POST /ml/train` to the end that the status tells: plan, leases, child processes,
storing, report. The script's time is from reading its table to its last file, libraries imported and workers
started beforehand, as ours are. Ours' fits are the script's (`work/fits.py`), whose work depends on no clock;
every other step is the product's.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from msgspec import Struct

from deploy.processes import PROJECT
from tests.bench import product, report
from tests.bench.product import Product
from tests.bench.report import compared
from tests.bench.runs import BUDGET_S, Fitted, ended, fitted
from tests.bench.work import fits
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "Orchestration on top of the fits"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
ROWS = int(os.environ.get("BENCH_ROWS") or 10_000)
CORES = os.cpu_count() or 1
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Round(Struct):
    """Seconds: of the whole, of the cores in all, from the first fit's begin to the last one's end, of all
    fits together, of the cores for everything that is not the trainer."""

    seconds: float
    cpu_seconds: float
    window_s: float = 0.0
    busy_s: float = 0.0
    others_s: float = 0.0

    @property
    def cores(self) -> float:
        return self.cpu_seconds / (self.seconds * CORES)

    @property
    def slots(self) -> float:
        return self.busy_s / (self.window_s * CORES)


def measure() -> list[str]:
    with product.running("api") as stack:
        stack.start("trainer-1", module=["tests.bench.work.trainer", "mixed"])
        return _measure(stack)


def _measure(stack: Product) -> list[str]:
    source = stack.directory / "table.csv"
    fits.table(ROWS).to_csv(source, index=False)
    person = Person(stack.url, "orchestration@example.org")
    file_id = person.upload(Table(source.name, source.read_bytes()))["file_id"]
    assert person.profile(file_id).status_code == 200
    # what the first run alone does is done then
    task = person.train(file_id, fits.TARGET, models=["logistic_regression"], time_budget_s=BUDGET_S)
    ended(person, task["task_id"])
    ours, script = [], []
    for _ in range(ROUNDS):
        made, order = _ours(stack, person, file_id)
        ours.append(made)
        script.append(_script(source, stack.directory, order))
    person.close()
    return _lines(ours, script)


def _ours(stack: Product, person: Person, file_id: str) -> tuple[Round, list[str]]:
    trainer, everything = stack.seconds("trainer-1"), stack.seconds()
    began = time.perf_counter()
    task = person.train(file_id, fits.TARGET, models=list(fits.MIXED), time_budget_s=BUDGET_S)
    task = ended(person, task["task_id"])
    seconds = time.perf_counter() - began
    used, all_used = stack.seconds("trainer-1") - trainer, stack.seconds() - everything
    known = asyncio.run(_fitted(stack.env["DATABASE_URL"], task["task_id"]))
    made = Round(seconds, used, known.window_s, known.busy_s, all_used - used)
    return made, [candidate["model_name"] for candidate in task["candidates"]]


async def _fitted(url: str, task_id: str) -> Fitted:
    owner = await asyncpg.connect(url)
    try:
        return await fitted(owner, task_id)
    finally:
        await owner.close()


def _script(source: Path, folder: Path, models: Sequence[str]) -> Round:
    into = folder / "script"
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.work.script", str(source), str(into), *models],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **ONE_THREAD, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Round(**json.loads(done.stdout.splitlines()[-1]))


def _lines(ours: Sequence[Round], script: Sequence[Round]) -> list[str]:
    against = "a plain scikit-learn script"
    figures = [
        compared(
            "wall time, POST to the end",
            [r.seconds for r in ours],
            [r.seconds for r in script],
            say=lambda s: f"{s:.1f} s",
            against=against,
            goal="<= 1.1",
            note=f"{len(fits.MIXED)} models on {ROWS:,} rows",
        ),
        compared(
            "processor time of the fits' processes",
            [r.cpu_seconds for r in ours],
            [r.cpu_seconds for r in script],
            say=lambda s: f"{s:.1f} s",
            against=against,
        ),
        compared(
            "cores used, from the POST to the end",
            [r.cores for r in ours],
            [r.cores for r in script],
            say=lambda share: f"{share:.0%}",
            against=against,
            goal=">= 90% of the cores",
        ),
    ]
    slots = report.percentile([r.slots for r in ours], 0.5)
    others = report.percentile([r.others_s for r in ours], 0.5)
    return [
        *report.ratios(figures),
        "",
        f"From the first fit's begin to the last one's end the trainer's slots were busy {slots:.1%} of the"
        f" time. The API, Postgres, Valkey and the store together took {others:.2f} s of a core a run.",
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
