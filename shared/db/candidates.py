"""`trainyard.candidates`: one model of one task."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.contracts.catalogue import ENSEMBLES, ModelChoice
from shared.contracts.results import LeaderboardRow
from shared.contracts.states import CandidateStatus, uuid7
from shared.db.pool import Connection
from shared.signing import Artifact, Signature

# named one by one: what a later version adds must not change what a statement of this one gives
_COLUMNS = """
    id, task_id, user_id, position, model_name, label, algorithm, status, attempt, progress, cv_mean, cv_std,
    metrics, fit_seconds, predict_ms_per_row, size_bytes, sha256, outcome, reason, started_at, finished_at,
    hmac, hmac_key_id, crc32, etag
"""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a task is: how many of its candidates have not ended, ensembles apart (a running caller's own
    included), how many of what ensembles are made of are done, and the `cv_mean` of all that is done."""

    fits: int
    ensembles: int
    done: int
    scores: list[float]


def leaderboard_row(row: Mapping[str, Any]) -> LeaderboardRow:
    """A row of `board` or `of_task` for `shared.leaderboard`; columns it lacks are None."""
    return LeaderboardRow(
        rank=None,
        model_name=row["model_name"],
        label=row["label"],
        algorithm=row.get("algorithm", ""),
        metrics=row.get("metrics") or {},
        cv_mean=row.get("cv_mean"),
        cv_std=row.get("cv_std"),
        fit_seconds=row.get("fit_seconds"),
        predict_ms_per_row=row.get("predict_ms_per_row"),
        size_bytes=row.get("size_bytes"),
        status=CandidateStatus(row["status"]),
        reason=row.get("reason"),
    )


def artifact(row: Mapping[str, Any]) -> tuple[Artifact, Signature | None]:
    """What is signed of a row with `sha256, user_id, task_id, model_name, attempt`, and by whom according to
    its `hmac` and `hmac_key_id`; None for a row from before there were signatures."""
    signed = Artifact(
        sha256=row["sha256"],
        user_id=row["user_id"],
        task_id=row["task_id"],
        slug=row["model_name"],
        attempt=row["attempt"],
    )
    if row["hmac"] is None:
        return signed, None
    return signed, Signature(key_id=row["hmac_key_id"], mac=row["hmac"])


async def insert_all(
    c: Connection, task_id: uuid.UUID, user_id: uuid.UUID, models: Sequence[ModelChoice]
) -> list[uuid.UUID]:
    """One row a model, in the order in which they are to be fitted; a plan made twice adds nothing."""
    rows = await c.fetch(
        """
        INSERT INTO trainyard.candidates (id, task_id, user_id, position, model_name, label, algorithm)
        SELECT m.id, $1, $2, m.position, m.slug, m.label, m.algorithm
        FROM unnest($3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[])
            AS m (id, position, slug, label, algorithm)
        ORDER BY m.position
        ON CONFLICT (task_id, model_name) DO NOTHING
        RETURNING id
        """,
        task_id,
        user_id,
        [uuid7() for _ in models],
        list(range(len(models))),
        [m.model_name for m in models],
        [m.label for m in models],
        [m.algorithm for m in models],
    )
    return [row["id"] for row in rows]


async def begin(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID, attempt: int) -> Any:
    """queued → running under this attempt (or running → running where a dead worker held it)."""
    return await c.fetchrow(
        """
        UPDATE trainyard.candidates
        SET status = 'running', attempt = $3, progress = 0, started_at = now(), finished_at = NULL
        WHERE id = $1 AND user_id = $2 AND status IN ('queued', 'running') AND attempt < $3
        RETURNING id, task_id, user_id, model_name, label, position
        """,
        candidate_id,
        user_id,
        attempt,
    )


