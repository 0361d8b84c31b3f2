"""`public.trained_models`: the registry, with the guide's columns by the guide's names."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec
from msgspec import UNSET

from shared.contracts.registry import Model, ModelPatch, ModelStats
from shared.contracts.states import ModelStatus, TaskType
from shared.db.pool import Connection, without_nulls
from shared.signing import Artifact, Signature

_COLUMNS = """
    id, user_id, file_id, model_name, algorithm, task_type, metrics, file_path, file_size, description,
    tags, status, created_at, updated_at, deleted, task_id, links_issued, transfers, sha256
"""
SORTS = {
    "created_at": "created_at DESC, id DESC",
    "-created_at": "created_at DESC, id DESC",
    "+created_at": "created_at ASC, id ASC",
    "model_name": "lower(model_name) ASC, id DESC",
    "-model_name": "lower(model_name) DESC, id DESC",
    "updated_at": "updated_at DESC, id DESC",
    "file_size": "file_size DESC NULLS LAST, id DESC",
    "links_issued": "links_issued DESC, id DESC",
    "transfers": "transfers DESC, id DESC",
    "downloads": "links_issued + transfers DESC, id DESC",
}
"""What `?sort=` takes; the first is the default."""
SEEKS = {
    "created_at": "(created_at, id) < ($8, $9)",
    "-created_at": "(created_at, id) < ($8, $9)",
    "+created_at": "(created_at, id) > ($8, $9)",
}
"""The orders in which a page may begin after an item: found in the index, however many come before it."""


def _model(row: Any) -> Model:
    return msgspec.convert(without_nulls(row, "sha256"), Model)


async def insert(
    c: Connection,
    *,
    model_id: uuid.UUID,
    user_id: uuid.UUID,
    task_id: uuid.UUID,
    file_id: uuid.UUID | None,
    model_name: str,
    description: str | None,
    tags: list[str],
    slug: str,
    task_type: TaskType,
) -> Model | None:
    """A model in `saving`, of a candidate that is done; None where that candidate is not there."""
    row = await c.fetchrow(
        f"""
        INSERT INTO public.trained_models (id, user_id, file_id, task_id, model_name, description, tags,
            task_type, algorithm, metrics, candidate_slug, candidate_attempt, file_size, status)
        SELECT $1, $2, (SELECT f.id FROM trainyard.files f WHERE f.id = $4), $3, $5, $6, $7, $8,
            c.algorithm,
            coalesce(c.metrics, '{{}}') || jsonb_build_object('cv_mean', c.cv_mean, 'cv_std', c.cv_std),
            c.model_name, c.attempt, c.size_bytes, 'saving'
        FROM trainyard.candidates c
        WHERE c.task_id = $3 AND c.user_id = $2 AND c.model_name = $9 AND c.status = 'done'
        RETURNING {_COLUMNS}
        """,
        model_id,
        user_id,
        task_id,
        file_id,
        model_name,
        description,
        tags,
        task_type,
        slug,
    )
    return _model(row) if row else None


async def get(
    c: Connection, user_id: uuid.UUID, model_id: uuid.UUID, *, deleted: bool = False
) -> Model | None:
    row = await c.fetchrow(
        f"SELECT {_COLUMNS} FROM public.trained_models WHERE id = $1 AND user_id = $2 AND deleted = $3",
        model_id,
        user_id,
        deleted,
    )
    return _model(row) if row else None


async def page(
    c: Connection,
    user_id: uuid.UUID,
    *,
    limit: int,
    offset: int = 0,
    q: str | None = None,
    tag: str | None = None,
    task_type: TaskType | None = None,
    sort: str = "created_at",
    deleted: bool = False,
    after: tuple[dt.datetime, uuid.UUID] | None = None,
) -> list[Model]:
    """`q` is looked for in name, description and algorithm; `sort` is a key of SORTS; `after`, of an item's
    `created_at` and id, goes with a key of SEEKS."""
    pattern = (
        None if q is None else "%" + q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    )
    rows = await c.fetch(
        f"""
        SELECT {_COLUMNS} FROM public.trained_models
        WHERE user_id = $1 AND deleted = $2
          AND ($3::text IS NULL OR model_name ILIKE $3 OR description ILIKE $3 OR algorithm ILIKE $3)
          AND ($4::text IS NULL OR $4 = ANY(tags)) AND ($5::text IS NULL OR task_type = $5)
          AND {SEEKS[sort] if after else "true"}
        ORDER BY {SORTS[sort]} LIMIT $6 OFFSET $7
        """,
        user_id,
        deleted,
        pattern,
        tag,
        task_type,
        limit,
        offset,
        *(after or ()),
    )
    return [_model(row) for row in rows]


async def update(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID, patch: ModelPatch) -> Model | None:
    row = await c.fetchrow(
        f"""
        UPDATE public.trained_models SET
            model_name = CASE WHEN $3 THEN $4 ELSE model_name END,
            description = CASE WHEN $5 THEN $6 ELSE description END,
            tags = CASE WHEN $7 THEN $8::text[] ELSE tags END,
            updated_at = now()
        WHERE id = $1 AND user_id = $2 AND NOT deleted RETURNING {_COLUMNS}
        """,
        model_id,
        user_id,
        patch.model_name is not UNSET,
        None if patch.model_name is UNSET else patch.model_name,
        patch.description is not UNSET,
        None if patch.description is UNSET else patch.description,
        patch.tags is not UNSET,
        None if patch.tags is UNSET else patch.tags,
    )
    return _model(row) if row else None


async def mark_deleted(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID) -> bool:
    """Soft delete: out of the lists, restorable until its file is purged."""
    row = await c.fetchrow(
        "UPDATE public.trained_models SET deleted = true, deleted_at = now(), updated_at = now()"
        " WHERE id = $1 AND user_id = $2 AND NOT deleted RETURNING id",
        model_id,
        user_id,
    )
    return row is not None


async def restore(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID) -> Model | None:
    row = await c.fetchrow(
        f"UPDATE public.trained_models SET deleted = false, deleted_at = NULL, updated_at = now()"
        f" WHERE id = $1 AND user_id = $2 AND deleted RETURNING {_COLUMNS}",
        model_id,
        user_id,
    )
    return _model(row) if row else None


async def count_link(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID) -> None:
    await c.execute(
        "UPDATE public.trained_models SET links_issued = links_issued + 1 WHERE id = $1 AND user_id = $2",
        model_id,
        user_id,
    )


async def count_transfer(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID) -> None:
    await c.execute(
        "UPDATE public.trained_models SET transfers = transfers + 1 WHERE id = $1 AND user_id = $2",
        model_id,
        user_id,
    )


async def stats(c: Connection, user_id: uuid.UUID) -> ModelStats:
    """Over the user's models that are not in the trash."""
    row = await c.fetchrow(
        """
        WITH mine AS (
            SELECT task_type, algorithm, count(*) AS n, sum(links_issued) AS links,
                sum(transfers) AS transfers, sum(file_size) FILTER (WHERE status = 'ready') AS bytes
            FROM public.trained_models WHERE user_id = $1 AND NOT deleted GROUP BY task_type, algorithm
        )
        SELECT coalesce(sum(n), 0)::bigint AS count, coalesce(sum(bytes), 0)::bigint AS bytes,
            coalesce(sum(links), 0)::bigint AS links_issued, coalesce(sum(transfers), 0)::bigint AS transfers,
            (SELECT coalesce(jsonb_object_agg(task_type, n), '{}')
                FROM (SELECT task_type, sum(n) AS n FROM mine GROUP BY 1) g) AS by_task_type,
            (SELECT coalesce(jsonb_object_agg(algorithm, n), '{}')
                FROM (SELECT algorithm, sum(n) AS n FROM mine GROUP BY 1) g) AS by_algorithm
        FROM mine
        """,
        user_id,
    )
    top = await page(c, user_id, limit=5, sort="downloads")
    return ModelStats(**dict(row), most_downloaded=[m for m in top if m.links_issued or m.transfers])


