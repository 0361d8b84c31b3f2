"""`trainyard.audit`: what was done in an account and who did it. Rows are only ever added.

Never a URL or a token: who could read the trail could use them.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from msgspec import Struct

from shared.contracts.accounts import AuditAction, AuditEntry
from shared.contracts.states import uuid7
from shared.db.pool import NEWEST, Connection, claims, without_nulls

_COLUMNS = "id, at, action, subject_kind, subject_id, actor, key_id, request_id, detail"

ACTED_AS_EVERY = "1 hour"


AHEAD = 3
"""Months that have their partition before they begin: so long a packager may be away."""


class Standing(Struct, frozen=True, kw_only=True):
    """How many months to come have a partition, and how many rows are in none: there should be none."""

    ahead: int
    unplaced: int


class Deed(Struct, frozen=True, kw_only=True):
    """A row before it is written. `actor`: user | service | key | system; `detail` becomes JSON."""

    user_id: uuid.UUID
    action: AuditAction
    subject_kind: str
    subject_id: uuid.UUID | None
    actor: str
    key_id: uuid.UUID | None = None
    request_id: str | None = None
    detail: dict[str, Any] = {}


async def insert(c: Connection, deed: Deed) -> None:
    """In the transaction of what it tells of, as the user."""
    await c.execute(
        """
        INSERT INTO trainyard.audit
            (id, user_id, action, subject_kind, subject_id, actor, key_id, request_id, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *_values(deed),
    )


async def insert_alone(c: Connection, deed: Deed) -> None:
    """What changes no other row: one statement that carries its identity itself, and one round trip."""
    await c.execute(
        """
        WITH me AS MATERIALIZED (SELECT set_config('request.jwt.claims', $10, true) AS set)
        INSERT INTO trainyard.audit
            (id, user_id, action, subject_kind, subject_id, actor, key_id, request_id, detail)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 FROM me WHERE me.set IS NOT NULL
        """,
        *_values(deed),
        claims(deed.user_id),
    )


async def insert_acted_as(c: Connection, deed: Deed) -> None:
    """Once an hour, however often and through however many processes somebody acts as a user."""
    await c.execute(
        f"""
        INSERT INTO trainyard.audit
            (id, user_id, action, subject_kind, subject_id, actor, key_id, request_id, detail)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE NOT EXISTS (
            SELECT FROM trainyard.audit a
            WHERE a.user_id = $2 AND a.action = $3 AND a.actor = $6
              AND a.at > now() - interval '{ACTED_AS_EVERY}')
        """,
        *_values(deed),
    )


async def insert_by_worker(
    c: Connection,
    user_id: uuid.UUID,
    action: AuditAction,
    detail: dict[str, Any],
    *,
    run: uuid.UUID | None = None,
) -> None:
    """What Trainyard did itself with an account, or with a run of it."""
    await c.execute(
        """
        INSERT INTO trainyard.audit (id, user_id, action, subject_kind, subject_id, actor, detail)
        VALUES ($1, $2, $3, $5, $6, 'system', $4)
        """,
        uuid7(),
        user_id,
        action,
        detail,
        "account" if run is None else "run",
        run or user_id,
    )


async def page(
    c: Connection,
    user_id: uuid.UUID,
    *,
    limit: int,
    before: uuid.UUID | None = None,
    action: AuditAction | None = None,
) -> list[AuditEntry]:
    """Newest first; `before` is the last id of the page before."""
    rows = await c.fetch(
        f"""
        SELECT {_COLUMNS} FROM trainyard.audit
        WHERE user_id = $1 AND id < coalesce($3::uuid, {NEWEST}) AND ($4::text IS NULL OR action = $4)
        ORDER BY id DESC LIMIT $2
        """,
        user_id,
        limit,
        before,
        action,
    )
    return [
        msgspec.convert(without_nulls(row, "subject_id", "key_id", "request_id"), AuditEntry) for row in rows
    ]


async def of_run(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID, *, limit: int) -> list[Any]:
    """`at, action` of when it was cancelled and resumed, newest first."""
    return await c.fetch(
        """
        SELECT at, action FROM trainyard.audit
        WHERE user_id = $1 AND subject_id = $2 AND action IN ('run.cancelled', 'run.resumed')
        ORDER BY at DESC LIMIT $3
        """,
        user_id,
        task_id,
        limit,
    )


# --- its months, for the sweep (0014_ten_million_runs.sql) ------------------------------------------


async def add_months(c: Connection) -> list[str]:
    """Have a partition for this month and the next `AHEAD`: the names of those that were made now. What fell
    into none meanwhile moves into its own."""
    rows = await c.fetch("SELECT * FROM trainyard.add_audit_months($1)", AHEAD)
    return [row[0] for row in rows]


async def drop_months(c: Connection, *, older_than_s: float) -> list[str]:
    """Take off the months in which all is older, rows and all: their names. One that is in use (a backup
    reads for minutes) goes the next time."""
    rows = await c.fetch("SELECT * FROM trainyard.drop_audit_months($1)", older_than_s)
    return [row[0] for row in rows]


async def standing(c: Connection) -> Standing:
    row = await c.fetchrow("SELECT ahead, unplaced FROM trainyard.audit_standing()")
    return Standing(**row)


async def delete_expired(c: Connection, *, older_than_s: float, limit: int = 1000) -> int:
    """Rows that no month takes with it, a batch at a time: how many went."""
    rows = await c.fetch(
        """
        DELETE FROM trainyard.audit WHERE id IN (
            SELECT id FROM trainyard.audit WHERE at < now() - make_interval(secs => $1)
            ORDER BY at LIMIT $2)
        RETURNING 1
        """,
        older_than_s,
        limit,
    )
    return len(rows)


def _values(deed: Deed) -> tuple[Any, ...]:
    return (
        uuid7(),
        deed.user_id,
        deed.action,
        deed.subject_kind,
        deed.subject_id,
        deed.actor,
        deed.key_id,
        deed.request_id,
        deed.detail,
    )
