"""An account as a whole: what it holds, its export (`trainyard.exports`), its end (`trainyard.erasures`)."""

from __future__ import annotations

import uuid
from typing import Any

from shared.contracts.accounts import AuditAction
from shared.db import audit, jobs
from shared.db.jobs import Job
from shared.db.pool import OLDEST, Connection

ROWS_AT_A_TIME = 500
"""How much one statement of an erasure deletes: none may take as long as a command may."""


async def holdings(c: Connection, user_id: uuid.UUID) -> Any:
    """`files, runs, models`: how many there are; models in the trash are."""
    return await c.fetchrow(
        """
        SELECT (SELECT count(*) FROM trainyard.files WHERE user_id = $1 AND deleted_at IS NULL) AS files,
            (SELECT count(*) FROM trainyard.tasks WHERE user_id = $1 AND deleted_at IS NULL) AS runs,
            (SELECT count(*) FROM public.trained_models WHERE user_id = $1) AS models
        """,
        user_id,
    )


# --- export -------------------------------------------------------------------------------------


async def ask_export(c: Connection, user_id: uuid.UUID, ttl_s: float) -> Any:
    """Ask for everything: a new row, or one that failed or expired, turns `building`; one that is ready
    lives on from now. `status, attempt, progress, size_bytes, sha256, error, built_at, expires_at`,
    `asked`, which says whether this call began it, and `build`, whether a job is to be inserted, in the
    same transaction."""
    return await c.fetchrow(
        """
        WITH before AS (
            SELECT status = 'building' OR status = 'ready' AND expires_at > now() AS going
            FROM trainyard.exports WHERE user_id = $1
        ), export AS (
            INSERT INTO trainyard.exports AS e (user_id, attempt) VALUES ($1, extract(epoch FROM now())::int)
            ON CONFLICT (user_id) DO UPDATE SET
                status = CASE WHEN e.status = 'ready' AND e.expires_at > now()
                              THEN 'ready' ELSE 'building' END,
                progress = CASE WHEN e.status = 'ready' AND e.expires_at > now() THEN 1
                                WHEN e.status = 'building' THEN e.progress ELSE 0 END,
                error = NULL,
                requested_at = now(),
                expires_at = CASE WHEN e.status = 'ready' AND e.expires_at > now()
                                  THEN now() + make_interval(secs => $2) END
            RETURNING status, attempt, progress, size_bytes, sha256, error, built_at, expires_at
        )
        SELECT export.*, status = 'building' AS build,
            NOT coalesce((SELECT going FROM before), false) AS asked FROM export
        """,
        user_id,
        ttl_s,
    )


async def get_export(c: Connection, user_id: uuid.UUID) -> Any:
    """The export's row; None where none was asked for or it has expired."""
    return await c.fetchrow(
        """
        SELECT status, attempt, progress, size_bytes, sha256, error, built_at, expires_at
        FROM trainyard.exports WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > now())
        """,
        user_id,
    )


async def drop_export(c: Connection, user_id: uuid.UUID) -> bool:
    """One that is ready is over now; the sweep takes its object away. False where there is none."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.exports SET expires_at = now()
        WHERE user_id = $1 AND status = 'ready' AND expires_at > now() RETURNING user_id
        """,
        user_id,
    )
    return row is not None


async def export_goes_on(c: Connection, user_id: uuid.UUID, share: float) -> bool:
    """Its progress; False where it is not wanted any more, because the account is being deleted."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.exports SET progress = $2 WHERE user_id = $1 AND status = 'building'
          AND NOT EXISTS (SELECT FROM trainyard.erasures e WHERE e.user_id = $1) RETURNING user_id
        """,
        user_id,
        share,
    )
    return row is not None


async def export_ready(
    c: Connection, user_id: uuid.UUID, attempt: int, size_bytes: int, sha256: str | None, ttl_s: float
) -> None:
    """building → ready: the object of this attempt is whole and verified. Its SHA-256 is None where the store
    put it together itself."""
    await c.execute(
        """
        UPDATE trainyard.exports SET status = 'ready', attempt = $2, progress = 1, size_bytes = $3,
            sha256 = $4, error = NULL, built_at = now(), expires_at = now() + make_interval(secs => $5)
        WHERE user_id = $1 AND status = 'building'
        """,
        user_id,
        attempt,
        size_bytes,
        sha256,
        ttl_s,
    )


