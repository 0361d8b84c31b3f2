"""What becomes of a month that is over, and what cleaning up after changes takes, in each layout; sizes."""

from __future__ import annotations

import time

import asyncpg

from shared.db import audit
from tests.bench.partitions.layouts import TABLES
from tests.bench.partitions.rows import MONTH_S, MONTHS, Volume

SOME = 20_000
"""Runs that are deleted one by one: what a month of them takes is reckoned from it."""
BATCH = 500
CHANGED = 100_000
"""Of the latest runs, how many are changed before the table is vacuumed."""

TRAIL = "the trail's first month goes"
RUNS = "a month of runs goes, rows alone"
VACUUM = f"vacuum after {CHANGED:,} of the latest runs have changed"


async def sizes(c: asyncpg.Connection) -> dict[str, tuple[int, int]]:
    """Bytes of the rows and of the indexes of each table, its partitions included."""
    found = {}
    for table in TABLES:
        row = await c.fetchrow(
            "SELECT sum(pg_table_size(relid))::bigint AS rows, sum(pg_indexes_size(relid))::bigint AS indexes"
            " FROM (SELECT relid FROM pg_partition_tree($1::text::regclass)"
            "       UNION SELECT $1::text::regclass) t",
            f"trainyard.{table}",
        )
        found[table] = (row["rows"], row["indexes"])
    return found


async def _seconds(c: asyncpg.Connection, *statements: str) -> float:
    began = time.perf_counter()
    for statement in statements:
        await c.execute(statement, timeout=3600)
    return time.perf_counter() - began


async def _change(c: asyncpg.Connection, made: Volume) -> None:
    least = made.bound(MONTHS - 1)
    for _ in range(2):
        await c.execute(
            f"UPDATE trainyard.tasks SET message = message || '.' WHERE id IN ("
            f"SELECT id FROM trainyard.tasks WHERE id >= '{least}' ORDER BY id DESC LIMIT {CHANGED})",
            timeout=3600,
        )


async def by_rows(c: asyncpg.Connection, made: Volume) -> dict[str, float]:
    """A thousand rows of the trail at a time, as the sweep did, and what that leaves to the vacuum; runs with
    what refers to them."""
    found = {}
    began = time.perf_counter()
    older_s = time.time() - made.began - MONTH_S
    while await audit.delete_expired(c, older_than_s=older_s):
        pass
    found[TRAIL] = time.perf_counter() - began + await _seconds(c, "VACUUM trainyard.audit")
    began = time.perf_counter()
    gone, last = 0, "some"
    while gone < SOME and last != "0":
        said = await c.execute(
            f"DELETE FROM trainyard.tasks WHERE id IN (SELECT id FROM trainyard.tasks"
            f" WHERE id < '{made.bound(1)}' ORDER BY id LIMIT {BATCH})",
            timeout=3600,
        )
        last = said.split()[-1]
        gone += int(last)
    each = (time.perf_counter() - began) / gone
    found[RUNS] = each * made.first(1) + await _seconds(c, "VACUUM trainyard.tasks, trainyard.candidates")
    await _change(c, made)
    found[VACUUM] = await _seconds(c, "VACUUM trainyard.tasks")
    return found


async def by_month(c: asyncpg.Connection, made: Volume) -> dict[str, float]:
    """A partition at a time. One of runs goes only when nothing refers to it any more: candidates first."""
    found = {TRAIL: await _seconds(c, *_gone("audit"))}
    found[RUNS] = await _seconds(
        c,
        *_gone("candidates"),
        f"DELETE FROM trainyard.bundles WHERE task_id < '{made.bound(1)}'",
        *_gone("tasks"),
    )
    await _change(c, made)
    found[VACUUM] = await _seconds(c, f"VACUUM trainyard.tasks_{MONTHS - 1:02}")
    return found


def _gone(table: str) -> tuple[str, str]:
    return (
        f"ALTER TABLE trainyard.{table} DETACH PARTITION trainyard.{table}_00",
        f"DROP TABLE trainyard.{table}_00",
    )
