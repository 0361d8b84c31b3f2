"""What one user may have at once; beyond it a 429 that says what is full."""

from __future__ import annotations

import uuid

from services.api.context import Context
from shared.db import api_keys, quotas
from shared.db.pool import Connection
from shared.errors import Conflict, QuotaExceeded

QUEUE_RETRY_S = 10
STORAGE_RETRY_S = 3600


async def room_for_a_run(api: Context, c: Connection, user_id: uuid.UUID) -> None:
    """In the transaction that queues it. Raises QuotaExceeded."""
    most = api.settings.quotas.max_queued_tasks
    await quotas.lock(c, user_id)
    if await quotas.queued_tasks(c, user_id) >= most:
        raise QuotaExceeded(
            f"{most} runs of yours are waiting, which is as many as may wait", retry_after_s=QUEUE_RETRY_S
        )


async def room_for_a_key(api: Context, c: Connection, user_id: uuid.UUID) -> None:
    """In the transaction that makes it; those that have expired make room. Raises Conflict: waiting would
    not help."""
    most = api.settings.quotas.max_api_keys
    await quotas.lock(c, user_id)
    await api_keys.delete_expired(c, user_id)
    if await api_keys.count(c, user_id) >= most:
        raise Conflict(f"You have {most} API keys, which is as many as you may have: revoke one first")


async def room_for_bytes(api: Context, c: Connection, user_id: uuid.UUID, size_bytes: int) -> None:
    """In the transaction that records them. Raises QuotaExceeded."""
    await quotas.lock(c, user_id)
    if await quotas.stored_bytes(c, user_id) + size_bytes > api.settings.quotas.max_stored_bytes:
        raise full(api)


async def bytes_left(api: Context, user_id: uuid.UUID) -> int:
    """As things are, to refuse an upload early."""
    async with api.db.transaction(user_id) as c:
        return api.settings.quotas.max_stored_bytes - await quotas.stored_bytes(c, user_id)


def full(api: Context) -> QuotaExceeded:
    most = api.settings.quotas.max_stored_bytes
    return QuotaExceeded(
        f"Your files and saved models would take more than {most:,} bytes; deleted models count until the"
        " trash is emptied",
        retry_after_s=STORAGE_RETRY_S,
    )
