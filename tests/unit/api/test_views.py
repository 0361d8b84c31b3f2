"""What is remembered of tasks that are polled."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from services.api import views
from services.api.views import Views


async def test_the_least_recently_shown_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "REMEMBERED", 2)
    here, user = Views(), uuid.uuid4()
    first, second, third = ((user, uuid.uuid4()) for _ in range(3))
    here.keep(first, 1, False, b"a")
    here.keep(second, 1, False, b"b")
    assert here.get(first) is not None
    here.keep(third, 1, False, b"c")
    assert here.get(second) is None
    assert here.get(first) is not None
    assert here.get((uuid.uuid4(), first[1])) is None  # another user's
    here.keep(second, 1, True, b"x" * (views.LONGEST + 1))
    assert here.get(second) is None


async def test_what_changes_without_a_version_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    here, running, ended = Views(), (uuid.uuid4(), uuid.uuid4()), (uuid.uuid4(), uuid.uuid4())
    here.keep(running, 3, False, b"{}")
    here.keep(ended, 9, True, b"{}")
    now += views.DERIVED_S
    assert here.get(running) is not None
    now += 0.1
    assert here.get(running) is None
    assert (view := here.get(ended)) is not None and (view.version, view.ended) == (9, True)
