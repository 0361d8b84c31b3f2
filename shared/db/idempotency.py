"""`trainyard.idempotency_keys`: answers kept for POSTs that are sent again.

A request that is one transaction takes `try_lock`, which ends with the transaction however it ends,
and writes its answer with `keep`: nothing can be left locked. An upload takes longer than a transaction
may: it holds its key's row with `lock`, which ends by itself unless it is renewed.
"""

from __future__ import annotations

import uuid

from msgspec import Struct

from shared.db.pool import Connection


class Key(Struct, frozen=True):
    """`route`: method and path template; `text`: what the client sent."""

    user_id: uuid.UUID
    route: str
    text: str


class Answer(Struct, frozen=True, kw_only=True):
    """`fingerprint`: SHA-256 of what was asked, by which another request under the same key is told."""

    fingerprint: bytes
    status: int
    headers: dict[str, str]
    body: bytes


async def try_lock(c: Connection, key: Key) -> bool:
    """Until the transaction ends; False where another one has it."""
    return bool(
        await c.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))",
            f"idempotency {key.user_id} {key.route} {key.text}",
        )
    )


async def find(c: Connection, key: Key) -> Answer | None:
    """The answer that is kept."""
    row = await c.fetchrow(
        """
        SELECT fingerprint, status, headers, body FROM trainyard.idempotency_keys
        WHERE user_id = $1 AND route = $2 AND key = $3 AND status IS NOT NULL AND expires_at > now()
        """,
        key.user_id,
        key.route,
        key.text,
    )
    return Answer(**dict(row)) if row else None


async def keep(c: Connection, key: Key, answer: Answer, ttl_s: float) -> None:
    """In the transaction of what the answer tells of, under `try_lock`; over what has expired."""
    await c.execute(
        """
        INSERT INTO trainyard.idempotency_keys
            (user_id, route, key, owner, fingerprint, status, headers, body, expires_at)
        VALUES ($1, $2, $3, gen_random_uuid(), $4, $5, $6, $7, now() + make_interval(secs => $8))
        ON CONFLICT (user_id, route, key) DO UPDATE SET owner = excluded.owner,
            fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
            body = excluded.body, created_at = now(), expires_at = excluded.expires_at
        """,
        key.user_id,
        key.route,
        key.text,
        answer.fingerprint,
        answer.status,
        answer.headers,
        answer.body,
        ttl_s,
    )


async def lock(c: Connection, key: Key, owner: uuid.UUID, *, lock_s: float, ttl_s: float) -> bool:
    """Take a key that is new, has expired, or was let go by a process that died."""
    row = await c.fetchrow(
        """
        INSERT INTO trainyard.idempotency_keys (user_id, route, key, owner, locked_until, expires_at)
        VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), now() + make_interval(secs => $6))
        ON CONFLICT (user_id, route, key) DO UPDATE SET owner = excluded.owner,
            locked_until = excluded.locked_until, fingerprint = NULL, status = NULL, headers = NULL,
            body = NULL, created_at = now(), expires_at = excluded.expires_at
        WHERE idempotency_keys.expires_at <= now()
           OR (idempotency_keys.status IS NULL AND idempotency_keys.locked_until <= now())
        RETURNING owner
        """,
        key.user_id,
        key.route,
        key.text,
        owner,
        lock_s,
        ttl_s,
    )
    return row is not None


async def renew(c: Connection, key: Key, owner: uuid.UUID, *, lock_s: float) -> None:
    await c.execute(
        """
        UPDATE trainyard.idempotency_keys SET locked_until = now() + make_interval(secs => $5)
        WHERE user_id = $1 AND route = $2 AND key = $3 AND owner = $4 AND status IS NULL
        """,
        key.user_id,
        key.route,
        key.text,
        owner,
        lock_s,
    )


async def answered(c: Connection, key: Key, owner: uuid.UUID, answer: Answer, ttl_s: float) -> bool:
    """In the transaction of what the answer tells of; False where another took the key meanwhile."""
    row = await c.fetchrow(
        """
        UPDATE trainyard.idempotency_keys SET fingerprint = $5, status = $6, headers = $7, body = $8,
            locked_until = NULL, expires_at = now() + make_interval(secs => $9)
        WHERE user_id = $1 AND route = $2 AND key = $3 AND owner = $4 AND status IS NULL RETURNING owner
        """,
        key.user_id,
        key.route,
        key.text,
        owner,
        answer.fingerprint,
        answer.status,
        answer.headers,
        answer.body,
        ttl_s,
    )
    return row is not None


async def release(c: Connection, key: Key, owner: uuid.UUID) -> None:
    """Free a key whose request came to nothing."""
    await c.execute(
        """
        DELETE FROM trainyard.idempotency_keys
        WHERE user_id = $1 AND route = $2 AND key = $3 AND owner = $4 AND status IS NULL
        """,
        key.user_id,
        key.route,
        key.text,
        owner,
    )


async def delete_expired(c: Connection, *, limit: int = 1000) -> int:
    """For the sweep: how many went."""
    rows = await c.fetch(
        """
        DELETE FROM trainyard.idempotency_keys WHERE expires_at < now() AND (user_id, route, key) IN (
            SELECT user_id, route, key FROM trainyard.idempotency_keys WHERE expires_at < now() LIMIT $1)
        RETURNING 1
        """,
        limit,
    )
    return len(rows)
