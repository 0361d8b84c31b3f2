"""Who may come in: a user seen for the first time gets a row, one whose account is being deleted is refused.

Every request passes through here, so what was looked up is remembered for a minute, and forgotten at once
when Redis tells that an account began or ceased to be deleted. Writing does not depend on either: the
database refuses what an account that goes is sent (0004_account.sql, refuse_erased).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable

from services.api import audit as trail
from services.api.auth import Identity
from shared.contracts.accounts import AuditAction
from shared.db import account, audit, users
from shared.db.pool import Database
from shared.errors import AccountBeingDeleted, Unauthenticated

REMEMBERED_S = 60.0
REMEMBERED = 100_000


class Accounts:
    """One a process."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._admitted: dict[tuple[uuid.UUID, str], float] = {}
        self._changes = 0

    async def admit(self, identity: Identity) -> None:
        """Raises AccountBeingDeleted, Unauthenticated, DatabaseUnavailable."""
        known = (identity.user_id, identity.actor)
        if self._admitted.get(known, 0.0) > self._clock():
            return
        began = self._changes
        async with self._db.transaction(identity.user_id) as c:
            if await account.is_being_erased(c, identity.user_id):
                raise AccountBeingDeleted
            if identity.actor != "key":
                await users.ensure(c, identity.email)
            elif not await account.has_key(c, identity.user_id, identity.key_id):
                # remembered from before it went, with its account perhaps: that is not to come again by it
                raise Unauthenticated("There is no such API key: it was revoked, or has expired")
            if identity.actor == "service":
                await audit.insert_acted_as(
                    c, trail.deed(identity, AuditAction.ACCOUNT_ACTED_AS, identity.user_id)
                )
        if began != self._changes:  # what was read may be over
            return
        if len(self._admitted) >= REMEMBERED:
            self._admitted.clear()
        self._admitted[known] = self._clock() + REMEMBERED_S

    def forget(self, user_id: uuid.UUID) -> None:
        """Look again at the next request: the account began or ceased to be deleted."""
        self._changes += 1
        for actor in ("user", "service", "key"):
            self._admitted.pop((user_id, actor), None)

    def announced(self, message: bytes) -> None:
        """`forget`, of what is published; what is no user's id is nobody's."""
        with contextlib.suppress(ValueError):
            self.forget(uuid.UUID(message.decode("ascii")))
