"""Trainyard itself: a local stack of its own, used over HTTP as anyone would use it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from msgspec import Struct

from deploy.demo import stack
from deploy.demo.client import TERMINAL, WAIT_S, Client, DemoFailed, checked, explained
from tests.bench.models.environments import FOLDER
from tests.bench.models.tables import Table

TASK_TYPE = {"binary": "classification", "multiclass": "classification", "regression": "regression"}


class Trained(Struct, frozen=True, kw_only=True):
    """`seconds`: from the POST to the end that the status tells; `model`: `best_model`, downloaded."""

    seconds: float
    model: Path
    note: str


class Trainyard(Struct):
    client: Client

    def train(self, table: Table, train: Path, budget: float, seed: int, into: Path, limit: float) -> Trained:
        """One run on one file, deleted again afterwards. Raises DemoFailed with what the task says, or where
        it has not ended after `limit` seconds."""
        file_id = self.client.upload(train)["file_id"]
        self.client.profile(file_id)
        began = time.perf_counter()
        task = self.client.train(
            {
                "file_id": file_id,
                "target": table.target,
                "task_type": TASK_TYPE[table.task],
                "metric": table.metric,
                "time_budget_s": budget,
                "seed": seed,
            }
        )
        task = self._ended(task["task_id"], began + limit)
        seconds = time.perf_counter() - began
        if task["status"] != "completed":
            error = task.get("error") or {}
            raise DemoFailed(f"{task['status']}: {error.get('detail') or task['message']}")
        task_id, done = task["task_id"], [c for c in task["candidates"] if c["status"] == "done"]
        fetched = self.client.download(f"/ml/download-model/{task_id}/best_model", into)
        for path in (f"/ml/tasks/{task_id}", f"/files/{file_id}"):
            self.client.http.delete(path)
        note = f"{task['best']['label']}, of {len(done)} of {len(task['candidates'])}"
        return Trained(seconds=seconds, model=fetched.path, note=note)

    def _ended(self, task_id: str, deadline: float) -> dict[str, Any]:
        """The task at its end, told by long polls: whatever changes answers at once."""
        etag = ""
        while time.perf_counter() < deadline:
            with explained():
                answer = checked(
                    self.client.http.get(
                        f"/ml/status/{task_id}",
                        params={"wait": WAIT_S},
                        headers={"If-None-Match": etag} if etag else {},
                    )
                )
            if answer.status_code != HTTPStatus.NOT_MODIFIED:
                etag, task = answer.headers["ETag"], dict(answer.json())
                if task["status"] in TERMINAL:
                    return task
        self.client.http.post(f"/ml/cancel/{task_id}")
        raise DemoFailed("it did not end, and was cancelled")


@contextlib.contextmanager
def running() -> Iterator[Trainyard]:
    """A stack with nothing in it, on a free port, gone afterwards."""
    directory = FOLDER / "stack"
    shutil.rmtree(directory, ignore_errors=True)
    with stack.running(directory, None) as (url, _):
        client = Client(url)
        try:
            yield Trainyard(client)
        finally:
            client.close()
    shutil.rmtree(directory, ignore_errors=True)
