"""Signatures in rows, for changing the key that makes them: of candidates and of saved models alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

from shared.db.pool import OLDEST, Connection
from shared.signing import Artifact, Signature

Signed = Literal["candidates", "trained_models"]

_TABLES: dict[Signed, tuple[str, str, str]] = {
    "candidates": ("trainyard.candidates", "model_name", "attempt"),
    "trained_models": ("public.trained_models", "candidate_slug", "candidate_attempt"),
}
"""Table → where its signed fields are that are not called the same."""


async def page(
    c: Connection, signed: Signed, *, after: uuid.UUID | None, limit: int, but_of: str | None = None
) -> list[Any]:
    """Signed rows in the order of their ids, as `artifact` takes them. `but_of`: not those of this key."""
    table, slug, attempt = _TABLES[signed]
    return await c.fetch(
        f"""
        SELECT id, user_id, task_id, {slug} AS slug, {attempt} AS attempt, sha256, hmac, hmac_key_id
        FROM {table}
        WHERE hmac IS NOT NULL AND id > coalesce($1::uuid, {OLDEST})
          AND ($3::text IS NULL OR hmac_key_id <> $3)
        ORDER BY id LIMIT $2
        """,
        after,
        limit,
        but_of,
    )


def artifact(row: Any) -> tuple[Artifact, Signature]:
    """What is signed of a row of `page`, and its signature."""
    signed = Artifact(
        sha256=row["sha256"] or "",
        user_id=row["user_id"],
        task_id=row["task_id"],
        slug=row["slug"],
        attempt=row["attempt"],
    )
    return signed, Signature(key_id=row["hmac_key_id"], mac=row["hmac"])


async def replace(
    c: Connection, signed: Signed, ids: Sequence[uuid.UUID], old: Sequence[bytes], new: Sequence[Signature]
) -> int:
    """Put new signatures in place of `old` ones; how many rows still had theirs."""
    table, _, _ = _TABLES[signed]
    rows = await c.fetch(
        f"""
        UPDATE {table} t SET hmac = s.new, hmac_key_id = s.key_id
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[]) AS s (id, old, new, key_id)
        WHERE t.id = s.id AND t.hmac = s.old RETURNING t.id
        """,
        list(ids),
        list(old),
        [signature.mac for signature in new],
        [signature.key_id for signature in new],
    )
    return len(rows)
