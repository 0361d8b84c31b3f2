"""One competitor on one split of one table: fitted, asked for the held-out rows, scored."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from deploy.demo.client import DemoFailed
from tests.bench import report
from tests.bench.models import environments, processes, scoring
from tests.bench.models.competitors import OURS, Peer
from tests.bench.models.ours import Trainyard
from tests.bench.models.peers.job import Job
from tests.bench.models.processes import StepFailed
from tests.bench.models.results import Result
from tests.bench.models.splits import Split
from tests.bench.models.tables import TABLES, Table

PREDICT_LIMIT_S = 300.0
SHOWN = 300
"""Characters of why it failed."""


class Case(Struct, frozen=True, kw_only=True):
    split: Split
    budget: float
    cores: int

    @property
    def table(self) -> Table:
        return TABLES[self.split.table]

    @property
    def limit(self) -> float:
        """When a competitor is killed, in seconds after its start, imports and predictions included."""
        return 5 * self.budget + 60

    def job(self, out: Path, dates: tuple[str, ...]) -> Job:
        return Job(
            train=str(self.split.train),
            test=str(self.split.test),
            target=self.table.target,
            task=self.table.task,
            metric=self.table.metric,
            dates=list(dates),
            budget=self.budget,
            seed=self.split.seed,
            cores=self.cores,
            out=str(out),
        )

    def result(self, competitor: str, versions: dict[str, str], **measured: Any) -> Result:
        return Result(
            table=self.table.name,
            seed=self.split.seed,
            budget=self.budget,
            competitor=competitor,
            task=self.table.task,
            metric=self.table.metric,
            rows=self.split.rows,
            columns=self.split.columns,
            versions=versions,
            machine=report.machine(),
            date=report.today(),
            train_sha256=self.split.train_sha256,
            **measured,
        )


def peer(case: Case, competitor: Peer) -> Result:
    """What fails is in the result. Raises CalledProcessError where its environment cannot be made."""
    python = environments.python_of(competitor.environment, competitor.requirements)
    versions = environments.versions(python, competitor.versions_of)
    with _folder(case, competitor.name) as out:
        path = _write(case.job(out, case.table.dates), out)
        module = f"tests.bench.models.peers.{competitor.module}"
        try:
            processes.run(python, [module, str(path), *competitor.arguments], home=out, limit=case.limit)
            return case.result(competitor.name, versions, **_scored(case, out))
        except (StepFailed, ValueError) as error:
            return case.result(competitor.name, versions, score=None, seconds=0.0, failed=_short(error))


def ours(case: Case, trainyard: Trainyard, versions: dict[str, str]) -> Result:
    """The pickle is opened by this interpreter in a process of its own, with the table as the file has it."""
    with _folder(case, OURS) as out:
        path = _write(case.job(out, ()), out)
        try:
            trained = trainyard.train(
                case.table, case.split.train, case.budget, case.split.seed, out, case.limit
            )
            step = ["tests.bench.models.peers.pickled", str(path), str(trained.model)]
            processes.run(sys.executable, step, home=out, limit=PREDICT_LIMIT_S)
            measured = _scored(case, out) | {"seconds": round(trained.seconds, 2), "note": trained.note}
            return case.result(OURS, versions, **measured)
        except (DemoFailed, StepFailed, ValueError) as error:
            return case.result(OURS, versions, score=None, seconds=0.0, failed=_short(error))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:SHOWN]


def _scored(case: Case, out: Path) -> dict[str, Any]:
    """What its answer and predictions come to. Raises ValueError for what cannot be scored."""
    answer = json.loads((out / "answer.json").read_text())
    with np.load(out / "predictions.npz", allow_pickle=False) as found:
        classes, values = [str(name) for name in found["classes"]], found["values"]
    scores = scoring.scores(case.table.task, case.split.truth, values, classes, case.split.classes)
    return {
        "score": scores[case.table.metric],
        "scores": {name: round(score, 6) for name, score in scores.items()},
        "seconds": round(answer["seconds"], 2),
        "size_bytes": answer["size_bytes"],
        "predict_ms_per_row": round(answer["predict_ms_per_row"], 4),
        "note": answer["note"],
    }


@contextlib.contextmanager
def _folder(case: Case, competitor: str) -> Iterator[Path]:
    """An empty one. What a competitor said stays there where it failed."""
    out = environments.FOLDER / "runs" / f"{case.table.name}-{case.split.seed}-{competitor}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    yield out
    if not (out / "failed.txt").exists():
        shutil.rmtree(out)


def _write(job: Job, out: Path) -> Path:
    path = out / "job.json"
    path.write_text(json.dumps(asdict(job)))
    return path