# --- what the packager does ---------------------------------------------------------------------


async def for_work(c: Connection, model_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    """The saving model and the artifact it is made of."""
    return await c.fetchrow(
        """
        SELECT m.id, m.user_id, m.task_id, m.model_name, m.status, m.file_path, m.deleted, m.deleted_at,
            m.candidate_slug, m.candidate_attempt, m.created_at, c.sha256 AS artifact_sha256,
            c.size_bytes AS artifact_size, c.crc32 AS artifact_crc32, c.hmac, c.hmac_key_id
        FROM public.trained_models m LEFT JOIN trainyard.candidates c
            ON c.task_id = m.task_id AND c.user_id = m.user_id AND c.model_name = m.candidate_slug
            AND c.attempt = m.candidate_attempt AND c.status = 'done'
        WHERE m.id = $1 AND m.user_id = $2
        """,
        model_id,
        user_id,
    )


def artifact(row: Any) -> tuple[Artifact, Signature | None]:
    """What is signed of a row of `for_work`, and its candidate's signature. The saved copy keeps both."""
    signed = Artifact(
        sha256=row["artifact_sha256"],
        user_id=row["user_id"],
        task_id=row["task_id"],
        slug=row["candidate_slug"],
        attempt=row["candidate_attempt"],
    )
    if row["hmac"] is None:
        return signed, None
    return signed, Signature(key_id=row["hmac_key_id"], mac=row["hmac"])


async def origin(c: Connection, user_id: uuid.UUID, model_id: uuid.UUID) -> Any:
    """The candidate that a model was saved of: `task_id, task_type, model_name, attempt, size_bytes, sha256`;
    None where its run is gone."""
    return await c.fetchrow(
        """
        SELECT c.task_id, m.task_type, c.model_name, c.attempt, c.size_bytes, c.sha256
        FROM public.trained_models m
        JOIN trainyard.candidates c ON c.task_id = m.task_id AND c.user_id = m.user_id
            AND c.model_name = m.candidate_slug AND c.attempt = m.candidate_attempt AND c.status = 'done'
        JOIN trainyard.tasks t ON t.id = c.task_id AND t.deleted_at IS NULL
        WHERE m.id = $1 AND m.user_id = $2
        """,
        model_id,
        user_id,
    )


async def ready(
    c: Connection,
    model_id: uuid.UUID,
    *,
    file_path: str,
    file_size: int,
    sha256: str,
    signature: Signature,
    crc32: int | None = None,
    etag: str | None = None,
) -> None:
    """saving → ready."""
    await c.execute(
        """
        UPDATE public.trained_models
        SET status = $5, file_path = $2, file_size = $3, sha256 = $4, hmac = $6, hmac_key_id = $7,
            crc32 = $8, etag = $9, error = NULL, updated_at = now()
        WHERE id = $1 AND status = 'saving'
        """,
        model_id,
        file_path,
        file_size,
        sha256,
        ModelStatus.READY,
        signature.mac,
        signature.key_id,
        crc32,
        etag,
    )


async def failed(c: Connection, model_id: uuid.UUID, user_id: uuid.UUID, error: str) -> None:
    """saving → failed."""
    await c.execute(
        "UPDATE public.trained_models SET status = 'failed', error = $3, updated_at = now()"
        " WHERE id = $1 AND user_id = $2 AND status = 'saving'",
        model_id,
        user_id,
        error,
    )


async def purge_trash(c: Connection, *, older_than_s: float, limit: int = 100) -> list[Any]:
    """Delete for good what was soft-deleted longer ago: `id, user_id, file_path`. Their objects go next."""
    return await c.fetch(
        """
        DELETE FROM public.trained_models WHERE id IN (
            SELECT id FROM public.trained_models
            WHERE deleted AND deleted_at < now() - make_interval(secs => $1) AND status <> 'saving'
            LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING id, user_id, file_path
        """,
        older_than_s,
        limit,
    )


async def saving_from(c: Connection, task_id: uuid.UUID) -> int:
    """Models still being copied out of a task's artifacts: its purge waits for them."""
    count: int = await c.fetchval(
        "SELECT count(*) FROM public.trained_models WHERE task_id = $1 AND status = 'saving'", task_id
    )
    return count
