"""Databases that hold the same rows in tables of two layouts: whole, as they are, and cut by month.

What is cut is what the migrations made, with the same columns, checks, policies and triggers; keys as far as
they can be kept: a unique key of a partitioned table has to hold what it is cut by. Rows are put in before
indexes are made, which is a tenth of the work, and keeps every index as dense as it can be.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from shared.db.migrate import migrate
from shared.settings import Postgres, load
from tests.bench.partitions import rows
from tests.bench.partitions.rows import MONTHS, Volume
from tests.databases import execute, with_database

TABLES = ("tasks", "candidates", "audit")
CUT_BY = {"tasks": "id", "candidates": "task_id", "audit": "id"}
AHEAD = 3
BEFORE = 13
"""The last migration that knows whole tables alone."""
"""Months that are cut before they begin."""

_CONSTRAINTS = """
    SELECT conrelid::regclass::text AS on_table, conname AS name, contype AS kind,
        pg_get_constraintdef(oid) AS sql
    FROM pg_constraint
    WHERE connamespace = 'trainyard'::regnamespace AND conparentid = 0 AND contype IN ('f', 'u', 'p')
      AND (conrelid = ANY ($1::regclass[]) OR confrelid = ANY ($1::regclass[]))
    ORDER BY contype = 'f' DESC
"""
_INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS sql FROM pg_index i
    WHERE indrelid = ANY ($1::regclass[])
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('u', 'p'))
"""

_POLICIES = """
    SELECT *, schemaname || '.' || tablename AS on_table FROM pg_policies
    WHERE policyname IN ('own_subject', 'own_candidate')
"""
"""Those that look into other tables than their own."""


class Stripped(Struct):
    """Constraints and indexes that were taken away, to be put back."""

    indexes: list[str]
    constraints: list[tuple[str, str, str, str]]
    """Table, name, definition, kind."""


async def database(env: dict[str, str], name: str) -> dict[str, str]:
    """A database of its own as it was before 0014, without rows; its variables."""
    await execute(env["DATABASE_URL"], f"CREATE DATABASE {name}")
    env = with_database(env, name)
    await migrate(load(Postgres, env), up_to=BEFORE)
    return env


async def strip(c: asyncpg.Connection, tables: Sequence[str]) -> Stripped:
    """Take away what is made faster once the rows are there."""
    names = [f"trainyard.{table}" for table in tables]
    constraints = [
        (row["on_table"], row["name"], row["sql"], row["kind"].decode())
        for row in await c.fetch(_CONSTRAINTS, names)
    ]
    indexes = await c.fetch(_INDEXES, names)
    for index in indexes:
        await c.execute(f"DROP INDEX {index['name']}")
    for table, name, _, _ in constraints:
        await c.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    return Stripped([index["sql"] for index in indexes], constraints)


async def put_back(c: asyncpg.Connection, stripped: Stripped, *, cut: bool) -> list[str]:
    """Make them again. Of tables that are cut a key gets the column by which they are; a reference that none
    of the keys left can bear is given up: what was."""
    await c.execute("SET maintenance_work_mem = '512MB'")
    lost = []
    for sql in stripped.indexes:
        await c.execute(sql.replace(" ON ONLY ", " ON "), timeout=3600)
    keys = [key for key in stripped.constraints if key[3] != "f"]
    for table, name, sql, _ in keys:
        short = table.removeprefix("trainyard.")
        if cut and short in CUT_BY and CUT_BY[short] not in sql:
            await c.execute(f"CREATE INDEX ON {table} {sql[sql.index('(') :]}", timeout=3600)
            lost.append(f"{sql} of {short}")
        else:
            await c.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {sql}", timeout=3600)
    for table, name, sql, kind in stripped.constraints:
        if kind != "f":
            continue
        try:
            late = "" if cut else " NOT VALID"  # which a partitioned table knows from Postgres 18 on
            await c.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {sql}{late}", timeout=3600)
        except asyncpg.InvalidForeignKeyError:
            lost.append(f"{sql} of {table.removeprefix('trainyard.')}")
    return lost


