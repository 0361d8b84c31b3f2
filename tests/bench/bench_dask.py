"""One task on one and on two Dask workers of one thread each, in turn: a forest, whose trees are shared out,
and boosters that learn from all rows of a table that the guard of a fit does not hold.

What is compared is one fit on all rows that are learned from, as the leaderboard has it (`fit_seconds`); of a
booster a hundred rounds of it, since a search may ask for a few more or fewer the next time. Where the whole
cluster is one thread, a forest is fitted in the trainer itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pandas as pd

from services.trainer.child_memory import LEAST_BYTES
from services.trainer.cluster import CLIENT_BYTES
from tests import dask_cluster
from tests.bench import product, report
from tests.bench.product import Product
from tests.bench.runs import ended
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "One task on one and on two Dask workers"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 2)
ROWS = int(os.environ.get("BENCH_ROWS") or 60_000)
FOREST_ROWS = 12_000
BUDGET_S = 600
WORKERS = (1, 2)

_FITS = """
SELECT model_name, fit_seconds, outcome->'details' AS details
FROM trainyard.candidates WHERE task_id = $1
"""


def table(rows: int, kinds: int) -> pd.DataFrame:
    """Numbers, and so many categories of 40 kinds, which are wide as a matrix: of ten of them some 5,000 rows
    fit."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 10)), columns=[f"size_{i}" for i in range(10)])
    for i in range(kinds):
        frame[f"kind_{i}"] = np.char.add("k", rng.integers(0, 40, rows).astype(str))
    told = frame["size_0"] + np.sin(3 * frame["size_1"]) + frame["size_2"] * frame["size_3"]
    frame["kind"] = np.where(told + rng.normal(scale=0.5, size=rows) > 0, "yes", "no")
    return frame


def measure() -> list[str]:
    found: dict[tuple[str, int], list[float]] = {}
    told: dict[str, str] = {}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            for name, (seconds, what) in _with(workers).items():
                found.setdefault((name, workers), []).append(seconds)
                told[name] = what
    lines = [
        (
            f"{name}: {what}",
            *(f"{statistics.median(found[name, workers]):.2f} s" for workers in WORKERS),
            _times(found[name, 1], found[name, 2]),
        )
        for name, what in told.items()
    ]
    guard = (LEAST_BYTES + CLIENT_BYTES) // 2**20
    return [
        f"Workers of one thread on one machine. The boosters' table has {ROWS:,} rows, of which a fit's "
        f"guard of {guard} MiB holds a part, and the forest's {FOREST_ROWS:,}, which it holds. How many "
        f"times as fast: the median over {ROUNDS} rounds, with its range.",
        "",
        *report.table(("what", "one worker", "two workers", "times as fast"), lines),
    ]


def _times(one: list[float], two: list[float]) -> str:
    ratios = [a / b for a, b in zip(one, two, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _with(workers: int) -> dict[str, tuple[float, str]]:
    """What was fitted → seconds and what they are of, with so many workers."""
    memory = str(LEAST_BYTES + CLIENT_BYTES)
    with product.running("api", TRAINER_SLOTS="1", TRAINER_MEMORY_BYTES=memory) as stack:
        with dask_cluster.running(Path(stack.directory) / "dask", workers) as cluster:
            cluster.wait()
            stack.start("trainer-1", TRAINER_JOBLIB_BACKEND="dask", DASK_SCHEDULER=cluster.address)
            try:
                return asyncio.run(_fits(stack))
            finally:
                stack.stop("trainer-1")


async def _fits(stack: Product) -> dict[str, tuple[float, str]]:
    person = Person(stack.url, "dask@example.org")
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    try:
        found: dict[str, tuple[float, str]] = {}
        runs = ((FOREST_ROWS, 0, ["random_forest"]), (ROWS, 10, ["xgboost", "lightgbm"]))
        for rows, kinds, models in runs:
            content = table(rows, kinds).to_csv(index=False).encode()
            file_id = person.upload(Table("table.csv", content))["file_id"]
            assert person.profile(file_id).status_code == 200
            answer = person.train(
                file_id, "kind", models=models, time_budget_s=BUDGET_S, cv_folds=2, refit=False
            )
            ended(person, answer["task_id"])
            for row in await owner.fetch(_FITS, uuid.UUID(answer["task_id"])):
                found[row["model_name"]] = _told(row["fit_seconds"], json.loads(row["details"]))
        return found
    finally:
        person.close()
        await owner.close()


def _told(seconds: float, details: dict[str, Any]) -> tuple[float, str]:
    rows = f"{details['rows_fitted']:,} rows"
    if "rounds" not in details:
        return seconds, f"one fit on {rows}"
    return 100 * seconds / details["rounds"], f"100 rounds on {rows}, with preparing and reading them"


if __name__ == "__main__":
    print("\n".join(measure()))
