"""`trainyard.conversions`: a model as .skops, made once for many askers, gone with its run."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from shared.db.pool import Connection


async def ask(c: Connection, task_id: uuid.UUID, slug: str, user_id: uuid.UUID) -> Any:
    """Ask for one: a new row, or one that failed for a reason that may pass, turns `building`.
    `candidate_id, status, attempt, size_bytes, sha256, types, requires, error, final` and `build`, which says
    whether a job is to be inserted, in the same transaction; None where no such candidate is done."""
    return await c.fetchrow(
        """
        INSERT INTO trainyard.conversions AS v (candidate_id, user_id)
        SELECT c.id, c.user_id FROM trainyard.candidates c
        WHERE c.task_id = $1 AND c.model_name = $2 AND c.user_id = $3 AND c.status = 'done'
        ON CONFLICT (candidate_id) DO UPDATE SET
            status = CASE WHEN v.status = 'failed' AND NOT v.final THEN 'building' ELSE v.status END,
            error = CASE WHEN v.status = 'failed' AND NOT v.final THEN NULL ELSE v.error END,
            requested_at = now()
        RETURNING candidate_id, status, attempt, size_bytes, sha256, types, requires, error, final,
            status = 'building' AS build
        """,
        task_id,
        slug,
        user_id,
    )


async def get(c: Connection, task_id: uuid.UUID, slug: str, user_id: uuid.UUID) -> Any:
    """As `ask`, without asking; None where nobody did, or the run is gone."""
    return await c.fetchrow(
        """
        SELECT v.candidate_id, v.status, v.attempt, v.size_bytes, v.sha256, v.types, v.requires, v.error,
            v.final
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE c.task_id = $1 AND c.model_name = $2 AND v.user_id = $3 AND t.deleted_at IS NULL
        """,
        task_id,
        slug,
        user_id,
    )


# --- what the trainer does ----------------------------------------------------------------------


async def for_work(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    """The candidate that is to be converted, as `candidates.artifact` needs it, and its `outcome`,
    `task_type`; None where that is done, or the run is being deleted."""
    return await c.fetchrow(
        """
        SELECT c.id, c.task_id, c.user_id, c.model_name, c.attempt, c.size_bytes, c.sha256, c.hmac,
            c.hmac_key_id, c.outcome, t.task_type
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE v.candidate_id = $1 AND v.user_id = $2 AND c.user_id = $2 AND v.status = 'building'
          AND c.status = 'done' AND t.deleted_at IS NULL
        """,
        candidate_id,
        user_id,
    )


async def wanted(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """Whether it is still to be made."""
    return bool(
        await c.fetchval(
            """
            SELECT true FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
            JOIN trainyard.tasks t ON t.id = c.task_id
            WHERE v.candidate_id = $1 AND v.user_id = $2 AND v.status = 'building' AND t.deleted_at IS NULL
            """,
            candidate_id,
            user_id,
        )
    )


async def ready(
    c: Connection,
    candidate_id: uuid.UUID,
    attempt: int,
    *,
    size_bytes: int,
    sha256: str,
    types: Sequence[str],
    requires: Sequence[str],
) -> None:
    """building → ready: the object of this attempt is whole and verified."""
    await c.execute(
        """
        UPDATE trainyard.conversions SET status = 'ready', attempt = $2, size_bytes = $3, sha256 = $4,
            types = $5, requires = $6, error = NULL
        WHERE candidate_id = $1 AND status = 'building'
        """,
        candidate_id,
        attempt,
        size_bytes,
        sha256,
        list(types),
        list(requires),
    )


async def failed(
    c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID, attempt: int, error: str, *, final: bool
) -> None:
    """building → failed, keeping the attempt: no key of an object is ever used twice."""
    await c.execute(
        """
        UPDATE trainyard.conversions SET status = 'failed', attempt = $3, error = $4, final = $5
        WHERE candidate_id = $1 AND user_id = $2 AND status = 'building'
        """,
        candidate_id,
        user_id,
        attempt,
        error,
        final,
    )
