"""The queue's figures, on every service: of all users, and absent rather than old."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from services.api import backlog as api_backlog
from shared.contracts.states import JobKind, uuid7
from shared.db import backlog, jobs
from shared.db.pool import Database
from shared.metrics import QUEUE_AGE, QUEUE_DEPTH, show_backlog
from tests.databases import new_user
from tests.integration import api_client
from tests.integration.api_client import Api
from tests.integration.tcp_proxy import tcp_proxy

QUEUE = ("depth", "delayed", "running", "oldest_seconds")


async def figures(api: Api) -> dict[str, dict[str, float]]:
    """Figure of the queue → kind → value."""
    answer = await api.client().get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, Metric] = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert "trainyard_http_requests" in found
    families = {name: found.get(f"trainyard_queue_{name}") for name in QUEUE}
    return {
        name: {s.labels["kind"]: s.value for s in family.samples} if family is not None else {}
        for name, family in families.items()
    }


async def test_everybodys_jobs_are_counted_and_no_more_is_told(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    other = await new_user(api_db)
    async with worker_db.transaction() as c:
        for owner in (user_id, user_id, other):
            await jobs.insert(c, JobKind.FIT, uuid7(), owner)
        late = await jobs.insert(c, JobKind.FIT, uuid7(), other)
        await c.execute("UPDATE trainyard.jobs SET run_after = now() + interval '1 hour' WHERE id = $1", late)
    async with worker_db.transaction() as c:
        assert await jobs.claim(c, [JobKind.FIT], "w", 60.0) is not None
    expected = {"kind": "fit", "waiting": 2, "delayed": 1, "running": 1}
    async with worker_db.connection() as c:
        (row,) = await backlog.of_all(c)
    assert {name: row[name] for name in expected} == expected
    assert 0 <= row["oldest_s"] < 60
    async with api_db.transaction(user_id) as c:  # as somebody whose rows are two of the four
        assert await c.fetchval("SELECT count(*) FROM trainyard.jobs") == 2
        (row,) = await backlog.of_all(c)
    assert {name: row[name] for name in expected} == expected
    assert set(dict(row)) == {*expected, "oldest_s"}


async def test_nobody_else_may_ask(api_db: Database, env: dict[str, str]) -> None:
    owner = await asyncpg.connect(env["DATABASE_URL"])
    await owner.execute("CREATE ROLE passer_by")
    try:
        await owner.execute("SET ROLE passer_by")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.fetch("SELECT * FROM trainyard.backlog()")
    finally:
        await owner.execute("RESET ROLE; DROP ROLE passer_by")
        await owner.close()


async def test_the_api_shows_it_and_asks_seldom(
    api: Api, worker_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_backlog, "FRESH_S", 3600.0)
    assert (await figures(api))["depth"] == dict.fromkeys(map(str, JobKind), 0)
    async with worker_db.transaction() as c:
        await jobs.insert(c, JobKind.BUNDLE, uuid7(), user_id)
    assert (await figures(api))["depth"]["bundle"] == 0
    monkeypatch.setattr(api.context.backlog, "_next", 0.0)
    seen = await asyncio.gather(*(figures(api) for _ in range(5)))
    assert (await figures(api))["depth"]["bundle"] == 1
    assert len(seen) == 5


async def test_without_postgres_there_are_no_figures_and_all_other_metrics(
    env: dict[str, str], buckets: None
) -> None:
    async with tcp_proxy(env["API_DATABASE_URL"]) as database:
        behind = {"API_DATABASE_URL": database.in_front_of(env["API_DATABASE_URL"])}
        async with api_client.running(env | behind) as api:
            assert (await figures(api))["depth"]
            database.cut()
            api.context.backlog._next = 0.0
            assert await figures(api) == {figure: {} for figure in QUEUE}
            database.heal()
            api.context.backlog._next = 0.0
            assert (await figures(api))["oldest_seconds"] == dict.fromkeys(map(str, JobKind), 0)


def test_what_cannot_be_looked_at_is_not_shown() -> None:
    show_backlog([{"kind": "fit", "waiting": 2, "delayed": 1, "running": 3, "oldest_s": 4.5}])
    show_backlog(None)
    assert [next(iter(gauge.collect())).samples for gauge in (QUEUE_AGE, QUEUE_DEPTH)] == [[], []]
