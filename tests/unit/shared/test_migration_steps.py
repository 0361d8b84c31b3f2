"""Migrations that are run step by step, as files."""

from __future__ import annotations

import re

import pytest

from shared.db import migrate

ONLINE = {name: sql for _, name, sql in migrate.migrations() if migrate.is_online(sql)}


def test_a_file_is_one_or_several_steps() -> None:
    assert migrate.steps("CREATE TABLE t ();\n-- step\nSELECT 1;") == []
    assert migrate.steps("-- online\n-- step\nSELECT 1;\n\n-- step\n-- why\nSELECT 2;\n") == [
        "SELECT 1;",
        "-- why\nSELECT 2;",
    ]


@pytest.mark.parametrize("name", ONLINE)
def test_every_step_can_be_run_again(name: str) -> None:
    """Each says so by its words, or looks: a migration that was interrupted begins anew at its first."""
    again = re.compile(
        r"IF NOT EXISTS|CREATE OR REPLACE|^DO \$\$|^COMMENT|^ALTER TABLE \S+\s+SET \(", re.MULTILINE
    )
    for step in migrate.steps(ONLINE[name]):
        assert again.search(step), step


@pytest.mark.parametrize("name", ONLINE)
def test_an_index_is_made_by_itself_and_known_by_its_name(name: str) -> None:
    """What is not recognised is run in a transaction, in which no index is made CONCURRENTLY."""
    concurrent = [step for step in migrate.steps(ONLINE[name]) if "CONCURRENTLY" in step]
    for step in concurrent:
        assert migrate._INDEX.search(step), step
        assert step.count(";") == 1, step
    plain = [step for step in migrate.steps(ONLINE[name]) if step not in concurrent]
    assert [step for step in plain if re.match(r"(--.*\n)*CREATE (UNIQUE )?INDEX", step)] == []
