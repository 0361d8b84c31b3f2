"""What keeps a backup and whatever deletes objects out of each other's way.

Objects are written before the rows that speak of them, and never changed. So a backup that takes the rows
first and the objects after them finds every object that its rows need, as long as none is deleted meanwhile:
that waits for it. The lock ends with the session that holds it, however that one ends.
"""

from __future__ import annotations

from shared.db.pool import Connection

LOCK = 0x6261636B
"""Any number that nobody else in this database uses; a backup has it alone (`shared.backup.take`)."""


async def may_delete(c: Connection) -> bool:
    """Whether no backup is being made. Asked in the transaction that makes objects superfluous, or in one
    after it and before they are deleted: a backup waits for that transaction, and so knows of it."""
    return bool(await c.fetchval("SELECT pg_try_advisory_xact_lock_shared($1)", LOCK))
