"""Who holds which work, and how long it takes until another worker has it."""

from __future__ import annotations

from typing import Any

from tests.chaos.fleet import Fleet, wait_for

SESSIONS = """
SELECT pid, application_name, state, wait_event, now() - xact_start AS age, pg_blocking_pids(pid), query
FROM pg_stat_activity WHERE application_name LIKE 'trainyard-%' AND state <> 'idle'
"""


def held_by(fleet: Fleet, name: str) -> list[Any]:
    """Jobs that the present process of a worker holds: `kind, subject_id, attempt`."""
    return fleet.back.rows(
        "SELECT kind, subject_id, attempt FROM trainyard.jobs WHERE owner = $1 AND lease_until > now()",
        fleet.owner(name),
    )


def holder(fleet: Fleet, kind: str) -> str | None:
    """The name of the worker that holds a job of this kind."""
    owner = fleet.back.value(
        "SELECT owner FROM trainyard.jobs WHERE kind = $1 AND lease_until > now() LIMIT 1", kind
    )
    return str(owner).partition(".")[0] if owner else None


def taken_over(fleet: Fleet, held: list[Any], at: float) -> list[float]:
    """Seconds from `at` until each job of `held` was claimed anew; of work that had ended there is none."""
    took = []
    for job in held:
        try:
            wait_for(
                lambda job=job: _next_claim(fleet, job) or _is_gone(fleet, job),
                f"{job['kind']} is taken over",
            )
        except AssertionError as error:
            error.add_note("\n".join(map(str, fleet.back.rows(SESSIONS))))
            raise
        if claimed := _next_claim(fleet, job):
            took.append(claimed - at)
    return took


def _next_claim(fleet: Fleet, job: Any) -> Any:
    return fleet.back.value(
        "SELECT extract(epoch FROM at)::float8 FROM chaos.claims"
        " WHERE kind = $1 AND subject_id = $2 AND attempt > $3 ORDER BY attempt LIMIT 1",
        job["kind"],
        job["subject_id"],
        job["attempt"],
    )


def _is_gone(fleet: Fleet, job: Any) -> bool:
    return not fleet.back.rows(
        "SELECT id FROM trainyard.jobs WHERE kind = $1 AND subject_id = $2", job["kind"], job["subject_id"]
    )
