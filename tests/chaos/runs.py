"""Runs of a small table, and what each came to."""

from __future__ import annotations

import httpx

from tests.chaos import audit
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Entry
from tests.e2e.person import Person
from tests.e2e.tables import Table

MODELS = ["logistic_regression", "naive_bayes", "k_nearest_neighbors", "random_forest"]
BUDGET_S = 600.0


def table(rows: int = 60) -> Table:
    """Two classes told apart by one of two numbers."""
    lines = [f"{i % 7},{i % 2 + i / rows},{'ab'[i % 2]}" for i in range(rows)]
    return Table("small.csv", "\n".join(["noise,x,kind", *lines]).encode())


class Runs:
    """The runs of one test."""

    def __init__(self, fleet: Fleet, person: Person) -> None:
        self.fleet = fleet
        self.person = person
        self.tasks: list[str] = []
        self._file: str | None = None

    @property
    def file(self) -> str:
        """Uploaded once, and profiled before anything breaks."""
        if self._file is None:
            self._file = self.person.upload(table())["file_id"]
            assert self.person.profile(self._file).status_code == 200
        return self._file

    def begin(self, models: list[str] = MODELS, budget_s: float = BUDGET_S) -> str:
        """A task that was accepted with 202."""
        answer = self.post(models, budget_s)
        assert answer.status_code == 202, answer.text
        self.tasks.append(answer.json()["task_id"])
        return self.tasks[-1]

    def post(self, models: list[str] = MODELS, budget_s: float = BUDGET_S, key: str = "") -> httpx.Response:
        """The bare request; `key`: its Idempotency-Key, and the run's name."""
        body = {"file_id": self.file, "target": "kind", "models": models, "time_budget_s": budget_s}
        if not key:
            return self.person.http.post("/ml/train", json=body)
        return self.person.http.post("/ml/train", json=body | {"name": key}, headers={"Idempotency-Key": key})

    def running(self, task_id: str) -> int:
        """How many of its candidates are being fitted."""
        return sum(c["status"] == "running" for c in audit.candidates(self.fleet, task_id).values())

    def settle(self, entry: Entry, status: str = "completed") -> None:
        """Every task ends as it should; adds to the entry what was found, and fails where that is not
        nothing."""
        for task_id in self.tasks:
            ended = audit.end_of(self.fleet, task_id)
            entry.tasks += 1
            entry.lost += ended == "lost"
            assert ended == status, f"task {task_id} ended as {ended}: {self.told(task_id)}"
            board = self.person.get(f"/ml/results/{task_id}")["leaderboard"]
            doubled = audit.doubled(self.fleet, task_id, board)
            entry.doubled += doubled
            assert not doubled, f"task {task_id} has candidates twice"
            assert not audit.missing_objects(self.fleet, task_id)
            assert not audit.left_over_jobs(self.fleet, task_id)
        self.tasks.clear()
        assert not self.fleet.died()

    def told(self, task_id: str) -> str:
        """Its candidates, for a failure's message."""
        rows = audit.candidates(self.fleet, task_id).values()
        return "; ".join(
            f"{r['model_name']} {r['status']}, attempt {r['attempt']}: {r['reason']}" for r in rows
        )
