"""`auth.users`: rows that on Supabase are there already."""

from __future__ import annotations

from shared.db.pool import Connection


async def ensure(c: Connection, email: str | None) -> None:
    """The row of the user whose identity the transaction carries, made where it is missing."""
    await c.execute("SELECT trainyard.ensure_user($1)", email)
