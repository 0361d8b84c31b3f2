"""The rows of every table of ours, by Postgres's own COPY.

Which tables there are is read from the catalogue, so a table made later is in the next backup before
anybody thinks of it. The schema is not in a backup: the migrations make it, up to the one that the rows were
written under, and then the rest. So a backup of one major version of Postgres goes into another.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from msgspec import Struct

from shared.errors import ConfigurationError

LEVEL = 6


class TableFile(Struct, frozen=True, kw_only=True):
    """One table's rows: COPY's text format, compressed. `sha256` is the file's."""

    table: str
    columns: list[str]
    rows: int
    file: str
    sha256: str


class Migration(Struct, frozen=True, kw_only=True):
    """One that the rows were written under."""

    number: int
    name: str
    sha256: str


# The last: the table that 0001 makes, as in shared/db/migrate.py. Supabase's is Supabase's to back up.
_TABLES = """
    SELECT c.oid, n.nspname AS schema, c.relname AS name, ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND (
        n.nspname = 'trainyard' AND c.relname <> 'migrations'
        OR n.nspname = 'public' AND c.relname = 'trained_models'
        OR n.nspname = 'auth' AND c.relname = 'users' AND c.relowner = current_user::regrole
            AND ARRAY['created_at', 'email', 'id'] = ARRAY(
                SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname))
    ORDER BY n.nspname, c.relname
"""
_REFERENCES = "SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid"


class Table(Struct, frozen=True, kw_only=True):
    schema: str
    name: str
    columns: list[str]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """Names that this project's migrations gave, none of which needs more than quotes."""
        return f'"{self.schema}"."{self.name}"'


async def tables(c: asyncpg.Connection) -> list[Table]:
    """All of ours, each after those that it refers to."""
    found = {row["oid"]: row for row in await c.fetch(_TABLES)}
    needs: dict[int, set[int]] = {oid: set() for oid in found}
    for row in await c.fetch(_REFERENCES):
        if row["conrelid"] in needs and row["confrelid"] in needs:
            needs[row["conrelid"]].add(row["confrelid"])
    ordered: list[int] = []
    while len(ordered) < len(found):
        ready = [oid for oid in found if oid not in ordered and needs[oid] <= set(ordered)]
        if not ready:
            raise ConfigurationError("tables refer to one another in a circle, and cannot be put in order")
        ordered += ready
    rows = [found[oid] for oid in ordered]
    return [Table(schema=r["schema"], name=r["name"], columns=list(r["columns"])) for r in rows]


async def migrations(c: asyncpg.Connection) -> list[Migration]:
    """Those that were applied, in order. Raises ConfigurationError where there are none."""
    if await c.fetchval("SELECT to_regclass('trainyard.migrations')") is None:
        raise ConfigurationError("DATABASE_URL names a database without Trainyard's tables")
    rows = await c.fetch("SELECT number, name, sha256 FROM trainyard.migrations ORDER BY number")
    return [Migration(**row) for row in rows]


async def write(c: asyncpg.Connection, table: Table, folder: Path) -> TableFile:
    """Copy a table's rows, as the transaction of `c` sees them, into a file of `folder`."""
    columns = ", ".join(f'"{column}"' for column in table.columns)
    path = folder / f"{table.full_name}.gz"
    # no time and no name in it: the same rows are the same bytes
    with path.open("xb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, 0) as file:

        async def take(chunk: bytes) -> None:
            file.write(chunk)

        said = await c.copy_from_query(f"SELECT {columns} FROM {table.sql}", output=take)  # noqa: S608
    return TableFile(
        table=table.full_name,
        columns=table.columns,
        rows=int(said.split()[-1]),
        file=path.name,
        sha256=sha256_of(path),
    )


async def read(c: asyncpg.Connection, table: Table, stored: TableFile, folder: Path) -> None:
    """Copy the rows of a file back. Raises ConfigurationError for columns that the table has not."""
    if unknown := set(stored.columns) - set(table.columns):
        raise ConfigurationError(f"{table.full_name} has no {', '.join(sorted(unknown))}")
    with gzip.open(folder / stored.file, "rb") as file:
        said = await c.copy_to_table(
            table.name, schema_name=table.schema, columns=stored.columns, source=file
        )
    if int(said.split()[-1]) != stored.rows:
        raise ConfigurationError(f"{stored.file} holds {said.split()[-1]} rows, and should {stored.rows}")


async def rows_in(c: asyncpg.Connection, found: Sequence[Table]) -> list[str]:
    """The names of those that have any."""
    return [
        table.full_name
        for table in found
        if await c.fetchval(f"SELECT EXISTS (SELECT FROM {table.sql})")  # noqa: S608
    ]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
