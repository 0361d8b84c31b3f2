"""What must hold after every fault: nothing lost, nothing twice, and what is recorded as stored is there."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from typing import Any

from shared.storage import model_key, plot_key, predictions_key, report_key
from tests.chaos.fleet import Fleet
from tests.e2e.person import TERMINAL

PATIENCE_S = 240.0


def end_of(fleet: Fleet, task_id: str, timeout_s: float = PATIENCE_S) -> str:
    """The task's status once it has ended, as the database has it; "lost" where it never does."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        status = fleet.back.value("SELECT status FROM trainyard.tasks WHERE id = $1", uuid.UUID(task_id))
        if status in TERMINAL:
            return str(status)
        time.sleep(0.05)
    return "lost"


def candidates(fleet: Fleet, task_id: str) -> dict[str, Any]:
    """model name → its row."""
    rows = fleet.back.rows("SELECT * FROM trainyard.candidates WHERE task_id = $1", uuid.UUID(task_id))
    return {row["model_name"]: row for row in rows}


def doubled(fleet: Fleet, task_id: str, leaderboard: list[dict[str, Any]]) -> int:
    """Candidates that were done more than once, or stand more than once in the leaderboard."""
    ends = fleet.back.rows(
        "SELECT candidate_id FROM chaos.ends WHERE task_id = $1 AND status = 'done'", uuid.UUID(task_id)
    )
    times = Counter(row["candidate_id"] for row in ends)
    names = Counter(row["model_name"] for row in leaderboard)
    return sum(n > 1 for n in times.values()) + sum(n > 1 for n in names.values())


def missing_objects(fleet: Fleet, task_id: str) -> list[str]:
    """Keys of what the database says is stored, and the store does not hold with that very content."""
    back, wrong = fleet.back, []
    task = back.rows("SELECT * FROM trainyard.tasks WHERE id = $1", uuid.UUID(task_id))[0]
    user, expected = task["user_id"], {}
    for row in candidates(fleet, task_id).values():
        if row["status"] != "done":
            continue
        place = (user, task_id, row["model_name"], row["attempt"])
        expected[model_key(*place)] = row["sha256"]
        outcome = _json(row["outcome"])
        for plot in outcome["plots"]:
            expected[plot_key(*place, plot["kind"])] = plot["sha256"]
        if kept := outcome.get("predictions"):
            expected[predictions_key(*place)] = kept["sha256"]
    for name, stored in (_json(task["report"]) or {}).items():
        expected[report_key(user, task_id, task["report_attempt"], name)] = stored["sha256"]
    for key, sha256 in expected.items():
        try:
            found = back.sha256("artifacts", key)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not there
            found = repr(error)
        if found != sha256:
            wrong.append(f"{key}: {found}")
    return wrong


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def left_over_jobs(fleet: Fleet, task_id: str) -> int:
    """Jobs that still stand although the task has ended."""
    return int(
        fleet.back.value(
            "SELECT count(*) FROM trainyard.jobs WHERE subject_id = $1"
            " OR subject_id IN (SELECT id FROM trainyard.candidates WHERE task_id = $1)",
            uuid.UUID(task_id),
        )
    )