async def cut(c: asyncpg.Connection, table: str, made: Volume) -> None:
    """Put a table cut by month into the place of one that is empty and stripped."""
    whole, column = f"trainyard.{table}", CUT_BY[table]
    policies = await c.fetch(
        "SELECT * FROM pg_policies WHERE schemaname = 'trainyard' AND tablename = $1", table
    )
    grants = await c.fetch(
        "SELECT DISTINCT grantee, privilege_type FROM information_schema.column_privileges"
        " WHERE table_schema = 'trainyard' AND table_name = $1 AND grantee LIKE 'trainyard%'",
        table,
    )
    triggers = await c.fetch(
        "SELECT pg_get_triggerdef(oid) AS sql FROM pg_trigger"
        " WHERE tgrelid = $1::text::regclass AND NOT tgisinternal",
        whole,
    )
    await c.execute(f"ALTER TABLE {whole} RENAME TO {table}_whole")
    await c.execute(f"CREATE TABLE {whole} (LIKE {whole}_whole INCLUDING ALL) PARTITION BY RANGE ({column})")
    await c.execute(f"DROP TABLE {whole}_whole CASCADE")  # and what others' policies say of it
    for month in range(MONTHS + AHEAD):
        least = "MINVALUE" if month == 0 else f"'{made.bound(month)}'"
        await c.execute(
            f"CREATE TABLE {whole}_{month:02} PARTITION OF {whole} FOR VALUES FROM ({least})"
            f" TO ('{made.bound(month + 1)}')"
        )
    await c.execute(f"CREATE TABLE {whole}_unplaced PARTITION OF {whole} DEFAULT")
    await c.execute(f"ALTER TABLE {whole} ENABLE ROW LEVEL SECURITY")
    await c.execute(f"ALTER TABLE {whole} FORCE ROW LEVEL SECURITY")
    for policy in policies:
        await c.execute(_policy(policy, whole))
    for grant in grants:  # of whole tables, where the original may name columns
        await c.execute(f"GRANT {grant['privilege_type']} ON {whole} TO {grant['grantee']}")
    await c.execute(f"GRANT DELETE ON {whole} TO trainyard_worker")
    for trigger in triggers:
        await c.execute(trigger["sql"])


def _policy(policy: asyncpg.Record, table: str) -> str:
    shows = f" USING ({policy['qual']})" if policy["qual"] else ""
    takes = f" WITH CHECK ({policy['with_check']})" if policy["with_check"] else ""
    return (
        f"CREATE POLICY {policy['policyname']} ON {table} AS {policy['permissive']} FOR {policy['cmd']}"
        f" TO {', '.join(policy['roles'])}{shows}{takes}"
    )


async def fill(c: asyncpg.Connection, made: Volume) -> None:
    """All rows, month by month, as they would have come."""
    async with c.transaction():
        # what is written in the transaction that emptied a table is not written into the journal too
        await c.execute("TRUNCATE " + ", ".join(f"trainyard.{table}" for table in TABLES))
        for month in range(MONTHS):
            for table in TABLES:
                await rows.fill(c, table, made, month)


async def build(
    env: dict[str, str], name: str, made: Volume, *, by_month: bool
) -> tuple[dict[str, str], list[str]]:
    """A database with all rows, analysed and vacuumed; its variables, and the constraints that it lacks."""
    env = await database(env, name)
    c = await asyncpg.connect(env["DATABASE_URL"])
    try:
        await c.execute(rows.FUNCTIONS)
        await c.execute(rows.USERS, made.users)
        stripped = await strip(c, TABLES)
        if by_month:
            policies = await c.fetch(_POLICIES)
            for table in TABLES:
                await cut(c, table, made)
            for policy in policies:
                await c.execute(f"DROP POLICY IF EXISTS {policy['policyname']} ON {policy['on_table']}")
                await c.execute(_policy(policy, policy["on_table"]))
        await c.execute("SET session_replication_role = replica")
        await fill(c, made)
        print(f"{time.strftime('%H:%M:%S')} {name}: rows are there", flush=True)
        lost = await put_back(c, stripped, cut=by_month)
        print(f"{time.strftime('%H:%M:%S')} {name}: indexes are there", flush=True)
        await c.execute("SET session_replication_role = origin")
        await c.execute("VACUUM (ANALYZE)", timeout=3600)
        await c.execute("CHECKPOINT", timeout=3600)
    finally:
        await c.close()
    return env, lost
