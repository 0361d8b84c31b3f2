"""Writing the audit trail: who does what, as the request tells it (`shared/db/audit.py` keeps it).

What changes something is recorded in the transaction that changes it. Reading is not recorded; handing a
file over is, and a link that was signed is another thing than bytes that left through here.
"""

from __future__ import annotations

import uuid
from typing import Any

from structlog.contextvars import get_contextvars

from services.api.auth import Identity
from shared.contracts.accounts import AuditAction
from shared.db import audit
from shared.db.audit import Deed
from shared.db.pool import Connection

KINDS = {kind: kind for kind in ("file", "run", "model", "key", "session")}
"""What an action's name begins with → the kind of its subject, where that is not the account."""


def deed(
    user: Identity,
    action: AuditAction,
    subject_id: uuid.UUID | None,
    *,
    subject_kind: str | None = None,
    **detail: Any,
) -> Deed:
    """What `user` does in this request; `detail` is small and holds neither a URL nor a token.

    `subject_kind`: where the action's own name does not say it.
    """
    return Deed(
        user_id=user.user_id,
        action=action,
        subject_kind=subject_kind or KINDS.get(action.partition(".")[0], "account"),
        subject_id=subject_id,
        actor=user.actor,
        key_id=user.key_id,
        request_id=get_contextvars().get("request_id"),
        detail=detail,
    )


async def record(
    c: Connection, user: Identity, action: AuditAction, subject_id: uuid.UUID | None, **detail: Any
) -> None:
    """In the transaction of what is done."""
    await audit.insert(c, deed(user, action, subject_id, **detail))
