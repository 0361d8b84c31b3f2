"""Runs of the product, however long they take, and what the database knows of their fits."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
from msgspec import Struct

from tests.e2e.person import TERMINAL, Person

BUDGET_S = 3600
"""Never what ends a run here."""

_FITTED = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 AS window_s,
    extract(epoch FROM sum(finished_at - started_at))::float8 AS busy_s
FROM trainyard.candidates WHERE task_id = $1
"""


class Fitted(Struct, frozen=True):
    """Seconds from the first fit's begin to the last one's end, and of all fits together."""

    window_s: float
    busy_s: float


def ended(person: Person, task_id: str) -> dict[str, Any]:
    """The task at its end, told by long polls. Raises RuntimeError unless all its models are done."""
    etag = ""
    while True:
        headers = {"If-None-Match": etag} if etag else {}
        answer = person.http.get(f"/ml/status/{task_id}", params={"wait": 20}, headers=headers)
        if answer.status_code != 304:
            answer.raise_for_status()
            etag, task = answer.headers["ETag"], dict(answer.json())
            if task["status"] in TERMINAL:
                break
    undone = [c["reason"] for c in task["candidates"] if c["status"] != "done"]
    if task["status"] != "completed" or undone:
        raise RuntimeError(f"the run {task['status']}: {undone or task['message']}")
    return task


async def fitted(owner: asyncpg.Connection, task_id: str) -> Fitted:
    row = await owner.fetchrow(_FITTED, uuid.UUID(task_id))
    return Fitted(**row)
