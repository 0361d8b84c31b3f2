"""Which objects the rows of a user need, with the sizes and digests that they have to have.

What is being deleted needs none: a run, a file or an account whose deletion was asked for, a ZIP past its
time. Models in the trash need theirs, since there is a way back.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from msgspec import Struct

from shared.contracts.states import ConversionFormat
from shared.db.pool import Connection
from shared.storage import (
    Store,
    bundle_key,
    dataset_key,
    export_key,
    model_key,
    onnx_key,
    plot_key,
    predictions_key,
    report_key,
    skops_key,
)

Bucket = Literal["datasets", "artifacts", "bundles", "models"]
"""What a bucket is for; what it is called differs from one installation to another."""


class Needed(Struct, frozen=True):
    """An object that a row speaks of. None: what the row does not say."""

    bucket: Bucket
    key: str
    size_bytes: int | None
    sha256: str | None


def bucket_name(store: Store, bucket: Bucket) -> str:
    """What this installation calls it."""
    return str(getattr(store, bucket))


_USERS = """
    SELECT user_id FROM trainyard.files UNION SELECT user_id FROM trainyard.tasks
    UNION SELECT user_id FROM public.trained_models UNION SELECT user_id FROM trainyard.exports
    ORDER BY user_id
"""


async def users(c: Connection) -> list[uuid.UUID]:
    """Everybody who may have objects."""
    return [row["user_id"] for row in await c.fetch(_USERS)]


async def of_user(c: Connection, user_id: uuid.UUID) -> list[Needed]:
    """All that the rows of a user need; nothing where the account is being deleted."""
    if await c.fetchval("SELECT EXISTS (SELECT FROM trainyard.erasures WHERE user_id = $1)", user_id):
        return []
    parts = (_files, _models, _beside_models, _reports, _conversions, _bundles, _exports, _saved)
    return [needed for part in parts async for needed in part(c, user_id)]


_Found = AsyncIterator[Needed]


async def _files(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        "SELECT id, size_bytes, sha256 FROM trainyard.files WHERE user_id = $1 AND deleted_at IS NULL", user
    )
    for row in rows:
        yield Needed("datasets", dataset_key(user, row["id"]), row["size_bytes"], row["sha256"])


async def _models(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        """
        SELECT c.task_id, c.model_name, c.attempt, c.size_bytes, c.sha256
        FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE c.user_id = $1 AND c.status = 'done' AND t.deleted_at IS NULL
        """,
        user,
    )
    for row in rows:
        yield Needed("artifacts", model_key(user, *_attempt(row)), row["size_bytes"], row["sha256"])


async def _beside_models(c: Connection, user: uuid.UUID) -> _Found:
    """Plots, and what a model predicted for rows that it had not seen."""
    rows = await c.fetch(
        """
        SELECT c.task_id, c.model_name, c.attempt, part.kind, part.size_bytes, part.sha256
        FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
        CROSS JOIN LATERAL (
            SELECT p ->> 'kind' AS kind, (p ->> 'size_bytes')::bigint AS size_bytes, p ->> 'sha256' AS sha256
            FROM json_array_elements(coalesce(c.outcome -> 'plots', '[]')) p
            UNION ALL
            SELECT NULL, (p ->> 'size_bytes')::bigint, p ->> 'sha256'
            FROM (SELECT c.outcome -> 'predictions' AS p) kept WHERE json_typeof(p) = 'object'
        ) part
        WHERE c.user_id = $1 AND c.status = 'done' AND t.deleted_at IS NULL
        """,
        user,
    )
    for row in rows:
        place = _attempt(row)
        key = predictions_key(user, *place) if row["kind"] is None else plot_key(user, *place, row["kind"])
        yield Needed("artifacts", key, row["size_bytes"], row["sha256"])


async def _reports(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        """
        SELECT t.id, t.report_attempt, f.key AS name, (f.value ->> 'size_bytes')::bigint AS size_bytes,
            f.value ->> 'sha256' AS sha256
        FROM trainyard.tasks t CROSS JOIN LATERAL json_each(t.report) f
        WHERE t.user_id = $1 AND t.deleted_at IS NULL AND json_typeof(t.report) = 'object'
        """,
        user,
    )
    for row in rows:
        key = report_key(user, row["id"], row["report_attempt"], row["name"])
        yield Needed("artifacts", key, row["size_bytes"], row["sha256"])


async def _conversions(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        """
        SELECT c.task_id, c.model_name, c.attempt, v.attempt AS conversion, v.format, v.size_bytes, v.sha256
        FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
        JOIN trainyard.tasks t ON t.id = c.task_id
        WHERE v.user_id = $1 AND v.status = 'ready' AND t.deleted_at IS NULL
        """,
        user,
    )
    for row in rows:
        key_of = onnx_key if row["format"] == ConversionFormat.ONNX else skops_key
        key = key_of(user, *_attempt(row), row["conversion"])
        yield Needed("artifacts", key, row["size_bytes"], row["sha256"])


async def _bundles(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        """
        SELECT b.task_id, b.attempt, b.size_bytes, b.sha256
        FROM trainyard.bundles b JOIN trainyard.tasks t ON t.id = b.task_id
        WHERE b.user_id = $1 AND b.status = 'ready' AND b.expires_at > now() AND t.deleted_at IS NULL
        """,
        user,
    )
    for row in rows:
        key = bundle_key(user, row["task_id"], row["attempt"])
        yield Needed("bundles", key, row["size_bytes"], row["sha256"])


async def _exports(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        "SELECT attempt, size_bytes, sha256 FROM trainyard.exports"
        " WHERE user_id = $1 AND status = 'ready' AND expires_at > now()",
        user,
    )
    for row in rows:
        yield Needed("bundles", export_key(user, row["attempt"]), row["size_bytes"], row["sha256"])


async def _saved(c: Connection, user: uuid.UUID) -> _Found:
    rows = await c.fetch(
        "SELECT file_path, file_size, sha256 FROM public.trained_models"
        " WHERE user_id = $1 AND status = 'ready' AND file_path IS NOT NULL",
        user,
    )
    for row in rows:
        yield Needed("models", row["file_path"], row["file_size"], row["sha256"])


def _attempt(row: Any) -> tuple[uuid.UUID, str, int]:
    return row["task_id"], row["model_name"], row["attempt"]
