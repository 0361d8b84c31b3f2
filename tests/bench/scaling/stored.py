"""Bytes a run: of real runs of the product, copied until pages and indexes are full ones."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import asyncpg

from shared.settings import S3, load
from shared.storage import open_store
from tests.bench.product import Product

COPIES = 1500
USERS = 1000

TABLES = {
    "trainyard.tasks": ("id", {"id": "copies.id", "user_id": "copies.user_id", "file_id": "NULL"}),
    "trainyard.candidates": (
        "task_id",
        {"id": "uuidv7()", "task_id": "copies.id", "user_id": "copies.user_id"},
    ),
    "trainyard.audit": (
        "subject_id",
        {"id": "uuidv7()", "subject_id": "copies.id", "user_id": "copies.user_id"},
    ),
}
"""What a run leaves in the database: by table the column that names it, and what is new in a copy."""

SIZES = """
SELECT sum(pg_total_relation_size(relid)) AS whole, sum(pg_table_size(relid)) AS rows
FROM (SELECT $1::text::regclass AS relid UNION SELECT relid FROM pg_partition_tree($1::text::regclass)) parts
"""
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema || '.' || table_name = $1 AND is_generated = 'NEVER'
  AND identity_generation IS DISTINCT FROM 'ALWAYS' ORDER BY ordinal_position
"""


async def copied(owner: asyncpg.Connection, runs: Sequence[uuid.UUID], copies: int) -> int:
    """Copy what these runs left for `copies` runs more, of many users; how many there are now."""
    users = [uuid.uuid4() for _ in range(USERS)]
    await owner.executemany("INSERT INTO auth.users (id) VALUES ($1)", [(user,) for user in users])
    await owner.execute("DROP TABLE IF EXISTS copies")
    await owner.execute(
        "CREATE TEMP TABLE copies AS SELECT ($1::uuid[])[1 + i % $2] AS old_id, uuidv7() AS id,"
        " ($3::uuid[])[1 + i % $4] AS user_id FROM generate_series(1, $5::int) i",
        list(runs),
        len(runs),
        users,
        USERS,
        copies,
    )
    for table, (names, new) in TABLES.items():
        columns = [row[0] for row in await owner.fetch(COLUMNS, table)]
        selected = [new.get(column, f"old.{column}") for column in columns]
        await owner.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(selected)}"
            f" FROM copies JOIN {table} old ON old.{names} = copies.old_id",
            timeout=1800,
        )
    await owner.execute("VACUUM ANALYZE")
    return int(await owner.fetchval("SELECT count(*) FROM trainyard.tasks"))


async def sizes(owner: asyncpg.Connection) -> dict[str, tuple[int, int]]:
    """Bytes of each table of `TABLES`, with its indexes and without."""
    await owner.execute("VACUUM ANALYZE")
    found = {}
    for table in TABLES:
        row = await owner.fetchrow(SIZES, table)
        found[table] = (int(row["whole"]), int(row["rows"]))
    return found


async def of_a_user(owner: asyncpg.Connection, count: int = 20_000) -> int:
    """Bytes that a user takes who has one profiled file and has been served once."""
    tables = ("auth.users", "trainyard.turns", "trainyard.files", "trainyard.profiles")
    measured = "SELECT " + " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
    before = await owner.fetchval(measured)
    await owner.execute(
        "CREATE TEMP TABLE new_users AS SELECT uuidv7() AS id FROM generate_series(1, $1::int)", count
    )
    for statement in (
        "INSERT INTO auth.users (id, email) SELECT id, id || '@example.org' FROM new_users",
        "INSERT INTO trainyard.turns (user_id, last_claim) SELECT id, now() FROM new_users",
        "INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256)"
        " SELECT id, id, 'a table.csv', 1000000, repeat('0', 64) FROM new_users",
        "INSERT INTO trainyard.profiles (file_id, user_id, status, rows, columns, profile, preview)"
        " SELECT n.id, n.id, p.status, p.rows, p.columns, p.profile, p.preview FROM new_users n,"
        " (SELECT * FROM trainyard.profiles WHERE status = 'ready' ORDER BY file_id LIMIT 1) p",
    ):
        await owner.execute(statement, timeout=600)
    await owner.execute("VACUUM ANALYZE")
    return int((await owner.fetchval(measured) - before) / count)


async def objects(stack: Product, prefixes: Sequence[str]) -> tuple[int, int]:
    """How many objects of artifacts there are under these prefixes, and their bytes."""
    count = size = 0
    async with open_store(load(S3, stack.env)) as store:
        for prefix in prefixes:
            async for listed in store.list(store.artifacts, prefix):
                count, size = count + 1, size + listed.size_bytes
    return count, size
