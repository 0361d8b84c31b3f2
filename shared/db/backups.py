"""What keeps a backup and whatever deletes objects out of each other's way.

Objects are written before the rows that speak of them, and never changed. So a backup that takes the rows
first and the objects after them finds every object that its rows need, as long as none is deleted meanwhile:
that waits for it. The lock ends with the session that holds it, however that one ends.
"""

from __future__ import annotations

from shared.db.pool import Connection

LOCK = 0x6261636B  # any number that nobody else in this database uses


async def may_delete(c: Connection) -> bool:
    """Whether no backup is being made. Asked in the transaction that makes objects superfluous, or in one
    after it and before they are deleted: a backup waits for that transaction, and so knows of it."""
    return bool(await c.fetchval("SELECT pg_try_advisory_xact_lock_shared($1)", LOCK))


async def hold_deletions(c: Connection) -> bool:
    """From here to the end of this session nothing is deleted; False where another backup is being made."""
    # the one that waits comes after transactions that delete, and before those that come later
    taken = await c.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database"
        " WHERE datname = current_database()) AND classid = 0 AND objid = $1)",
        LOCK,
    )
    if taken:
        return False
    await c.execute("SELECT pg_advisory_lock($1)", LOCK)
    return True
