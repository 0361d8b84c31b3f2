"""`trainyard.tasks`: one training request each. Every transition names the old state in its WHERE."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.contracts.problems import Notice, Problem
from shared.contracts.states import Stage, TaskStatus, first_uuid7
from shared.contracts.training import Plan, Task, TrainRequest
from shared.db.pool import NEWEST, Connection, claims
from shared.db.task_view import COLUMNS, task_from_row


async def insert(
    c: Connection, *, task_id: uuid.UUID, user_id: uuid.UUID, request: TrainRequest, name: str
) -> bool:
    """False where the file is not there (any more); the check and the insert are one statement."""
    row = await c.fetchrow(
        """
        INSERT INTO trainyard.tasks (id, user_id, file_id, name, request)
        SELECT $1, $2, f.id, $4, $5 FROM trainyard.files f
        WHERE f.id = $3 AND f.user_id = $2 AND f.deleted_at IS NULL
        RETURNING id
        """,
        task_id,
        user_id,
        request.file_id,
        name,
        msgspec.to_builtins(request),
    )
    return row is not None


async def get(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> Task | None:
    """The whole task in one statement that carries its identity itself: no transaction around it.

    LATERAL with LIMIT makes the planner set the identity before the policies read it; a plain join
    may scan the table first, and then finds nothing.
    """
    row = await c.fetchrow(
        f"""
        WITH me AS MATERIALIZED (SELECT set_config('request.jwt.claims', $1, true) AS set)
        SELECT task.* FROM me CROSS JOIN LATERAL (
            SELECT {COLUMNS} FROM trainyard.tasks t
            WHERE me.set IS NOT NULL AND t.id = $2 AND t.user_id = $3 AND t.deleted_at IS NULL LIMIT 1
        ) task
        """,
        claims(user_id),
        task_id,
        user_id,
    )
    return task_from_row(row) if row else None


async def version(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> Any:
    """`version, status` alone: what a conditional or waiting request needs to know."""
    return await c.fetchrow(
        """
        WITH me AS MATERIALIZED (SELECT set_config('request.jwt.claims', $1, true) AS set)
        SELECT task.* FROM me CROSS JOIN LATERAL (
            SELECT t.version, t.status FROM trainyard.tasks t
            WHERE me.set IS NOT NULL AND t.id = $2 AND t.user_id = $3 AND t.deleted_at IS NULL LIMIT 1
        ) task
        """,
        claims(user_id),
        task_id,
        user_id,
    )


async def page(
    c: Connection,
    user_id: uuid.UUID,
    *,
    limit: int,
    before: uuid.UUID | None = None,
    status: TaskStatus | None = None,
) -> list[Task]:
    """Newest first."""
    rows = await c.fetch(
        f"""
        SELECT {COLUMNS} FROM trainyard.tasks t
        WHERE t.user_id = $1 AND t.deleted_at IS NULL
          AND t.id < coalesce($3::uuid, {NEWEST}) AND ($4::text IS NULL OR t.status = $4)
        ORDER BY t.id DESC LIMIT $2
        """,
        user_id,
        limit,
        before,
        status,
    )
    return [task_from_row(row) for row in rows]


async def mark_deleted(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> bool:
    """The run is gone for its user at once; `purge` removes its artifacts and then its rows."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.tasks SET deleted_at = now(), cancel_requested = true
        WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL RETURNING id
        """,
        task_id,
        user_id,
    )
    return row is not None


async def results(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> Any:
    """`status, plan, warnings, request, report, report_attempt, file_id` of a task."""
    return await c.fetchrow(
        "SELECT status, plan, warnings, request, report, report_attempt, file_id FROM trainyard.tasks"
        " WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL",
        task_id,
        user_id,
    )


async def request_cancel(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> TaskStatus | None:
    """queued → cancelled at once; running keeps its status until its work has stopped. The new status;
    None where the task is neither."""
    status = await c.fetchval(
        """
        UPDATE trainyard.tasks SET
            cancel_requested = true,
            status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
            stage = CASE status WHEN 'queued' THEN 'done' ELSE stage END,
            message = CASE status WHEN 'queued' THEN 'Cancelled' ELSE 'Cancelling' END,
            finished_at = CASE status WHEN 'queued' THEN now() END
        WHERE id = $1 AND user_id = $2 AND status IN ('queued', 'running') AND deleted_at IS NULL
        RETURNING status
        """,
        task_id,
        user_id,
    )
    return TaskStatus(status) if status else None


async def request_resume(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> bool:
    """failed or cancelled → queued: it goes on from the candidates already done, with its whole budget."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.tasks SET status = 'queued', stage = 'queued', message = 'Waiting for a trainer',
            cancel_requested = false, error = NULL, started_at = NULL, finished_at = NULL
        WHERE id = $1 AND user_id = $2 AND status IN ('failed', 'cancelled') AND deleted_at IS NULL
        RETURNING id
        """,
        task_id,
        user_id,
    )
    return row is not None


# --- what the workers do ------------------------------------------------------------------------


async def for_work(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    """The row that a job needs; None where it is gone. `deadline_in_s` counts from `started_at`."""
    return await c.fetchrow(
        """
        SELECT id, user_id, file_id, name, status, stage, request, plan, warnings, error, cancel_requested,
            report, report_attempt, created_at, started_at, deleted_at,
            (request ->> 'time_budget_s')::float8
                - extract(epoch FROM now() - started_at)::float8 AS remaining_s
        FROM trainyard.tasks WHERE id = $1 AND user_id = $2
        """,
        task_id,
        user_id,
    )


async def cancelled(c: Connection, task_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of `task_ids` whose work is to stop: cancelled, deleted, or gone."""
    rows = await c.fetch(
        "SELECT id FROM trainyard.tasks WHERE id = ANY($1) AND NOT cancel_requested AND deleted_at IS NULL",
        task_ids,
    )
    return set(task_ids) - {row["id"] for row in rows}


