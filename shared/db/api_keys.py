"""`trainyard.api_keys`: keys by which other services act as a user. Their secrets are never here, only
the SHA-256 of each, which goes in and never out."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from shared.contracts.accounts import ApiKey
from shared.db.pool import NEWEST, Connection, without_nulls

_COLUMNS = "id, name, prefix, scopes, created_at, expires_at, last_used_at"


class Found(Struct, frozen=True):
    """Whom a key acts as, and what it may do."""

    id: uuid.UUID
    user_id: uuid.UUID
    scopes: list[str]
    expires_at: dt.datetime | None


async def find(c: Connection, digest: bytes) -> Found | None:
    """The key with this SHA-256, unless it has expired. Asks as nobody: whose it is comes of it."""
    row = await c.fetchrow("SELECT id, user_id, scopes, expires_at FROM trainyard.find_api_key($1)", digest)
    return Found(**dict(row)) if row else None


async def insert(
    c: Connection,
    *,
    key_id: uuid.UUID,
    user_id: uuid.UUID,
    name: str,
    prefix: str,
    digest: bytes,
    scopes: Sequence[str],
    expires_in_s: int | None,
) -> ApiKey:
    row = await c.fetchrow(
        f"""
        INSERT INTO trainyard.api_keys (id, user_id, name, prefix, secret_sha256, scopes, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
        RETURNING {_COLUMNS}
        """,
        key_id,
        user_id,
        name,
        prefix,
        digest,
        list(scopes),
        expires_in_s,
    )
    return _key(row)


async def page(c: Connection, user_id: uuid.UUID, *, limit: int, before: uuid.UUID | None) -> list[ApiKey]:
    """Newest first."""
    rows = await c.fetch(
        f"""
        SELECT {_COLUMNS} FROM trainyard.api_keys
        WHERE user_id = $1 AND id < coalesce($3::uuid, {NEWEST}) ORDER BY id DESC LIMIT $2
        """,
        user_id,
        limit,
        before,
    )
    return [_key(row) for row in rows]


async def count(c: Connection, user_id: uuid.UUID) -> int:
    found: int = await c.fetchval("SELECT count(*) FROM trainyard.api_keys WHERE user_id = $1", user_id)
    return found


async def delete(c: Connection, user_id: uuid.UUID, key_id: uuid.UUID) -> bool:
    """Whether it was there."""
    row = await c.fetchrow(
        "DELETE FROM trainyard.api_keys WHERE user_id = $1 AND id = $2 RETURNING id", user_id, key_id
    )
    return row is not None


async def delete_expired(c: Connection, user_id: uuid.UUID) -> None:
    """What makes room for the next: so a user never has more rows than may be live."""
    await c.execute("DELETE FROM trainyard.api_keys WHERE user_id = $1 AND expires_at <= now()", user_id)


async def touch(c: Connection, user_id: uuid.UUID, key_id: uuid.UUID, *, every_s: float) -> None:
    """Used just now; written again once `every_s` have gone by, however many processes ask."""
    await c.execute(
        """
        UPDATE trainyard.api_keys SET last_used_at = now() WHERE user_id = $1 AND id = $2
        AND (last_used_at IS NULL OR last_used_at <= now() - make_interval(secs => $3))
        """,
        user_id,
        key_id,
        every_s,
    )


def _key(row: object) -> ApiKey:
    return msgspec.convert(without_nulls(row, "expires_at", "last_used_at"), ApiKey)
