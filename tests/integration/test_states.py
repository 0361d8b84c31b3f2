"""docs/states.md against what the database lets happen."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import asyncpg
import pytest

STATES = Path(__file__).parents[2] / "docs" / "states.md"
TABLES = {
    "profiles": "trainyard.profiles",
    "tasks": "trainyard.tasks",
    "candidates": "trainyard.candidates",
    "bundles": "trainyard.bundles",
    "conversions": "trainyard.conversions",
    "exports": "trainyard.exports",
    "trained_models": "public.trained_models",
}


def drawn() -> dict[str, set[tuple[str, str]]]:
    """Table → the arrows of its diagram, beginnings left out."""
    found: dict[str, set[tuple[str, str]]] = {}
    for section in STATES.read_text().split("\n## ")[1:]:
        name = section.split("\n", 1)[0].strip()
        arrows = re.findall(r"(?m)^    (\S+) --> (\S+)", section)
        found[name] = {(old, new) for old, new in arrows if old != "[*]"}
    return found


@pytest.mark.parametrize("name", TABLES)
async def test_the_arrows_are_those_that_the_database_allows(env: dict[str, str], name: str) -> None:
    table = TABLES[name]
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        check = await connection.fetchval(
            "SELECT string_agg(pg_get_constraintdef(oid), ' ') FROM pg_constraint"
            " WHERE conrelid = $1::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%status%'",
            table,
        )
        states = sorted(set(re.findall(r"'(\w+)'::text", check)))
        # a bare table with the same trigger: only the states matter, not the rows that have them
        definition = await connection.fetchval(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
            " WHERE tgrelid = $1::regclass AND tgname LIKE '%_states'",
            table,
        )
        await connection.execute("CREATE TABLE public.bare (status text)")
        await connection.execute(definition.replace(f"ON {table}", "ON public.bare"))
        allowed = set()
        for old, new in itertools.permutations(states, 2):
            await connection.execute("TRUNCATE public.bare")
            await connection.execute("INSERT INTO public.bare VALUES ($1)", old)
            try:
                await connection.execute("UPDATE public.bare SET status = $1", new)
            except asyncpg.CheckViolationError:
                continue
            allowed.add((old, new))
    finally:
        await connection.close()
    assert drawn()[name] == allowed
    assert {state for arrow in allowed for state in arrow} == set(states)


def test_every_table_with_a_status_is_drawn() -> None:
    assert drawn().keys() == TABLES.keys()