async def export_failed(c: Connection, user_id: uuid.UUID, attempt: int, error: str) -> None:
    """building → failed, keeping the attempt: no key of an object is ever used twice."""
    await c.execute(
        "UPDATE trainyard.exports SET status = 'failed', error = $3, attempt = $2"
        " WHERE user_id = $1 AND status = 'building'",
        user_id,
        attempt,
        error,
    )


async def expired_exports(c: Connection, *, limit: int = 100) -> list[Any]:
    """Take out exports past their time: `user_id, attempt`. Their objects go next."""
    return await c.fetch(
        """
        DELETE FROM trainyard.exports WHERE user_id IN (
            SELECT user_id FROM trainyard.exports WHERE expires_at <= now() AND status <> 'building'
            LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING user_id, attempt
        """,
        limit,
    )


# --- what an export holds, a page at a time in the order of ids ----------------------------------


async def files(c: Connection, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[Any]:
    """Files that were not deleted, with their profiles and first rows."""
    return await c.fetch(
        f"""
        SELECT f.id, f.name, f.size_bytes, f.sha256, f.crc32, f.etag, f.created_at,
            p.status AS profile_status, p.profile, p.preview, p.error AS profile_error
        FROM trainyard.files f LEFT JOIN trainyard.profiles p ON p.file_id = f.id
        WHERE f.user_id = $1 AND f.deleted_at IS NULL AND f.id > coalesce($2::uuid, {OLDEST})
        ORDER BY f.id LIMIT $3
        """,
        user_id,
        after,
        limit,
    )


async def runs(c: Connection, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[Any]:
    """Runs that were not deleted, whatever their state."""
    return await c.fetch(
        f"""
        SELECT id, user_id, file_id, name, status, stage, message, request, plan, warnings, error, report,
            report_attempt, created_at, started_at, finished_at
        FROM trainyard.tasks
        WHERE user_id = $1 AND deleted_at IS NULL AND id > coalesce($2::uuid, {OLDEST}) ORDER BY id LIMIT $3
        """,
        user_id,
        after,
        limit,
    )


async def conversions(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> list[Any]:
    """Models of a run that are there in other formats too: `model_name, format, attempt, conversion,
    size_bytes, sha256, crc32, etag`."""
    return await c.fetch(
        """
        SELECT c.model_name, v.format, c.attempt, v.attempt AS conversion, v.size_bytes, v.sha256,
            v.crc32, v.etag
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        WHERE c.task_id = $1 AND v.user_id = $2 AND v.status = 'ready' ORDER BY c.position, v.format
        """,
        task_id,
        user_id,
    )


async def saved_models(
    c: Connection, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int
) -> list[Any]:
    """Saved models, those in the trash too: until it is emptied they are there."""
    return await c.fetch(
        f"""
        SELECT id, file_id, task_id, candidate_slug, model_name, algorithm, task_type, metrics, file_path,
            file_size, sha256, crc32, etag, description, tags, status, error, created_at, updated_at, deleted,
            deleted_at, links_issued, transfers
        FROM public.trained_models
        WHERE user_id = $1 AND id > coalesce($2::uuid, {OLDEST}) ORDER BY id LIMIT $3
        """,
        user_id,
        after,
        limit,
    )


async def keys(c: Connection, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[Any]:
    """API keys without what they are checked by."""
    return await c.fetch(
        f"""
        SELECT id, name, prefix, scopes, created_at, expires_at, last_used_at FROM trainyard.api_keys
        WHERE user_id = $1 AND id > coalesce($2::uuid, {OLDEST}) ORDER BY id LIMIT $3
        """,
        user_id,
        after,
        limit,
    )


async def deeds(c: Connection, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[Any]:
    """The audit trail, oldest first."""
    return await c.fetch(
        f"""
        SELECT id, at, action, subject_kind, subject_id, actor, key_id, request_id, detail
        FROM trainyard.audit WHERE user_id = $1 AND id > coalesce($2::uuid, {OLDEST}) ORDER BY id LIMIT $3
        """,
        user_id,
        after,
        limit,
    )


async def export_bytes(c: Connection, user_id: uuid.UUID) -> int:
    """About what an export comes to: for its progress."""
    size: int = await c.fetchval(
        """
        SELECT (SELECT coalesce(sum(size_bytes), 0) FROM trainyard.files
                WHERE user_id = $1 AND deleted_at IS NULL)::bigint
             + (SELECT coalesce(sum(size_bytes), 0) FROM trainyard.candidates WHERE user_id = $1)::bigint
             + (SELECT coalesce(sum(file_size), 0) FROM public.trained_models WHERE user_id = $1)::bigint
        """,
        user_id,
    )
    return size


async def has_key(c: Connection, user_id: uuid.UUID, key_id: uuid.UUID | None) -> bool:
    return bool(
        await c.fetchval(
            "SELECT EXISTS (SELECT FROM trainyard.api_keys WHERE user_id = $1 AND id = $2)", user_id, key_id
        )
    )


# --- erasure ------------------------------------------------------------------------------------


async def is_being_erased(c: Connection, user_id: uuid.UUID) -> bool:
    return bool(
        await c.fetchval("SELECT EXISTS (SELECT FROM trainyard.erasures WHERE user_id = $1)", user_id)
    )


async def lock(c: Connection, user_id: uuid.UUID) -> None:
    """Wait for the requests that are adding to the account now: 0004_account.sql, refuse_erased()."""
    await c.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"account {user_id}")


async def begin_erasure(c: Connection, user_id: uuid.UUID) -> None:
    """Under `lock`, and last in its transaction: from here on nothing can be added to the account."""
    await c.execute(
        "INSERT INTO trainyard.erasures (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING", user_id
    )


async def stop_work(c: Connection, job: Job) -> int:
    """Stop every run of the user and forget all other work; how much of it a worker still holds."""
    held: int = await c.fetchval(
        """
        WITH others AS (
            SELECT id, coalesce(lease_until >= now(), false) AS held FROM trainyard.jobs
            WHERE user_id = $1 AND id <> $2
        ), dropped AS (
            DELETE FROM trainyard.jobs j USING others WHERE j.id = others.id AND NOT others.held
              AND (j.lease_until IS NULL OR j.lease_until < now())
        )
        SELECT count(*) FROM others WHERE held
        """,
        job.user_id,
        job.id,
    )
    # after the jobs, as workers lock them
    await c.execute(
        """
        UPDATE trainyard.tasks SET deleted_at = coalesce(deleted_at, now()), cancel_requested = true
        WHERE user_id = $1 AND (deleted_at IS NULL OR NOT cancel_requested)
        """,
        job.user_id,
    )
    return held


_EMPTIED = (
    ("trainyard.tasks", "id"),  # candidates and bundles go with them
    ("public.trained_models", "id"),
    ("trainyard.files", "id"),  # profiles go with them
    ("trainyard.idempotency_keys", "user_id, route, key"),
    ("trainyard.api_keys", "id"),
    ("trainyard.exports", "user_id"),
    ("trainyard.audit", "id"),
)
"""Tables that an erasure empties of a user, and their keys. A test fails for one that is missing."""


async def delete_rows(c: Connection, user_id: uuid.UUID) -> int:
    """Some hundred of the account's rows; 0 once there are none left."""
    for table, key in _EMPTIED:
        rows = await c.fetch(
            f"""
            DELETE FROM {table} WHERE user_id = $1 AND ({key}) IN (
                SELECT {key} FROM {table} WHERE user_id = $1 LIMIT {ROWS_AT_A_TIME})
            RETURNING 1
            """,
            user_id,
        )
        if rows:
            return len(rows)
    return 0


async def end_erasure(c: Connection, job: Job) -> None:
    """The last rows, the user's own among them where `auth.users` is ours, and the erasure's. What stays is
    one row that says that an account of this id was deleted."""
    while await delete_rows(c, job.user_id):
        pass  # what was written between the last look and this transaction
    await c.execute("SELECT trainyard.forget_user($1)", job.user_id)
    await c.execute("DELETE FROM trainyard.turns WHERE user_id = $1", job.user_id)
    await c.execute("DELETE FROM trainyard.jobs WHERE user_id = $1 AND id <> $2", job.user_id, job.id)
    await audit.insert_by_worker(c, job.user_id, AuditAction.ACCOUNT_DELETED, {})
    await c.execute("DELETE FROM trainyard.erasures WHERE user_id = $1", job.user_id)
    await jobs.done(c, job)
