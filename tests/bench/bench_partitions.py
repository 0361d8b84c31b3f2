"""Ten million runs in tables as they were, as they are, and cut by month: what is asked most, what is swept,
what goes when it is old, how large it all is, and what it takes to get from the first to the second while
services go on.

The rows are the same in all three and are made by `partitions/rows.py`. ROWS=1000000 takes fewer. It takes an
hour or two and some 25 GB of disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import uvloop
from msgspec import Struct, field

from deploy import ports
from deploy.embedded import load_credentials, postgres
from deploy.processes import Running
from tests.bench import report
from tests.bench.partitions import ageing, layouts, migrating, probes, rows
from tests.bench.partitions.probes import Taken
from tests.bench.partitions.rows import MONTHS, Volume

TITLE = "Ten million runs, and whether to cut their tables"
LONG = True
RUNS = int(os.environ.get("BENCH_ROWS") or 10_000_000)
USERS = max(RUNS // 100, 1000)
TIMES = int(os.environ.get("BENCH_ROUNDS") or 100)
WAITING = 1000
"""Jobs that wait beside the fits."""

SERVER = {
    "shared_buffers": "1GB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",  # what it does is measured by itself
}


class Layout(Struct):
    """What one layout gave."""

    taken: dict[str, Taken] = field(default_factory=dict)
    bytes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each table: its rows, its indexes."""
    once: dict[str, float] = field(default_factory=dict)
    """Seconds of what is done once a month, or after so many changes."""
    lost: list[str] = field(default_factory=list)


@contextlib.contextmanager
def server() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        credentials, port = load_credentials(folder), ports.free(1)[0]
        program = postgres.program(folder / "postgres", credentials, port, durable=False)
        options = [part for key, value in SERVER.items() for part in ("-c", f"{key}={value}")]
        running = Running(dataclasses.replace(program, command=[*program.command, *options]), folder / "logs")
        running.prepare()
        running.start()
        try:
            running.wait_ready()
            yield postgres.variables(credentials, port)
        finally:
            running.stop()


@contextlib.asynccontextmanager
async def owner(env: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    c = await asyncpg.connect(env["DATABASE_URL"])
    try:
        yield c
    finally:
        await c.close()


async def _asked(env: dict[str, str], made: Volume) -> dict[str, Taken]:
    async with owner(env) as c:
        sample = await probes.sample(c, made)
    found = {}
    async with probes.login(env["API_DATABASE_URL"]) as c:
        for name, (user, ask) in probes.as_user(sample).items():
            found[name] = await probes.taken(c, ask, times=TIMES, user=user)
    async with probes.login(env["WORKER_DATABASE_URL"]) as c:
        for name, ask in probes.as_worker(sample).items():
            found[name] = await probes.taken(c, ask, times=TIMES)
    return found


async def _whole(env: dict[str, str], made: Volume) -> tuple[Layout, Layout, list[str]]:
    """As it was, as it is, and what the way between them took."""
    env, _ = await layouts.build(env, "whole", made, by_month=False)
    async with owner(env) as c:
        await c.execute(rows.WAITING, WAITING)
        await c.execute("ANALYZE trainyard.jobs")
        was = Layout(bytes=await ageing.sizes(c), taken=await _asked(env, made))
        _say("as it was", was)
        was.once = await ageing.by_rows(c, made)
        _say("as it was", was)
        migrated = await migrating.migrated(env, made)
        print("\n".join(migrated), flush=True)
        await c.execute("VACUUM (ANALYZE)", timeout=3600)
        is_ = Layout(bytes=await ageing.sizes(c), taken=await _asked(env, made))
        _say("as it is", is_)
    return was, is_, migrated


async def _cut(env: dict[str, str], made: Volume) -> Layout:
    env, lost = await layouts.build(env, "by_month", made, by_month=True)
    async with owner(env) as c:
        await c.execute(rows.WAITING, WAITING)
        await c.execute("ANALYZE trainyard.jobs")
        found = Layout(bytes=await ageing.sizes(c), taken=await _asked(env, made), lost=lost)
        found.once = await ageing.by_month(c, made)
    _say("cut by month", found)
    return found


def _say(name: str, found: Layout) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {found}", flush=True)


async def _run() -> list[str]:
    made = rows.volume(RUNS, USERS, candidates=1, deeds=1)
    with server() as env:
        was, is_, migrated = await _whole(env, made)
        async with owner(env) as c:
            await c.execute("DROP DATABASE whole WITH (FORCE)")
        cut = await _cut(env, made)
    # runs are whole as they were, and the trail is cut as it would be with all the rest
    is_.once = was.once | {ageing.TRAIL: cut.once[ageing.TRAIL]}
    return _lines(made, was, is_, cut, migrated)


def _lines(made: Volume, was: Layout, is_: Layout, cut: Layout, migrated: list[str]) -> list[str]:
    layouts_ = (was, is_, cut)
    head = ("", "as it was", "as it is", "all cut by month")
    asked = []
    for name in was.taken:
        cells = [
            f"{t.ms:.2f} ms, {t.pages:,} pages, {t.locks} locks" for t in (x.taken[name] for x in layouts_)
        ]
        asked.append((name, *cells))
    once = [(name, *(f"{x.once[name]:,.1f} s" for x in layouts_)) for name in was.once]
    sizes = []
    for table in was.bytes:
        sizes.append(
            (
                table,
                *(f"{a / 2**20:,.0f} + {b / 2**20:,.0f} MiB" for a, b in (x.bytes[table] for x in layouts_)),
            )
        )
    return [
        f"{made.runs:,} runs of {made.users:,} users in {MONTHS} months, {made.runs * made.candidates:,}"
        f" candidates, {made.runs * made.deeds:,} rows of the trail; {rows.OPEN:,} runs under way, of"
        f" {rows.RUNNING:,} of which a candidate is fitted, of the others one waits; {WAITING:,} other jobs"
        f" wait. Medians of up to {TIMES}.",
        "",
        *report.table(("one statement or a few", *head[1:]), asked),
        "",
        *report.table(("now and then", *head[1:]), once),
        "",
        *report.table(("table, rows + indexes", *head[1:]), sizes),
        "",
        "What tables that are cut cannot have: " + "; ".join(f"`{x}`" for x in cut.lost) + ".",
        "",
        *migrated,
    ]


def measure() -> list[str]:
    return uvloop.run(_run())


if __name__ == "__main__":
    began = time.monotonic()
    print("\n".join(measure()))
    print(f"{time.monotonic() - began:.0f} s")
