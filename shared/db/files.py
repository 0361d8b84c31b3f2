"""`trainyard.files` and the profile made of each."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from shared.contracts.files import File
from shared.db.pool import NEWEST, Connection, without_nulls

_COLUMNS = """f.id AS file_id, f.name, f.size_bytes, f.sha256, f.created_at, p.rows, p.columns, p.error,
    CASE p.status WHEN 'queued' THEN 'profiling' ELSE p.status END AS status"""
_FROM = "trainyard.files f LEFT JOIN trainyard.profiles p ON p.file_id = f.id"


def _file(row: Any) -> File:
    return msgspec.convert(without_nulls(row, "rows", "columns", "status", "error"), File)


async def insert(
    c: Connection,
    *,
    file_id: uuid.UUID,
    user_id: uuid.UUID,
    name: str,
    size_bytes: int,
    sha256: str,
    crc32: int | None = None,
    etag: str | None = None,
) -> None:
    """Record an upload whose bytes are in the store, and that its profile is to be made."""
    await c.execute(
        """
        WITH file AS (
            INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256, crc32, etag)
            VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, user_id
        )
        INSERT INTO trainyard.profiles (file_id, user_id) SELECT id, user_id FROM file
        """,
        file_id,
        user_id,
        name,
        size_bytes,
        sha256,
        crc32,
        etag,
    )


async def get(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> File | None:
    row = await c.fetchrow(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE f.id = $1 AND f.user_id = $2 AND f.deleted_at IS NULL",
        file_id,
        user_id,
    )
    return _file(row) if row else None


async def page(
    c: Connection, user_id: uuid.UUID, *, limit: int, before: uuid.UUID | None = None
) -> list[File]:
    """Newest first; `before` is the last id of the page before."""
    rows = await c.fetch(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE f.user_id = $1 AND f.deleted_at IS NULL"
        f" AND f.id < coalesce($3::uuid, {NEWEST}) ORDER BY f.id DESC LIMIT $2",
        user_id,
        limit,
        before,
    )
    return [_file(row) for row in rows]


async def hold(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> bool:
    """Keep a file from being deleted until the transaction ends; False where it is not there."""
    row = await c.fetchrow(
        "SELECT id FROM trainyard.files WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL FOR SHARE",
        file_id,
        user_id,
    )
    return row is not None


async def lock(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> None:
    """Wait for those who hold it, before `mark_deleted` looks for tasks that read it: one statement would
    look with the eyes of before it waited."""
    await c.execute("SELECT FROM trainyard.files WHERE id = $1 AND user_id = $2 FOR UPDATE", file_id, user_id)


async def mark_deleted(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> bool:
    """False where there is no such file, or a task that is queued or running reads it."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.files f SET deleted_at = now()
        WHERE f.id = $1 AND f.user_id = $2 AND f.deleted_at IS NULL AND NOT EXISTS (
            SELECT FROM trainyard.tasks t
            WHERE t.file_id = f.id AND t.status IN ('queued', 'running') AND t.deleted_at IS NULL)
        RETURNING f.id
        """,
        file_id,
        user_id,
    )
    return row is not None


async def profile(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> Any:
    """`status, profile, error` of a file that is there."""
    return await c.fetchrow(
        """
        SELECT p.status, p.profile, p.error FROM trainyard.profiles p
        JOIN trainyard.files f ON f.id = p.file_id
        WHERE p.file_id = $1 AND p.user_id = $2 AND f.deleted_at IS NULL
        """,
        file_id,
        user_id,
    )


async def for_work(c: Connection, file_id: uuid.UUID, user_id: uuid.UUID) -> Any:
    """What a worker needs to read the table: `name, sha256, size_bytes`, the profile's `status,
    profile, error`. The job's user must be the file's."""
    return await c.fetchrow(
        """
        SELECT f.id, f.user_id, f.name, f.sha256, f.size_bytes, f.deleted_at, p.status, p.profile, p.error
        FROM trainyard.files f JOIN trainyard.profiles p ON p.file_id = f.id
        WHERE f.id = $1 AND f.user_id = $2
        """,
        file_id,
        user_id,
    )


async def preview(c: Connection, user_id: uuid.UUID, file_id: uuid.UUID) -> Any:
    """`status, preview, error` of a file that is there."""
    return await c.fetchrow(
        """
        SELECT p.status, p.preview, p.error FROM trainyard.profiles p
        JOIN trainyard.files f ON f.id = p.file_id
        WHERE p.file_id = $1 AND p.user_id = $2 AND f.deleted_at IS NULL
        """,
        file_id,
        user_id,
    )


async def profile_ready(
    c: Connection, file_id: uuid.UUID, profile: Any, rows: int, columns: int, preview: Any = None
) -> None:
    await c.execute(
        "UPDATE trainyard.profiles SET status = 'ready', profile = $2, rows = $3, columns = $4,"
        " preview = $5, error = NULL, updated_at = now() WHERE file_id = $1",
        file_id,
        profile,
        rows,
        columns,
        preview,
    )


async def profile_failed(c: Connection, file_id: uuid.UUID, user_id: uuid.UUID, error: str) -> None:
    await c.execute(
        "UPDATE trainyard.profiles SET status = 'failed', error = $3, updated_at = now()"
        " WHERE file_id = $1 AND user_id = $2 AND status = 'queued'",
        file_id,
        user_id,
        error,
    )


async def delete_row(c: Connection, file_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """After its object is gone. Tasks and saved models outlive it: their `file_id` becomes NULL."""
    await c.execute(
        "DELETE FROM trainyard.files WHERE id = $1 AND user_id = $2 AND deleted_at IS NOT NULL",
        file_id,
        user_id,
    )
