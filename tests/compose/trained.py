"""Runs on the deployed product, over HTTP like any other client, and what its database says of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deploy.demo.client import Client, DemoFailed
from tests.compose.engine import Compose

LONG_MODELS = ("random_forest", "extra_trees", "hist_gradient_boosting", "lightgbm")
"""They look for better settings as long as there is time: there is something to kill."""
QUICK_MODELS = ("logistic_regression", "naive_bayes", "k_nearest_neighbors")


BUDGET_S = 600.0
"""Never what ends a run here, however busy the machine."""


class Held(NamedTuple):
    """A fit that a trainer has in hand: `owner` is its container's host name and its process there."""

    candidate: str
    attempt: int
    owner: str

    @property
    def host(self) -> str:
        return self.owner.partition(":")[0]

    @property
    def pid(self) -> int:
        return int(self.owner.partition(":")[2])


def begin(client: Client, file_id: str, target: str, models: Sequence[str]) -> dict[str, Any]:
    request = {"file_id": file_id, "target": target, "models": list(models), "time_budget_s": BUDGET_S}
    return client.train(request)


def ended(client: Client, task: dict[str, Any]) -> dict[str, Any]:
    """The task at its end; raises DemoFailed unless every model is done."""
    for now in client.follow(task):
        task = now
    undone = [c["reason"] for c in task["candidates"] if c["status"] != "done"]
    if task["status"] != "completed" or undone:
        raise DemoFailed(f"the run {task['status']}: {undone or task['message']}")
    return task


def uploaded(client: Client, table: Path) -> str:
    file_id = str(client.upload(table)["file_id"])
    client.profile(file_id)
    return file_id


def held(compose: Compose, task_id: str) -> list[Held]:
    rows = compose.sql(
        "SELECT c.id, j.attempt, j.owner FROM trainyard.jobs j JOIN trainyard.candidates c"
        f" ON c.id = j.subject_id WHERE c.task_id = '{task_id}' AND j.kind = 'fit' AND j.lease_until > now()"
        " AND c.status = 'running'"
    )
    return [Held(candidate, int(attempt), owner) for candidate, attempt, owner in rows]


def taken_over(compose: Compose, had: Sequence[Held], killed: float) -> list[float]:
    """When each fit of a trainer that died at `killed` at the latest was begun again (seconds of the
    database's clock); those that had ended by then are left out. Raises AssertionError for one that a dead
    trainer ended."""
    named = ", ".join(f"'{one.candidate}'" for one in had)
    rows = compose.sql(
        "SELECT attempt, extract(epoch FROM started_at), extract(epoch FROM finished_at)"
        f" FROM trainyard.candidates WHERE id IN ({named})"
    )
    first = max(one.attempt for one in had)
    again = [float(started) for attempt, started, _ in rows if int(attempt) > first]
    ended_late = [row for row in rows if int(row[0]) <= first and float(row[2]) > killed]
    assert not ended_late, f"ended by a trainer that was dead: {ended_late}"
    return again


def fitted_again(compose: Compose, task_ids: Sequence[str]) -> int:
    """Candidates of these runs that were begun more than once."""
    named = ", ".join(f"'{task_id}'" for task_id in task_ids)
    [[count]] = compose.sql(
        f"SELECT count(*) FROM trainyard.candidates WHERE attempt > 1 AND task_id IN ({named})"
    )
    return int(count)


class Runs:
    """Short runs one after another, beside whatever else is done; `ended` holds their ids."""

    def __init__(self, url: str, token: str, file_id: str, target: str) -> None:
        self._client = Client(url, token)
        self._file_id, self._target = file_id, target
        self._over = threading.Event()
        self._failure: Exception | None = None
        self.ended: list[str] = []

    def _go_on(self) -> None:
        try:
            while not self._over.is_set():
                task = begin(self._client, self._file_id, self._target, QUICK_MODELS)
                self.ended.append(ended(self._client, task)["task_id"])
        except Exception as failure:  # noqa: BLE001 - raised where it is waited for
            self._failure = failure

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Raises at the end what made a run fail."""
        working = threading.Thread(target=self._go_on, daemon=True)
        working.start()
        try:
            yield
        finally:
            self._over.set()
            working.join()
            self._client.close()
        if self._failure is not None:
            raise self._failure