async def get(c: Connection, candidate_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    return await c.fetchrow(
        "SELECT id, task_id, user_id, model_name, label, status, attempt FROM trainyard.candidates"
        " WHERE id = $1 AND user_id = $2",
        candidate_id,
        user_id,
    )


async def standing(c: Connection, task_id: uuid.UUID) -> Standing:
    row = await c.fetchrow(
        """
        SELECT count(*) FILTER (WHERE open AND NOT ensemble) AS fits,
            count(*) FILTER (WHERE open AND ensemble) AS ensembles,
            count(*) FILTER (WHERE status = 'done' AND NOT ensemble) AS done,
            coalesce(array_agg(cv_mean) FILTER (WHERE status = 'done' AND cv_mean IS NOT NULL), '{}')
                AS scores
        FROM (
            SELECT status, cv_mean, status IN ('queued', 'running') AS open, model_name = ANY($2) AS ensemble
            FROM trainyard.candidates WHERE task_id = $1
        ) c
        """,
        task_id,
        ENSEMBLES,
    )
    return Standing(**row)


async def waiting(c: Connection, task_id: uuid.UUID) -> list[Any]:
    """Those that have not begun: `id, attempt, model_name` and the task's `created_at, task_type`, in the
    order of the plan."""
    return await c.fetch(
        """
        SELECT c.id, c.attempt, c.model_name, t.created_at, t.task_type
        FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE c.task_id = $1 AND c.status = 'queued' ORDER BY c.position
        """,
        task_id,
    )


async def progress(c: Connection, candidate_id: uuid.UUID, attempt: int, share: float) -> None:
    await c.execute(
        "UPDATE trainyard.candidates SET progress = $3 WHERE id = $1 AND attempt = $2 AND status = 'running'",
        candidate_id,
        attempt,
        share,
    )


async def done(
    c: Connection,
    candidate_id: uuid.UUID,
    attempt: int,
    *,
    cv_mean: float | None,
    cv_std: float | None,
    metrics: dict[str, float | None],
    fit_seconds: float,
    predict_ms_per_row: float,
    size_bytes: int,
    sha256: str,
    signature: Signature,
    outcome: Any,
    crc32: int | None = None,
    etag: str | None = None,
) -> bool:
    """running → done, with the artifact that this attempt stored; False where it is another's by now.

    Or queued → done: it was taken back, and its worker was there again before anybody else began."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.candidates
        SET status = 'done', progress = 1, cv_mean = $3, cv_std = $4, metrics = $5, fit_seconds = $6,
            predict_ms_per_row = $7, size_bytes = $8, sha256 = $9, outcome = $10, hmac = $11,
            hmac_key_id = $12, crc32 = $13, etag = $14, reason = NULL, finished_at = now()
        WHERE id = $1 AND attempt = $2 AND status IN ('running', 'queued') RETURNING id
        """,
        candidate_id,
        attempt,
        cv_mean,
        cv_std,
        metrics,
        fit_seconds,
        predict_ms_per_row,
        size_bytes,
        sha256,
        outcome,
        signature.mac,
        signature.key_id,
        crc32,
        etag,
    )
    return row is not None


async def ended(c: Connection, candidate_id: uuid.UUID, attempt: int, status: str, reason: str) -> None:
    """queued or running → failed or skipped, with the reason its user reads."""
    await c.execute(
        """
        UPDATE trainyard.candidates SET status = $3, reason = $4, finished_at = now()
        WHERE id = $1 AND attempt <= $2 AND status IN ('queued', 'running')
        """,
        candidate_id,
        attempt,
        status,
        reason,
    )


async def skip_queued(c: Connection, task_id: uuid.UUID, reason: str) -> None:
    """queued → skipped for all of a task that have not begun, and their jobs with them."""
    await c.execute(
        """
        WITH gone AS (
            UPDATE trainyard.candidates SET status = 'skipped', reason = $2, finished_at = now()
            WHERE task_id = $1 AND status = 'queued' RETURNING id
        )
        DELETE FROM trainyard.jobs j USING gone WHERE j.kind = 'fit' AND j.subject_id = gone.id
        """,
        task_id,
        reason,
    )


