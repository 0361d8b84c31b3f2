"""What a load asks of each part, and what is full first: arithmetic on what was measured (`footprint`).

Loads are those of the busiest hour. Everything is linear in what was measured, save what is not: a claim and
the sweep's look cost more the more jobs wait, and a job calls so many trainers and no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
from msgspec import Struct

from shared.settings import Worker
from shared.worker import CALLED, NET_EVERY_S
from tests.bench.scaling.footprint import Footprint, Use

DAY_S = 86_400.0
FULL = 0.7
"""The share of a processor, a disk or a server's connections that is planned with: beyond it waits grow
faster than the load."""
POSTGRES_PROCESSES = 100
"""Connections that Postgres takes as it comes (`max_connections`)."""
PER_PREFIX_PUTS = 3_500
"""A second, of S3 (Performance guidelines, "Optimizing performance": 3,500 PUT, 5,500 GET a prefix)."""


class Load(Struct, frozen=True, kw_only=True):
    """What is asked for. The figures that are not measured are these, and they are guesses to be replaced."""

    runs_per_day: float
    peak: float = 3.0
    """The busiest hour over the day's mean."""
    models: int = 12
    """Of a run: ten and two ensembles, the defaults of a classification."""
    fit_s: float = 8.0
    """Slot seconds of each: 94 core seconds a run were used with budgets of 60 s (docs/benchmarks.md)."""
    polls: float = 30.0
    """Of a run, besides whoever watches it by long polls."""
    upload_mib: float = 5.0
    """For each run."""
    queue_s: float = 10.0
    """How long jobs wait at that hour."""

    @property
    def runs_s(self) -> float:
        return self.runs_per_day / DAY_S * self.peak

    @property
    def jobs_s(self) -> float:
        """Plan, fits, report."""
        return self.runs_s * (self.models + 2)

    @property
    def running(self) -> float:
        """Fits at a time."""
        return self.runs_s * self.models * self.fit_s


class Setup(Struct, frozen=True, kw_only=True):
    """How it is run."""

    slots: int = 2
    """Of a trainer."""
    busy: float = 0.85
    """The share of the slots that fits take: docs/scaling.md says what waiting that comes to."""
    sweep_every_s: float = Worker().sweep_every_s
    called: float = CALLED
    """Trainers that look for a job; infinite: all of them."""
    cells: int = 1
    """Stacks that the users are divided among, each with servers and a fleet of its own."""


class Demand(Struct, frozen=True, kw_only=True):
    """What one cell is asked for, at the busiest hour."""

    running: float
    trainers: float
    apis: float
    api_cores: float
    postgres_cores: float
    connections: float
    wal_mb_s: float
    redis_cores: float
    redis_commands_s: float
    store_requests_s: float
    upload_mb_s: float
    claim_ms: float
    table_gb_day: float
    store_gb_day: float
    parts: dict[str, float]
    """Of `postgres_cores`, by what asks for it."""


def demand(load: Load, setup: Setup, found: Footprint) -> Demand:
    """What a load asks for of each of `setup.cells` stacks."""
    mine = msgspec.structs.replace(load, runs_per_day=load.runs_per_day / setup.cells)
    trainers = max(mine.running / (setup.slots * setup.busy), 1.0)
    waiting = mine.jobs_s * mine.queue_s
    called = min(trainers, setup.called)
    use = _use(mine, called, found)
    # each job is claimed once, and in vain by those of the other trainers called that have a free lane
    claims_s = mine.jobs_s * (1 + found.job_and_trainer.commits * (called - 1))
    sweeps_s = trainers / setup.sweep_every_s
    claim_ms = at_depth(found, waiting, lambda depth: depth.claim_ms)
    backlog_ms = at_depth(found, waiting, lambda depth: depth.backlog_ms)
    shallow = found.depths[0]
    parts = {
        "runs": use["runs"].postgres_s,
        "fits under way": use["fits"].postgres_s,
        "polls": use["polls"].postgres_s,
        "trainers called in vain": use["called"].postgres_s,
        "a deep queue": max(claim_ms - shallow.claim_ms, 0) / 1e3 * claims_s
        + max(backlog_ms - shallow.backlog_ms, 0) / 1e3 * sweeps_s,
        "sweeps of idle processes": found.idle_trainer.postgres_s * sweeps_s,
        # by indexes of what is open: the same with ten million runs (docs/decisions/0033)
        "the net": max(net.ms for net in found.nets) / 1e3 * trainers / NET_EVERY_S,
    }
    api_cores = sum(use[asked].api_s for asked in ("runs", "fits", "polls", "uploads"))
    apis = max(api_cores / FULL, 1.0)
    commands_s = found.idle_trainer.redis_commands * trainers
    commands_s += sum(part.redis_commands for part in use.values())
    return Demand(
        running=mine.running,
        trainers=trainers,
        apis=apis,
        api_cores=api_cores,
        postgres_cores=sum(parts.values()),
        connections=trainers * found.connections_trainer
        + apis * found.connections_api
        + found.connections_packager,
        wal_mb_s=mine.runs_s * found.wal_bytes / 1e6,
        redis_cores=commands_s * found.redis_command_s,
        redis_commands_s=commands_s,
        store_requests_s=mine.runs_s * found.store_requests,
        upload_mb_s=mine.runs_s * mine.upload_mib * 2**20 / 1e6,
        claim_ms=claim_ms,
        table_gb_day=mine.runs_per_day * sum(found.table_bytes.values()) / 1e9,
        store_gb_day=mine.runs_per_day * (found.store_bytes + mine.upload_mib * 2**20) / 1e9,
        parts=parts,
    )


def _use(mine: Load, called: float, found: Footprint) -> dict[str, Use]:
    """A second of it, by what asks."""
    return {
        "runs": (found.run + found.model * mine.models) * mine.runs_s,
        "fits": found.fit_second * mine.running,
        "polls": found.poll * (mine.polls * mine.runs_s),
        "uploads": found.upload_mib * (mine.upload_mib * mine.runs_s),
        "called": found.job_and_trainer * (mine.jobs_s * (called - 1)),
    }


def at_depth(found: Footprint, waiting: float, of: Callable[..., float]) -> float:
    """Milliseconds with so many jobs waiting: a straight line between the depths that were measured, and the
    last one goes on."""
    points = [(depth.waiting, of(depth)) for depth in found.depths]
    for (low, below), (high, above) in itertools.pairwise(points):
        if waiting <= high or high == points[-1][0]:
            return max(below + (above - below) * (waiting - low) / (high - low), min(below, above), 0.0)
    return points[-1][1]


class Limit(Struct, frozen=True, kw_only=True):
    """One thing that can be full. `of`: what of a demand; `at`: how much there is."""

    what: str
    of: Callable[[Demand], float]
    at: float
    unit: str
    then: str
    """What is done about it."""


def full_at(limit: Limit, load: Load, setup: Setup, found: Footprint) -> float:
    """Runs a day at which this is full; infinite where it is not by a thousand million."""
    low, high = 1.0, 1e9
    if limit.of(demand(_per_day(load, high), setup, found)) < limit.at:
        return float("inf")
    if limit.of(demand(_per_day(load, low), setup, found)) > limit.at:
        return 0.0
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        if limit.of(demand(_per_day(load, middle), setup, found)) > limit.at:
            high = middle
        else:
            low = middle
    return low


def _per_day(load: Load, runs: float) -> Load:
    return msgspec.structs.replace(load, runs_per_day=runs)
