"""API keys: for other services, which send them as the Bearer and act as the key's owner.

A key is `ty_`, eight characters by which it is told from others, `_`, and 32 random bytes as base64url. The
database knows its SHA-256 and finds it by that: 256 random bits cannot be guessed or listed, so neither a
slow hash nor a salt would add anything, and since the digest of what a caller sends is nothing that the
caller can steer, how long the lookup takes says nothing of the keys that there are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import string
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from services.api.scopes import granted
from shared.db import api_keys
from shared.db.pool import Database
from shared.errors import Unauthenticated

MARK = "ty_"
"""How every key begins, and no JWT does: a JWT begins with the base64url of `{`."""

REMEMBERED_S = 5.0
"""How long a revoked key may still be honoured by the processes that did not revoke it."""
STREAMED_S = 300.0
"""How long one request of a key may be answered (an event stream) before the key is to be shown again."""
TOUCHED_EVERY_S = 60.0

_REMEMBERED = 4096
_PREFIX = string.ascii_lowercase + string.digits
_KEY = re.compile(r"ty_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")


class NewKey(Struct, frozen=True):
    """`text` is shown to its owner once, and kept nowhere."""

    text: str
    prefix: str
    digest: bytes


class KeyHolder(Struct, frozen=True):
    """Whom a key acts as, and what it may do; `expires_at` None: until it is revoked."""

    key_id: uuid.UUID
    user_id: uuid.UUID
    scopes: frozenset[str]
    expires_at: dt.datetime | None


def new_key() -> NewKey:
    prefix = MARK + "".join(secrets.choice(_PREFIX) for _ in range(8))
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(text, prefix, digest_of(text))


def digest_of(text: str) -> bytes:
    """What the database knows a key by."""
    return hashlib.sha256(text.encode()).digest()


class ApiKeys:
    """Looks keys up, and remembers for seconds those that there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[KeyHolder, float]] = OrderedDict()
        self._touched: OrderedDict[uuid.UUID, float] = OrderedDict()
        self._revocations = 0

    async def check(self, db: Database, text: str) -> KeyHolder:
        """Raises Unauthenticated for a key that is not there, was revoked or has expired,
        DatabaseUnavailable."""
        if not _KEY.fullmatch(text):
            raise Unauthenticated(
                "The API key is cut or mistyped: a key is `ty_`, 8 characters, `_`, 43 more"
            )
        digest = digest_of(text)
        known = self._known.get(digest)
        if known is not None and known[1] > self._clock():
            return known[0]
        began = self._revocations
        async with db.connection() as c:
            found = await api_keys.find(c, digest)
        if found is None:
            self._known.pop(digest, None)
            raise Unauthenticated("There is no such API key: it was revoked, or has expired")
        holder = KeyHolder(found.id, found.user_id, granted(found.scopes), found.expires_at)
        if began == self._revocations:  # else it may be the one that was revoked meanwhile
            self._remember(digest, holder)
        await self._touch(db, holder)
        return holder

    def forget(self, key_id: uuid.UUID) -> None:
        """After the commit that revoked it."""
        self._revocations += 1
        for digest in [d for d, (holder, _) in self._known.items() if holder.key_id == key_id]:
            del self._known[digest]

    def _remember(self, digest: bytes, holder: KeyHolder) -> None:
        left = REMEMBERED_S
        if holder.expires_at is not None:
            left = min(left, (holder.expires_at - dt.datetime.now(dt.UTC)).total_seconds())
        self._known[digest] = (holder, self._clock() + left)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _touch(self, db: Database, holder: KeyHolder) -> None:
        """`last_used_at`, to the minute: a write for every request would cost more than the request."""
        now = self._clock()
        if now - self._touched.get(holder.key_id, float("-inf")) < TOUCHED_EVERY_S:
            return
        self._touched[holder.key_id] = now
        self._touched.move_to_end(holder.key_id)
        if len(self._touched) > _REMEMBERED:
            self._touched.popitem(last=False)
        async with db.transaction(holder.user_id) as c:
            await api_keys.touch(c, holder.user_id, holder.key_id, every_s=TOUCHED_EVERY_S)
