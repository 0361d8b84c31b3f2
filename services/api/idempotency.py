"""`Idempotency-Key`: the same POST sent twice does its work once.

After draft-ietf-httpapi-idempotency-key-header: the answer that made something is kept for a user, a
route and a key, and given again to the same request. An answer that made nothing (4xx, 5xx) is not
kept: its key is free, and the request may be put right.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from services.api.auth import Identity
from services.api.body import parse
from services.api.context import Context
from shared.contracts.states import uuid7
from shared.db import idempotency
from shared.db.idempotency import Answer, Key
from shared.db.pool import Connection
from shared.errors import DatabaseUnavailable, InvalidRequest, KeyInUse, KeyReused, MalformedRequest

log = structlog.get_logger(__name__)

REPLAYED = "Idempotency-Replayed"
LOCK_S = 60.0
"""How long an upload's key stays taken after its process has died; renewed every third of it."""
RETRY_AFTER_S = 1

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="1 to 255 visible ASCII characters of your choice, a UUID for instance. For 24 hours"
        " the same request under the same key does nothing new: it gets the first one's answer again, with"
        f" the header `{REPLAYED}: true`; another body under that key is a 422, and while the first is"
        " still being worked on a 409 with `Retry-After`. Answers that made nothing (4xx, 5xx) are not"
        " kept",
        schema_extra={"minLength": 1, "maxLength": 255, "pattern": f"^{_KEY.pattern}$"},
    ),
]


def key_of(request: Request[Identity, Any, Any], given: str | None) -> Key | None:
    """Raises InvalidRequest for a key that is none."""
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidRequest([("Idempotency-Key", "must be 1 to 255 visible ASCII characters")])
    return Key(request.user.user_id, f"{request.method} {request.scope['path_template']}", given)


class Once:
    """A POST that is one transaction: `replay` first, `answer` last, both in that transaction."""

    def __init__(self, api: Context, key: Key | None, path: str, body: bytes) -> None:
        self._ttl_s = api.settings.retention.idempotency_ttl_s
        self._key = key
        self._path = path
        self._body = body

    async def replay(self, c: Connection) -> Response[Any] | None:
        """The answer that was given already, or None where the work is to be done now. Raises KeyInUse,
        KeyReused."""
        if self._key is None:
            return None
        if not await idempotency.try_lock(c, self._key):
            raise KeyInUse(retry_after_s=RETRY_AFTER_S)
        kept = await idempotency.find(c, self._key)
        return replayed(kept, self._fingerprint()) if kept is not None else None

    async def answer(
        self,
        c: Connection,
        content: Any,
        headers: dict[str, str],
        *,
        status: int = 202,
        kept_content: Any = None,
    ) -> Response[Any]:
        """The answer for what was just recorded, kept together with it; `kept_content` is kept in its stead
        where it holds what must not be kept."""
        body = msgspec.json.encode(content)
        if self._key is not None:
            again = body if kept_content is None else msgspec.json.encode(kept_content)
            kept = Answer(fingerprint=self._fingerprint(), status=status, headers=headers, body=again)
            await idempotency.keep(c, self._key, kept, self._ttl_s)
        return Response(body, status_code=status, headers=headers, media_type="application/json")

    def _fingerprint(self) -> bytes:
        """Of the path and the JSON as it is meant: neither spaces nor the order of fields matter."""
        try:
            meant = json.dumps(parse(self._body), sort_keys=True).encode()
        except MalformedRequest:  # of a call that takes no body
            meant = self._body
        return hashlib.sha256(self._path.encode() + b"\0" + meant).digest()


async def provide_once(
    request: Request[Identity, Any, Any],
    api: NamedDependency[Context],
    idempotency_key: IdempotencyKey = None,
) -> Once:
    """The dependency `once`."""
    key = key_of(request, idempotency_key)
    body = await request.body() if key is not None else b""
    return Once(api, key, request.scope["path"], body)


class KeptUpload:
    """What an upload's key holds: either an answer, or the lock under which it is made now."""

    def __init__(self, api: Context, key: Key | None) -> None:
        self._api = api
        self._ttl_s = api.settings.retention.idempotency_ttl_s
        self._key = key
        self._owner = uuid7()
        self.known: Answer | None = None

    async def answer(
        self, c: Connection, fingerprint: bytes, content: Any, headers: dict[str, str]
    ) -> Response[Any]:
        """The 201 for what was just recorded, kept together with it. Raises KeyInUse where the upload was
        so slow to renew its lock that another took the key."""
        body = msgspec.json.encode(content)
        if self._key is not None:
            kept = Answer(fingerprint=fingerprint, status=201, headers=headers, body=body)
            if not await idempotency.answered(c, self._key, self._owner, kept, self._ttl_s):
                raise KeyInUse(retry_after_s=RETRY_AFTER_S)
        return Response(body, status_code=201, headers=headers, media_type="application/json")

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the key while the upload streams; an upload that fails lets it go. Raises KeyInUse."""
        if self._key is None:
            yield
            return
        if not await self._take(self._key):
            yield
            return
        renewing = asyncio.create_task(self._renew(self._key))
        try:
            yield
        except BaseException:
            await _finish(renewing)
            with contextlib.suppress(DatabaseUnavailable):  # then it ends by itself
                async with self._api.db.transaction(self._key.user_id) as c:
                    await idempotency.release(c, self._key, self._owner)
            raise
        await _finish(renewing)

    async def _take(self, key: Key) -> bool:
        async with self._api.db.transaction(key.user_id) as c:
            if await idempotency.lock(c, key, self._owner, lock_s=LOCK_S, ttl_s=self._ttl_s):
                return True
            self.known = await idempotency.find(c, key)
        if self.known is None:
            raise KeyInUse(retry_after_s=RETRY_AFTER_S)
        return False

    async def _renew(self, key: Key) -> None:
        while True:
            await asyncio.sleep(LOCK_S / 3)
            with contextlib.suppress(DatabaseUnavailable):
                async with self._api.db.transaction(key.user_id) as c:
                    await idempotency.renew(c, key, self._owner, lock_s=LOCK_S)


def replayed(kept: Answer, fingerprint: bytes) -> Response[Any]:
    """Raises KeyReused where the key's request was another one."""
    if kept.fingerprint != fingerprint:
        raise KeyReused
    headers = kept.headers | {REPLAYED: "true"}
    return Response(kept.body, status_code=kept.status, headers=headers, media_type="application/json")


async def _finish(renewing: asyncio.Task[None]) -> None:
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
