"""What is swept looks at what is open, by an index of that alone, and not at all there ever was; a page looks
at its own rows, and not at all that are newer."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from shared.contracts.states import uuid7
from shared.db import account, api_keys, audit, candidates, files, jobs, tasks
from shared.db.pool import Connection, Database

OVER = """
INSERT INTO auth.users (id) SELECT md5('u')::uuid;
INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256)
    SELECT md5('f' || i)::uuid, md5('u')::uuid, 'x', 1, '' FROM generate_series(1, 3000) i;
INSERT INTO trainyard.profiles (file_id, user_id, status) SELECT id, user_id, 'ready' FROM trainyard.files;
INSERT INTO trainyard.tasks (id, user_id, name, status, stage, request, plan)
    SELECT md5('t' || i)::uuid, md5('u')::uuid, 'x', 'completed', 'done', '{}', '{}'
    FROM generate_series(1, 3000) i;
INSERT INTO trainyard.candidates (id, task_id, user_id, position, model_name, label, algorithm, status)
    SELECT md5('c' || id)::uuid, id, user_id, 0, 'x', 'x', 'x', 'done' FROM trainyard.tasks;
INSERT INTO trainyard.bundles (task_id, user_id, status) SELECT id, user_id, 'ready' FROM trainyard.tasks;
INSERT INTO trainyard.conversions (candidate_id, user_id, status, error)
    SELECT id, user_id, 'failed', 'x' FROM trainyard.candidates;
INSERT INTO public.trained_models (id, user_id, model_name, algorithm, task_type, task_id, candidate_slug,
        candidate_attempt)
    SELECT id, user_id, 'x', 'x', 'regression', id, 'x', 1 FROM trainyard.tasks;
ANALYZE;
"""
"""Work of before, all of it done."""

GROWING = {"tasks", "candidates", "profiles", "bundles", "conversions", "trained_models", "files", "audit"}
OF_WHAT_IS_OPEN = ("_open", "_running", "_queued", "_building", "_saving")
SWEEPS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "the net": jobs.restore_missing,
    "fits whose worker is gone": candidates.take_back,
    "fits whose time is over": lambda c: candidates.skip_overdue(c, "late"),
}


class Explaining:
    """Stands for a connection: keeps the plan of each statement instead of running it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.plans: list[dict[str, Any]] = []

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        [plan] = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
        self.plans.append(plan["Plan"])
        return []


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


async def test_sweeps_read_no_table_that_grows_from_end_to_end(
    env: dict[str, str], worker_db: Database
) -> None:
    owner = await asyncpg.connect(env["DATABASE_URL"])
    await owner.execute(OVER)
    await owner.close()
    for name, sweep in SWEEPS.items():
        async with worker_db.connection() as c:
            explaining = Explaining(c)
            await sweep(explaining)
        found = [node for plan in explaining.plans for node in nodes(plan)]
        assert len(found) > 3, name
        whole = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
        assert whole & GROWING == set(), name
        # an index that is read from end to end holds what is open and nothing else
        unbound = {node["Index Name"] for node in found if "Index Name" in node and "Index Cond" not in node}
        past = {index for index in unbound if not index.endswith(OF_WHAT_IS_OPEN)}
        assert past <= {"jobs_claim", "jobs_kind_subject_id_key", "jobs_held", "erasures_pkey"}, name


PAGES: dict[str, Callable[[Any, uuid.UUID, uuid.UUID], Awaitable[Any]]] = {
    "runs": lambda c, user, at: tasks.page(c, user, limit=50, before=at),
    "files": lambda c, user, at: files.page(c, user, limit=50, before=at),
    "keys": lambda c, user, at: api_keys.page(c, user, limit=50, before=at),
    "the trail": lambda c, user, at: audit.page(c, user, limit=50, before=at),
    "exported runs": lambda c, user, at: account.runs(c, user, after=at, limit=50),
    "exported files": lambda c, user, at: account.files(c, user, after=at, limit=50),
    "exported models": lambda c, user, at: account.saved_models(c, user, after=at, limit=50),
    "exported deeds": lambda c, user, at: account.deeds(c, user, after=at, limit=50),
}


class Prepared(Explaining):
    """The plan that a statement has once it was prepared for good: of any cursor, and of none."""

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        literals = {uuid.UUID: "'{}'", int: "{}", type(None): "NULL"}
        given = ", ".join(literals[type(value)].format(value) for value in values)
        await self.connection.execute(f"PREPARE page AS {sql}")
        [plan] = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE page({given})")
        await self.connection.execute("DEALLOCATE page")
        self.plans.append(plan["Plan"])
        return []


async def test_a_page_begins_at_its_cursor(worker_db: Database) -> None:
    async with worker_db.transaction() as c:
        await c.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await c.execute("SET LOCAL enable_seqscan = off")  # tables are empty here
        await c.execute("SET LOCAL enable_bitmapscan = off")
        await c.execute("SET LOCAL enable_sort = off")
        for name, page in PAGES.items():
            explaining = Prepared(c)
            await page(explaining, uuid7(), uuid7())
            found = [node for plan in explaining.plans for node in nodes(plan)]
            assert any("COALESCE" in node.get("Index Cond", "") for node in found), name
            assert not any("COALESCE" in node.get("Filter", "") for node in found), name
