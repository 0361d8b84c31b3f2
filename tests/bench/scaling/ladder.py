"""The worked-out tables of docs/scaling.md: what a load asks for at each step, and what is full when."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from tests.bench.scaling import capacity
from tests.bench.scaling.capacity import FULL, POSTGRES_PROCESSES, Demand, Limit, Load, Setup, demand
from tests.bench.scaling.footprint import Footprint

SHIPPED = Setup()
TUNED = Setup(slots=16, sweep_every_s=10.0)
"""Trainers of sixteen cores, which sweep every ten seconds."""
TOLD_TO_ALL = Setup(called=math.inf)
"""As shipped, were every trainer to look for every job."""
STEPS = (1_000, 10_000, 100_000, 1_000_000)
CELL = 250_000
"""Runs a day of a cell."""


class Column(Struct, frozen=True):
    what: str
    load: Load
    setup: Setup


COLUMNS = (
    *(Column(f"{runs:,}", Load(runs_per_day=runs), SHIPPED) for runs in STEPS),
    Column(f"{STEPS[-1]:,}, every trainer looking for every job", Load(runs_per_day=STEPS[-1]), TOLD_TO_ALL),
    Column(f"{STEPS[-1]:,}, tuned", Load(runs_per_day=STEPS[-1]), TUNED),
    Column(
        f"{STEPS[-1]:,}, tuned, in {STEPS[-1] // CELL} cells: each",
        Load(runs_per_day=STEPS[-1]),
        Setup(slots=TUNED.slots, sweep_every_s=TUNED.sweep_every_s, cells=STEPS[-1] // CELL),
    ),
)


class Row(Struct, frozen=True):
    what: str
    of: Callable[[Demand], float]
    digits: int = 0


ROWS = (
    Row("fits at a time", lambda d: d.running),
    Row("trainers", lambda d: math.ceil(d.trainers)),
    Row("API processes", lambda d: math.ceil(d.apis)),
    Row("**Postgres: cores**", lambda d: d.postgres_cores, 2),
    Row("of which runs", lambda d: d.parts["runs"], 2),
    Row("fits under way", lambda d: d.parts["fits under way"], 2),
    Row("polls", lambda d: d.parts["polls"], 2),
    Row("trainers called in vain", lambda d: d.parts["trainers called in vain"], 2),
    Row("a deep queue", lambda d: d.parts["a deep queue"], 2),
    Row("sweeps of idle processes", lambda d: d.parts["sweeps of idle processes"], 2),
    Row("the net", lambda d: d.parts["the net"], 2),
    Row("connections to Postgres", lambda d: d.connections),
    Row("WAL, MB/s", lambda d: d.wal_mb_s, 2),
    Row("tables, GB a day", lambda d: d.table_gb_day, 2),
    Row("**Redis: cores**", lambda d: d.redis_cores, 3),
    Row("commands a second", lambda d: d.redis_commands_s),
    Row("**the store**: requests a second", lambda d: d.store_requests_s, 1),
    Row("uploads through the API, MB/s", lambda d: d.upload_mb_s, 1),
    Row("the store: GB a day", lambda d: d.store_gb_day, 1),
)


def ladder(found: Footprint) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: a column for each step."""
    demands = [demand(column.load, column.setup, found) for column in COLUMNS]
    rows = [[row.what, *(_number(row.of(each), row.digits) for each in demands)] for row in ROWS]
    return ["runs a day", *(column.what for column in COLUMNS)], rows


def limits(found: Footprint) -> list[Limit]:
    """What can be full, and what is done about it."""
    cores = [2, 16, 64]
    done = {
        2: "a larger machine for Postgres alone",
        16: "a larger one; read replicas for polls and lists",
        64: "cells",
    }
    return [
        Limit(
            what="cores of one machine of 2",
            of=lambda d: d.running / SHIPPED.busy,
            at=2,
            unit="slots",
            then="trainers on machines of their own",
        ),
        Limit(
            what=f"connections, `max_connections = {POSTGRES_PROCESSES}`",
            of=lambda d: d.connections,
            at=POSTGRES_PROCESSES - 3,
            unit="connections",
            then="a pooler in transaction mode, `DB_STATEMENT_CACHE_SIZE=0`",
        ),
        *(
            Limit(
                what=f"Postgres on {count} cores",
                of=lambda d: d.postgres_cores,
                at=count * FULL,
                unit="cores",
                then=done[count],
            )
            for count in cores
        ),
        Limit(
            what="Redis on its one core",
            of=lambda d: d.redis_cores,
            at=FULL,
            unit="cores",
            then="one for messages and one for the rest, by cells",
        ),
        Limit(
            what="one API process",
            of=lambda d: d.api_cores,
            at=FULL,
            unit="cores",
            then="more of them: they share nothing",
        ),
        Limit(
            what="WAL on a disk of 125 MB/s",
            of=lambda d: d.wal_mb_s,
            at=125 * FULL,
            unit="MB/s",
            then="a faster disk; cells",
        ),
        Limit(
            what=f"{capacity.PER_PREFIX_PUTS:,} requests a second of one prefix of S3",
            of=lambda d: d.store_requests_s,
            at=capacity.PER_PREFIX_PUTS,
            unit="requests/s",
            then="nothing: keys begin with their owner's id, so S3 divides them",
        ),
    ]


def saturation(found: Footprint) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows: at how many runs a day each is full, as shipped and tuned; the first to be so first."""
    load = Load(runs_per_day=1)
    known = []
    for limit in limits(found):
        shipped, tuned = (capacity.full_at(limit, load, setup, found) for setup in (SHIPPED, TUNED))
        known.append((shipped, tuned, limit))
    known.sort(key=lambda row: row[0])
    rows = [
        [limit.what, f"{_number(limit.at, 1)} {limit.unit}", _runs(shipped), _runs(tuned), limit.then]
        for shipped, tuned, limit in known
    ]
    return ["what", "is full at", "runs a day, as shipped", "tuned", "then"], rows


def _runs(value: float) -> str:
    """Two digits: more would be pretence."""
    if math.isinf(value):
        return "never"
    if value < 1:
        return "0"
    return f"{float(f'{value:.2g}'):,.0f}"


def _number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 100 or not digits else f"{value:,.{digits}f}"