async def begin(c: Connection, task_id: uuid.UUID, stage: Stage, message: str) -> bool:
    """queued → running (a plan taken over finds it running already)."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.tasks
        SET status = 'running', stage = $2, message = $3, started_at = coalesce(started_at, now())
        WHERE id = $1 AND status IN ('queued', 'running') AND NOT cancel_requested RETURNING id
        """,
        task_id,
        stage,
        message,
    )
    return row is not None


async def planned(c: Connection, task_id: uuid.UUID, plan: Plan, warnings: Sequence[Notice]) -> bool:
    """False where it was cancelled meanwhile."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.tasks SET plan = $2, warnings = $3, stage = 'fitting', message = 'Training models'
        WHERE id = $1 AND status = 'running' AND NOT cancel_requested RETURNING id
        """,
        task_id,
        msgspec.to_builtins(plan),
        msgspec.to_builtins(warnings),
    )
    return row is not None


async def goes_on(c: Connection, task_id: uuid.UUID) -> bool:
    """Stage `fitting` for a task that is resumed; False where it was cancelled meanwhile."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.tasks SET stage = 'fitting', message = 'Training the models that are missing'
        WHERE id = $1 AND status = 'running' AND NOT cancel_requested RETURNING id
        """,
        task_id,
    )
    return row is not None


async def lock(c: Connection, task_id: uuid.UUID) -> None:
    """Until the transaction ends no candidate of the task can end beside it."""
    await c.execute("SELECT 1 FROM trainyard.tasks WHERE id = $1 FOR UPDATE", task_id)


async def say(c: Connection, task_id: uuid.UUID, stage: Stage, message: str) -> None:
    await c.execute(
        "UPDATE trainyard.tasks SET stage = $2, message = $3"
        " WHERE id = $1 AND status = 'running' AND (stage, message) IS DISTINCT FROM ($2, $3)",
        task_id,
        stage,
        message,
    )


async def finished(
    c: Connection,
    task_id: uuid.UUID,
    *,
    status: TaskStatus,
    message: str,
    warnings: Sequence[Notice],
    report: dict[str, Any],
    report_attempt: int,
    error: Problem | None = None,
) -> None:
    """running → completed, failed or cancelled, with what was stored as its report."""
    await c.execute(
        """
        UPDATE trainyard.tasks
        SET status = $2, stage = 'done', message = $3, warnings = $4, report = $5, report_attempt = $6,
            error = $7, finished_at = now()
        WHERE id = $1 AND status = 'running'
        """,
        task_id,
        status,
        message,
        msgspec.to_builtins(warnings),
        report,
        report_attempt,
        msgspec.to_builtins(error) if error else None,
    )


async def failed(c: Connection, task_id: uuid.UUID, error: Problem) -> None:
    """queued or running → failed, where there is nothing to hand over."""
    await c.execute(
        """
        UPDATE trainyard.tasks SET status = 'failed', stage = 'done', message = $3, error = $2,
            finished_at = now()
        WHERE id = $1 AND status IN ('queued', 'running')
        """,
        task_id,
        msgspec.to_builtins(error),
        error.detail,
    )


async def cancelled_unplanned(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """running → cancelled, of a task that was cancelled before it had any candidate."""
    await c.execute(
        """
        UPDATE trainyard.tasks SET status = 'cancelled', stage = 'done', message = 'Cancelled',
            finished_at = now()
        WHERE id = $1 AND user_id = $2 AND status = 'running' AND cancel_requested AND plan IS NULL
        """,
        task_id,
        user_id,
    )


async def expired(c: Connection, *, older_than_s: float, limit: int = 500) -> list[Any]:
    """Delete runs that ended longer ago, as their owners would: `id, user_id`. `purge` does the rest.

    Ids are in the order of time, so the oldest are found first; what is deleted soon leaves the table."""
    return await c.fetch(
        """
        UPDATE trainyard.tasks SET deleted_at = now(), cancel_requested = true
        WHERE id IN (
            SELECT id FROM trainyard.tasks
            WHERE id < $2 AND deleted_at IS NULL AND status IN ('completed', 'failed', 'cancelled')
              AND finished_at < now() - make_interval(secs => $1)
            ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING id, user_id
        """,
        older_than_s,
        first_uuid7(time.time() - older_than_s),
        limit,
    )


async def delete_row(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """After its objects are gone; candidates and bundle go with it."""
    await c.execute(
        "DELETE FROM trainyard.tasks WHERE id = $1 AND user_id = $2 AND deleted_at IS NOT NULL",
        task_id,
        user_id,
    )
