"""`trainyard.bundles`: the ZIP of a task, built once for many askers, gone after a while."""

from __future__ import annotations

import uuid
from typing import Any

from shared.db.pool import Connection


async def ask(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID, ttl_s: float) -> Any:
    """Ask for a bundle: a new row, or one that failed or expired, turns `building`; one that is
    ready lives on from now. `status, attempt, progress, size_bytes, sha256, error, expires_at` and
    `build`, which says whether a job is to be inserted, in the same transaction."""
    return await c.fetchrow(
        """
        INSERT INTO trainyard.bundles AS b (task_id, user_id, attempt)
        VALUES ($1, $2, extract(epoch FROM now())::int)
        ON CONFLICT (task_id) DO UPDATE SET
            status = CASE WHEN b.status = 'ready' AND b.expires_at > now() THEN 'ready' ELSE 'building' END,
            progress = CASE WHEN b.status = 'ready' AND b.expires_at > now() THEN 1
                            WHEN b.status = 'building' THEN b.progress ELSE 0 END,
            error = NULL,
            requested_at = now(),
            expires_at = CASE WHEN b.status = 'ready' AND b.expires_at > now()
                              THEN now() + make_interval(secs => $3) END
        WHERE b.user_id = excluded.user_id
        RETURNING status, attempt, progress, size_bytes, sha256, error, expires_at,
            status = 'building' AS build
        """,
        task_id,
        user_id,
        ttl_s,
    )


async def get(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    """The bundle's row; None where none was asked for or it has expired."""
    return await c.fetchrow(
        """
        SELECT b.status, b.attempt, b.progress, b.size_bytes, b.sha256, b.error, b.expires_at
        FROM trainyard.bundles b JOIN trainyard.tasks t ON t.id = b.task_id
        WHERE b.task_id = $1 AND b.user_id = $2 AND t.deleted_at IS NULL
          AND (b.expires_at IS NULL OR b.expires_at > now())
        """,
        task_id,
        user_id,
    )


async def progress(c: Connection, task_id: uuid.UUID, share: float) -> None:
    await c.execute(
        "UPDATE trainyard.bundles SET progress = $2 WHERE task_id = $1 AND status = 'building'",
        task_id,
        share,
    )


async def packs(c: Connection, task_id: uuid.UUID, report_attempt: int) -> bool | None:
    """Whether the run is still the one whose report `report_attempt` wrote; None while it goes on, or
    where it is gone. Until the transaction ends no resume and no finish comes between."""
    row = await c.fetchrow(
        "SELECT status, report_attempt FROM trainyard.tasks WHERE id = $1 FOR SHARE", task_id
    )
    if row is None or row["status"] in ("queued", "running"):
        return None
    return bool(row["report_attempt"] == report_attempt)


async def ready(
    c: Connection, task_id: uuid.UUID, attempt: int, size_bytes: int, sha256: str | None, ttl_s: float
) -> None:
    """building → ready: the object of this attempt is whole and verified. Its SHA-256 is None where the store
    put it together itself."""
    await c.execute(
        """
        UPDATE trainyard.bundles SET status = 'ready', attempt = $2, progress = 1, size_bytes = $3,
            sha256 = $4, error = NULL, expires_at = now() + make_interval(secs => $5)
        WHERE task_id = $1 AND status = 'building'
        """,
        task_id,
        attempt,
        size_bytes,
        sha256,
        ttl_s,
    )


async def failed(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID, attempt: int, error: str) -> None:
    """building → failed, keeping the attempt: no key of an object is ever used twice."""
    await c.execute(
        """
        UPDATE trainyard.bundles SET status = 'failed', error = $4, attempt = $3
        WHERE task_id = $1 AND user_id = $2 AND status = 'building'
        """,
        task_id,
        user_id,
        attempt,
        error,
    )


async def outdated(c: Connection, task_id: uuid.UUID) -> None:
    """A run that went on has another content: its ZIP is over, and built again when asked for."""
    await c.execute(
        "UPDATE trainyard.bundles SET expires_at = now() WHERE task_id = $1 AND status = 'ready'", task_id
    )


async def expired(c: Connection, *, limit: int = 100) -> list[Any]:
    """Take out bundles past their time: `task_id, user_id, attempt`. Their objects go next, and a
    sweep that dies in between leaves objects without a row, which the orphans' sweep finds."""
    return await c.fetch(
        """
        DELETE FROM trainyard.bundles WHERE task_id IN (
            SELECT task_id FROM trainyard.bundles WHERE expires_at < now() AND status <> 'building'
            LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING task_id, user_id, attempt
        """,
        limit,
    )
