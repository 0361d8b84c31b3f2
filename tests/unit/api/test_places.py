"""How often a queue is counted."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from services.api import places
from services.api.places import Places


async def test_counting_that_is_dear_is_done_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[uuid.UUID] = []
    now, takes_s = 100.0, 0.0

    async def count(_c: Any, _user: uuid.UUID, task_id: uuid.UUID) -> int | None:
        nonlocal now
        counted.append(task_id)
        now += takes_s
        return len(counted)

    monkeypatch.setattr(places.quotas, "queue_position", count)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    here, user, task, other = Places(), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    connection: Any = None
    assert [await here.of(connection, user, task) for _ in range(3)] == [1, 2, 3]
    takes_s = 0.02
    assert await here.of(connection, user, task) == 4
    assert [await here.of(connection, user, task) for _ in range(3)] == [4, 4, 4]
    assert await here.of(connection, user, other) == 5  # who has never been told is told
    assert [await here.of(connection, user, task) for _ in range(3)] == [4, 4, 4]
    now += 0.02 / places.SHARE
    assert await here.of(connection, user, task) == 6
