"""`account.json`: everything that the database knows of a user, streamed a page at a time."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from shared.db import account, candidates
from shared.db.pool import Connection, Database

Page = Callable[..., Awaitable[list[Any]]]

ROWS_AT_A_TIME = 200
DOCUMENTS_AT_A_TIME = 10
"""Of what holds whole documents: profiles, plans."""


async def each(db: Database, page: Page, user_id: uuid.UUID, limit: int) -> AsyncIterator[Any]:
    """The rows of a query of `shared.db.account`, a short transaction a page."""
    after: uuid.UUID | None = None
    while True:
        async with db.transaction() as c:
            rows = await page(c, user_id, after=after, limit=limit)
        for row in rows:
            yield row
        if len(rows) < limit:
            return
        after = rows[-1]["id"]


async def account_json(db: Database, user_id: uuid.UUID, exported_at: dt.datetime) -> AsyncIterator[bytes]:
    """UTF-8 JSON: `user_id, exported_at, files, runs, models, api_keys, audit`; lists are oldest first.

    In constant memory: a run and its candidates are the most that is held at a time.
    """
    head = {"user_id": user_id, "exported_at": exported_at}
    yield msgspec.json.encode(head)[:-1]
    for name, page, limit, to_row in (
        ("files", account.files, DOCUMENTS_AT_A_TIME, None),
        ("runs", account.runs, DOCUMENTS_AT_A_TIME, _run),
        ("models", account.saved_models, ROWS_AT_A_TIME, None),
        ("api_keys", account.keys, ROWS_AT_A_TIME, None),
        ("audit", account.deeds, ROWS_AT_A_TIME, None),
    ):
        yield f',"{name}":['.encode()
        between = b"\n"
        async for row in each(db, page, user_id, limit):
            shown = _shown(row)
            if to_row is not None:
                async with db.transaction() as c:
                    shown = await to_row(c, shown)
            yield between + msgspec.json.encode(shown)
            between = b",\n"
        yield b"]"
    yield b"}\n"


_FOR_WORKERS = ("crc32", "etag", "hmac", "hmac_key_id")
"""What nobody else has a use for."""
_SAID_BY_ITS_RUN = ("task_id", "user_id")


def _shown(row: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    return {k: v for k, v in dict(row).items() if k not in (*_FOR_WORKERS, *without)}


async def _run(c: Connection, run: dict[str, Any]) -> dict[str, Any]:
    rows = await candidates.of_task(c, run["id"], run["user_id"])
    run["candidates"] = [_shown(row, _SAID_BY_ITS_RUN) for row in rows]
    return run
