"""What one user has at once, counted in the transaction that adds to it."""

from __future__ import annotations

import uuid

from shared.db.pool import Connection, claims


async def lock(c: Connection, user_id: uuid.UUID) -> None:
    """One transaction of a user at a time counts and adds: two at once would both find room."""
    await c.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"quota {user_id}")


async def queued_tasks(c: Connection, user_id: uuid.UUID) -> int:
    count: int = await c.fetchval(
        "SELECT count(*) FROM trainyard.tasks"
        " WHERE user_id = $1 AND status = 'queued' AND deleted_at IS NULL",
        user_id,
    )
    return count


async def stored_bytes(c: Connection, user_id: uuid.UUID) -> int:
    """Of files and saved models, those in the trash included: their bytes are in the store."""
    size: int = await c.fetchval(
        """
        SELECT (SELECT coalesce(sum(size_bytes), 0) FROM trainyard.files
                WHERE user_id = $1 AND deleted_at IS NULL)::bigint
             + (SELECT coalesce(sum(file_size), 0) FROM public.trained_models WHERE user_id = $1)::bigint
        """,
        user_id,
    )
    return size


async def queue_position(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> int | None:
    """How many runs, of all users and this one included, begin until this one has; None where it waits
    no more. Carries its identity itself, as `tasks.get` does."""
    position: int | None = await c.fetchval(
        """
        WITH me AS MATERIALIZED (SELECT set_config('request.jwt.claims', $1, true) AS set)
        SELECT place.position FROM me CROSS JOIN LATERAL (
            SELECT trainyard.queue_position($2) AS position WHERE me.set IS NOT NULL LIMIT 1
        ) place
        """,
        claims(user_id),
        task_id,
    )
    return position
