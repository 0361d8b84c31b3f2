"""The simulations of docs/scaling.md: each row one fleet and one load, from fixed seeds."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from tests.bench.queueing import waits, workload
from tests.bench.queueing.discipline import FairQueue, FifoQueue, Queue
from tests.bench.queueing.fleet import Fleet, Outcome, Served, Simulation
from tests.bench.queueing.workload import BURST, Run, Shape

REPLICATIONS = 5
SLOTS = 2
"""Of each trainer: a machine of two cores."""


class Table(Struct, frozen=True, kw_only=True):
    """`rows`: what makes each of them, the cheapest first."""

    name: str
    head: Sequence[str]
    rows: Sequence[Callable[[], Sequence[str]]]


def served(
    fleet: Fleet, runs_of: Callable[[int], Sequence[Run]], queue: Callable[[], Queue] = FairQueue
) -> list[Served]:
    """One for each replication; `runs_of`: what is asked for, by seed."""
    return [Simulation(fleet, queue(), seed=seed).serve(runs_of(seed)) for seed in range(REPLICATIONS)]


def spreads(found: Iterable[Sequence[Outcome]], what: Callable[[Outcome], float]) -> Sequence[waits.Spread]:
    """p50, p95 and p99, over replications."""
    return waits.over([waits.of(outcomes, what) for outcomes in found])


# --- how long one waits -----------------------------------------------------------------------------


class Waiting(Struct, frozen=True, kw_only=True):
    """A fleet of `slots` slots that is asked for `busy` of what it can do, by many users."""

    slots: int
    busy: float
    runs: int
    """That are simulated."""
    shape: Shape = Shape()

    @property
    def rate(self) -> float:
        """Runs a second."""
        return self.busy * self.slots / self.shape.heavy_s

    def __call__(self) -> Sequence[str]:
        fleet = Fleet(trainers=self.slots // SLOTS, slots=SLOTS)
        found = served(fleet, self._runs)
        settled = [waits.settled(one.outcomes) for one in found]
        wait, whole = spreads(settled, _wait), spreads(settled, _whole)
        first = spreads(settled, lambda run: run.first_done_at - run.run.at)
        return (
            f"{self.slots:,}",
            f"{self.busy:.0%}",
            f"{self.rate * 3600:,.0f}",
            *map(waits.said_with_range, wait),
            waits.said(first[0].middle),
            *(waits.said(spread.middle) for spread in whole),
            f"{statistics.median(one.deepest for one in found):,.0f}",
        )

    def _runs(self, seed: int) -> list[Run]:
        users = max(self.runs // 5, 10)
        return workload.even(self.shape, rate=self.rate, count=self.runs, users=users, seed=seed)


WAITS = Table(
    name="waits",
    head=(
        *("slots", "busy", "runs an hour", "wait p50", "p95", "p99", "first model p50"),
        *("report p50", "p95", "p99", "most jobs that waited"),
    ),
    rows=[
        Waiting(slots=slots, busy=busy, runs=max(2000, 12 * slots))
        for slots in (8, 64, 512)
        for busy in (0.5, 0.7, 0.85, 0.95)
    ],
)


def _wait(run: Outcome) -> float:
    return run.wait_s


def _whole(run: Outcome) -> float:
    return run.whole_s


# --- who waits for whom -----------------------------------------------------------------------------


class Fairness(Struct, frozen=True, kw_only=True):
    """One user asks for `burst` runs at once, of a fleet that the others keep half busy."""

    burst: int
    queue: type[FairQueue | FifoQueue]
    slots: int = 16
    others: int = 400
    shape: Shape = Shape(fit_s=4.0)

    def __call__(self) -> Sequence[str]:
        fleet = Fleet(trainers=self.slots // SLOTS, slots=SLOTS)
        found = [one.outcomes for one in served(fleet, self._runs, self.queue)]
        others = [[run for run in runs if run.run.user != BURST] for runs in found]
        theirs = [[run for run in runs if run.run.user == BURST] for runs in found]
        done = [max((run.whole_s for run in runs), default=0.0) for runs in theirs]
        return (
            f"{self.burst} at once" if self.burst else "nobody else",
            "users take turns" if self.queue is FairQueue else "first come, first served",
            *map(waits.said_with_range, spreads(others, _wait)),
            *(waits.said(spread.middle) for spread in spreads(others, _whole)[:2]),
            waits.said(statistics.median(done)) if self.burst else "",
        )

    def _runs(self, seed: int) -> list[Run]:
        rate = 0.5 * self.slots / self.shape.heavy_s
        runs = workload.even(self.shape, rate=rate, count=self.others, users=100, seed=seed)
        return workload.with_burst(runs, self.shape, size=self.burst, at=runs[-1].at / 4, seed=seed)


FAIRNESS = Table(
    name="fairness",
    head=(
        *("one user more", "served", "others wait p50", "p95", "p99"),
        *("others' report p50", "p95", "that user's last report"),
    ),
    rows=[
        Fairness(burst=burst, queue=queue)
        for burst in (0, 20, 100)
        for queue in ((FairQueue,) if not burst else (FairQueue, FifoQueue))
    ],
)


# --- more than there is room for --------------------------------------------------------------------


class Overload(Struct, frozen=True, kw_only=True):
    """A fleet that is asked for `busy` of what it can do for half an hour, with a time budget."""

    busy: float
    budget_s: float = 60.0
    slots: int = 16
    lasts_s: float = 1800.0
    shape: Shape = Shape(fit_s=4.0)

    def __call__(self) -> Sequence[str]:
        fleet = Fleet(trainers=self.slots // SLOTS, slots=SLOTS)
        found = [one.outcomes for one in served(fleet, self._runs)]
        skipped = [sum(run.skipped for run in runs) / sum(len(run.waits_s) for run in runs) for runs in found]
        return (
            f"{self.busy:.0%}",
            *(waits.said(spread.middle) for spread in spreads(found, _wait)),
            *(waits.said(spread.middle) for spread in spreads(found, _whole)),
            f"{statistics.median(skipped):.0%}",
        )

    def _runs(self, seed: int) -> list[Run]:
        rate = self.busy * self.slots / self.shape.heavy_s
        shape = msgspec.structs.replace(self.shape, budget_s=self.budget_s)
        return workload.even(shape, rate=rate, count=int(rate * self.lasts_s), users=50, seed=seed)


OVERLOAD = Table(
    name="overload",
    head=("asked for", "wait p50", "p95", "p99", "report p50", "p95", "p99", "models skipped"),
    rows=[Overload(busy=busy) for busy in (0.7, 0.95, 1.2, 1.5)],
)


# --- trainers that die ------------------------------------------------------------------------------


class Deaths(Struct, frozen=True, kw_only=True):
    """A trainer is killed every `every_s` and is back half a minute later."""

    every_s: float
    slots: int = 16
    runs: int = 400
    shape: Shape = Shape(fit_s=4.0)

    def __call__(self) -> Sequence[str]:
        rate = 0.7 * self.slots / self.shape.heavy_s
        trainers = self.slots // SLOTS
        chance, at, deaths = random.Random(0), self.every_s, []
        while at < self.runs / rate:
            deaths.append((at, chance.randrange(trainers)))
            at += self.every_s
        fleet = Fleet(trainers=trainers, slots=SLOTS, deaths=tuple(deaths), back_after_s=30.0)
        found = [
            one.outcomes
            for one in served(
                fleet, lambda seed: workload.even(self.shape, rate=rate, count=self.runs, users=50, seed=seed)
            )
        ]
        again = statistics.median(sum(run.taken_over for run in runs) for runs in found)
        jobs = self.runs * (self.shape.models + self.shape.ensembles + 2)
        return (
            f"every {waits.said(self.every_s)}" if deaths else "never",
            *map(waits.said_with_range, spreads(found, _whole)),
            f"{again:.0f} of {jobs:,}",
        )


DEATHS = Table(
    name="deaths",
    head=("a trainer is killed", "report p50", "p95", "p99", "jobs done again"),
    rows=[Deaths(every_s=seconds) for seconds in (1e9, 600.0, 60.0)],
)

TABLES = (WAITS, FAIRNESS, OVERLOAD, DEATHS)