async def take_back(c: Connection) -> list[uuid.UUID]:
    """running → queued where no worker holds the fit any more: handed over, or its lease ran out.
    Their tasks' ids."""
    rows = await c.fetch(
        """
        UPDATE trainyard.candidates SET status = 'queued', progress = 0, started_at = NULL
        FROM trainyard.jobs j
        WHERE j.kind = 'fit' AND j.subject_id = candidates.id AND candidates.status = 'running'
          AND (j.lease_until IS NULL OR j.lease_until < now())
        RETURNING candidates.task_id
        """
    )
    return [row["task_id"] for row in rows]


async def skip_overdue(c: Connection, reason: str) -> list[Any]:
    """queued → skipped where the task's time is over and nobody holds the fit, and their jobs with them:
    `task_id, user_id` of the tasks, and the `request_id, traceparent` that their jobs go back to."""
    rows = await c.fetch(
        """
        WITH late AS (
            SELECT c.id, j.request_id, j.traceparent
            FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
            JOIN trainyard.jobs j ON j.kind = 'fit' AND j.subject_id = c.id
            WHERE c.status = 'queued' AND t.status = 'running'
              AND (j.lease_until IS NULL OR j.lease_until < now())
              AND t.started_at + make_interval(secs => (t.request ->> 'time_budget_s')::float8) < now()
            FOR UPDATE OF j SKIP LOCKED
        ), gone AS (
            DELETE FROM trainyard.jobs j USING late WHERE j.kind = 'fit' AND j.subject_id = late.id
        )
        UPDATE trainyard.candidates c SET status = 'skipped', reason = $1, finished_at = now()
        FROM late WHERE c.id = late.id
        RETURNING c.task_id, c.user_id, late.request_id, late.traceparent
        """,
        reason,
    )
    return list({row["task_id"]: row for row in rows}.values())


async def requeue(c: Connection, task_id: uuid.UUID) -> list[Any]:
    """failed or skipped → queued, for a task that is resumed: `id, attempt, model_name` and the task's
    `task_type`, in the order of the plan."""
    rows = await c.fetch(
        """
        UPDATE trainyard.candidates c SET status = 'queued', progress = 0, reason = NULL, started_at = NULL,
            finished_at = NULL
        FROM trainyard.tasks t WHERE t.id = $1 AND c.task_id = t.id AND c.status IN ('failed', 'skipped')
        RETURNING c.id, c.attempt, c.model_name, c.position, t.task_type
        """,
        task_id,
    )
    return sorted(rows, key=lambda row: row["position"])


async def of_task(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> list[Any]:
    """Every candidate of a task with all its columns, in the order of the plan."""
    return await c.fetch(
        f"SELECT {_COLUMNS} FROM trainyard.candidates WHERE task_id = $1 AND user_id = $2 ORDER BY position",
        task_id,
        user_id,
    )


async def history(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> list[Any]:
    """When each began and ended, the last time it was tried, and how."""
    return await c.fetch(
        """
        SELECT model_name, label, status, attempt, cv_mean, fit_seconds, reason, started_at, finished_at
        FROM trainyard.candidates WHERE task_id = $1 AND user_id = $2 ORDER BY position
        """,
        task_id,
        user_id,
    )


async def board(c: Connection, task_id: uuid.UUID, user_id: uuid.UUID) -> list[Any]:
    """What a leaderboard and a download need of each candidate: `of_task` without the outcome."""
    return await c.fetch(
        """
        SELECT model_name, label, algorithm, status, attempt, metrics, cv_mean, cv_std, fit_seconds,
            predict_ms_per_row, size_bytes, sha256, reason
        FROM trainyard.candidates WHERE task_id = $1 AND user_id = $2 ORDER BY position
        """,
        task_id,
        user_id,
    )
