"""`trainyard.conversions`: a model in another format, made once for many askers, gone with its run."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from shared.contracts.states import ConversionFormat
from shared.db.pool import Connection


async def ask(
    c: Connection, task_id: uuid.UUID, slug: str, user_id: uuid.UUID, form: ConversionFormat
) -> Any:
    """Ask for one: a new row, or one that failed for a reason that may pass, turns `building`.
    `candidate_id, format, status, attempt, size_bytes, sha256, types, facts, requires, error, final`, the
    run's `task_type`, and `build`, which says whether a job is to be inserted, in the same transaction; None
    where no such candidate is done."""
    return await c.fetchrow(
        """
        INSERT INTO trainyard.conversions AS v (candidate_id, user_id, format)
        SELECT c.id, c.user_id, $4 FROM trainyard.candidates c
        WHERE c.task_id = $1 AND c.model_name = $2 AND c.user_id = $3 AND c.status = 'done'
        ON CONFLICT (candidate_id, format) DO UPDATE SET
            status = CASE WHEN v.status = 'failed' AND NOT v.final THEN 'building' ELSE v.status END,
            error = CASE WHEN v.status = 'failed' AND NOT v.final THEN NULL ELSE v.error END,
            requested_at = now()
        RETURNING candidate_id, format, status, attempt, size_bytes, sha256, types, facts, requires, error,
            final, status = 'building' AS build,
            (SELECT t.task_type FROM trainyard.tasks t WHERE t.id = $1) AS task_type
        """,
        task_id,
        slug,
        user_id,
        form,
    )


async def get(
    c: Connection, task_id: uuid.UUID, slug: str, user_id: uuid.UUID, form: ConversionFormat
) -> Any:
    """As `ask`, without asking; None where nobody did, or the run is gone."""
    return await c.fetchrow(
        """
        SELECT v.candidate_id, v.format, v.status, v.attempt, v.size_bytes, v.sha256, v.types, v.facts,
            v.requires, v.error, v.final
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE c.task_id = $1 AND c.model_name = $2 AND v.user_id = $3 AND v.format = $4 AND t.deleted_at IS
        NULL """,
        task_id,
        slug,
        user_id,
        form,
    )


async def of_task(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID, form: ConversionFormat) -> list[Any]:
    """Those of a run's models: `model_name, attempt, conversion, status, size_bytes, sha256, crc32, etag,
    facts, requires, error`, where `attempt` is the model's and `conversion` the file's."""
    return await c.fetch(
        """
        SELECT c.model_name, c.attempt, v.attempt AS conversion, v.status, v.size_bytes, v.sha256, v.crc32,
            v.etag, v.facts, v.requires, v.error
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        WHERE c.task_id = $1 AND v.user_id = $2 AND v.format = $3 ORDER BY c.position
        """,
        task_id,
        user_id,
        form,
    )


async def worth_waiting_for(
    c: Connection,
    task_id: uuid.UUID,
    user_id: uuid.UUID,
    form: ConversionFormat,
    *,
    longest_s: float,
    begun_within_s: float,
) -> bool:
    """Whether a run has a model that was asked for in this format `longest_s` ago at most, and that a worker
    converts now, or will take within `begun_within_s` of when it could be taken."""
    return bool(
        await c.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
                JOIN trainyard.jobs j ON j.subject_id = v.candidate_id AND j.kind = $4
                WHERE c.task_id = $1 AND v.user_id = $2 AND v.format = $3 AND v.status = 'building'
                  AND j.created_at > now() - make_interval(secs => $5)
                  AND (j.lease_until > now() OR j.run_after > now() - make_interval(secs => $6)))
            """,
            task_id,
            user_id,
            form,
            "convert_onnx" if form == ConversionFormat.ONNX else "convert",
            longest_s,
            begun_within_s,
        )
    )


# --- what the trainer does ----------------------------------------------------------------------


async def for_work(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID, form: ConversionFormat) -> Any:
    """The candidate that is to be converted, as `candidates.artifact` needs it, and its `outcome`,
    `task_type`, `plan`, `file_id`; None where that is done, or the run is being deleted."""
    return await c.fetchrow(
        """
        SELECT c.id, c.task_id, c.user_id, c.model_name, c.attempt, c.size_bytes, c.sha256, c.hmac,
            c.hmac_key_id, c.outcome, t.task_type, t.plan, t.file_id
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE v.candidate_id = $1 AND v.user_id = $2 AND c.user_id = $2 AND v.format = $3
          AND v.status = 'building' AND c.status = 'done' AND t.deleted_at IS NULL
        """,
        candidate_id,
        user_id,
        form,
    )


async def wanted(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID, form: ConversionFormat) -> bool:
    """Whether it is still to be made."""
    return bool(
        await c.fetchval(
            """
            SELECT true FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
            JOIN trainyard.tasks t ON t.id = c.task_id
            WHERE v.candidate_id = $1 AND v.user_id = $2 AND v.format = $3 AND v.status = 'building'
              AND t.deleted_at IS NULL
            """,
            candidate_id,
            user_id,
            form,
        )
    )


async def ready(
    c: Connection,
    candidate_id: uuid.UUID,
    form: ConversionFormat,
    attempt: int,
    *,
    size_bytes: int,
    sha256: str,
    requires: Sequence[str],
    types: Sequence[str] | None,
    facts: Any,
    crc32: int | None = None,
    etag: str | None = None,
) -> None:
    """building → ready: the object of this attempt is whole and verified. `types` of a .skops, `facts` of a
    graph; None of the other."""
    await c.execute(
        """
        UPDATE trainyard.conversions SET status = 'ready', attempt = $3, size_bytes = $4, sha256 = $5,
            requires = $6, types = $7, facts = $8, crc32 = $9, etag = $10, error = NULL
        WHERE candidate_id = $1 AND format = $2 AND status = 'building'
        """,
        candidate_id,
        form,
        attempt,
        size_bytes,
        sha256,
        list(requires),
        None if types is None else list(types),
        facts,
        crc32,
        etag,
    )


async def failed(
    c: Connection,
    candidate_id: uuid.UUID,
    user_id: uuid.UUID,
    form: ConversionFormat,
    attempt: int,
    error: str,
    *,
    final: bool,
) -> None:
    """building → failed, keeping the attempt: no key of an object is ever used twice."""
    await c.execute(
        """
        UPDATE trainyard.conversions SET status = 'failed', attempt = $4, error = $5, final = $6
        WHERE candidate_id = $1 AND user_id = $2 AND format = $3 AND status = 'building'
        """,
        candidate_id,
        user_id,
        form,
        attempt,
        error,
        final,
    )
