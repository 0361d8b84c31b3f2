"""Whatever is uploaded: it is read, or refused in words. No process dies of it, none hangs.

`make test` reads some hundred tables, `make fuzz` ten thousand (FUZZ_EXAMPLES says how many); what went
wrong is left in `.hypothesis/hostile`, each table as it was uploaded beside how it was made.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given

from services.trainer.child import Children
from tests.fuzz.hostile import Hostile, noise, text_tables
from tests.fuzz.hostile_parquet import parquet_files
from tests.fuzz.reading import read_tables
from tests.fuzz.steps import STEPS, Read

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 300)
BATCH = 50
AT_ONCE = 2
KEPT = Path(".hypothesis", "hostile")
GOOD = {"planned", "profiled", "refused"}


def drawn(count: int) -> list[Hostile]:
    """So many of all kinds. They are only drawn: shrinking what is found would take a process a try."""
    found: list[Hostile] = []

    @hypothesis.settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(text_tables() | text_tables() | text_tables() | parquet_files() | parquet_files() | noise())
    def draw(table: Hostile) -> None:
        found.append(table)

    draw()
    return found[:count]


async def test_no_table_breaks_a_process(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    async with Children(STEPS) as children:
        await children.ready()
        left = EXAMPLES
        while left > 0:
            tables = drawn(min(left, BATCH * AT_ONCE))
            left -= BATCH * AT_ONCE
            parts = [tables[i : i + BATCH] for i in range(0, len(tables), BATCH)]
            folders = [tmp_path / f"{left}-{i}" for i in range(len(parts))]
            done = await asyncio.gather(*map(read_tables, [children] * len(parts), parts, folders))
            for table, read in zip(tables, [read for part in done for read in part], strict=True):
                seen[read.outcome] += 1
                slowest = max(slowest, read.seconds)
                if read.outcome not in GOOD:
                    wrong.append(kept(table, read))
    print(f"\n{sum(seen.values()):,} tables: {dict(seen)}; the slowest took {slowest:.1f} s")
    assert wrong == [], "\n".join(wrong[:20])
    assert min(seen[outcome] for outcome in GOOD) > 0, "tables of one kind only"


def kept(table: Hostile, read: Read) -> str:
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / hashlib.sha256(table.content).hexdigest()[:16]
    path.write_bytes(table.content)
    path.with_suffix(".txt").write_text(f"{table.name}\n{table.recipe}\n\n{read.outcome}: {read.reason}\n")
    return f"{path}: {read.outcome}: {read.reason.strip().splitlines()[-1] if read.reason else ''}"
