"""The simulated queue beside the real one: the same arrivals, with fits of the same lengths.

Ours is the product's own fleet; what its jobs take besides their fits is measured on it idle, one run after
another, and is all that the simulation is told of it. Nothing is fitted to the runs that are compared.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from shared.contracts.states import JobKind
from tests.bench import product, report
from tests.bench.product import Product
from tests.bench.queueing import replay, waits, workload
from tests.bench.queueing.fleet import Fleet, Outcome, Simulation
from tests.bench.queueing.replay import Arrival, Overheads, Replay, Seen
from tests.bench.work import lengths

TITLE = "The queue, simulated and real"
LONG = True
RUNS = int(os.environ.get("BENCH_ROWS") or 120)
ALONE = 8
REPLICATIONS = 20
PEOPLE = 12
TRAINERS, SLOTS = 3, 3
TOLD = "simulated, told what each job took"
GUESSED_OVERHEAD_S = 0.2
"""Only to choose arrival rates with; what is compared is told by the fleet itself."""
CAPACITY = TRAINERS * SLOTS / (len(replay.MODELS) * (lengths.MEAN_S + GUESSED_OVERHEAD_S) + 0.4)
"""Runs a second."""


class Scenario(Struct, frozen=True, kw_only=True):
    """`busy`: the share of the fleet that the arrivals ask for; `burst`: runs that one more user asks for at
    once, a tenth of the way; `death`: a trainer is killed half-way."""

    what: str
    busy: float
    runs: int
    burst: int = 0
    death: bool = False
    seed: int = 0

    @property
    def lasts_s(self) -> float:
        return self.runs / (self.busy * CAPACITY)

    def said(self) -> str:
        return self.what.format(people=PEOPLE, burst=self.burst, trainers=TRAINERS)

    def arrivals(self) -> list[Arrival]:
        chance = random.Random(self.seed)
        times = workload.poisson(self.busy * CAPACITY, self.runs, chance)
        others = PEOPLE - 1 if self.burst else PEOPLE
        asked = [(at, chance.randrange(others)) for at in times]
        asked += [(self.lasts_s / 10, PEOPLE - 1)] * self.burst
        return [
            Arrival(at, user, 1000 * self.seed + number) for number, (at, user) in enumerate(sorted(asked))
        ]


SCENARIOS = (
    Scenario(what="{people} users, arrivals at random", busy=0.8, runs=RUNS, seed=1),
    Scenario(
        what="one user asks for {burst} runs at once", busy=0.4, runs=RUNS // 2, burst=RUNS // 3, seed=2
    ),
    Scenario(
        what="a trainer of {trainers} killed half-way", busy=0.5, runs=RUNS * 2 // 3, death=True, seed=3
    ),
)


class Compared(Struct, frozen=True):
    """One scenario: the real runs, and what each replication of the simulation made of the same."""

    scenario: Scenario
    real: list[Seen]
    simulated: list[list[Outcome]]
    told: list[list[Outcome]]
    """The same, told what each job took."""
    greedy: uuid.UUID | None
    """Who asked for much at once."""


class Measure(Struct, frozen=True):
    """One figure, or several, of a run: of a real one and of a simulated one."""

    what: str
    real: Callable[[Seen], Sequence[float]]
    simulated: Callable[[Outcome], Sequence[float]]


MEASURES = (
    Measure("run asked for → `plan` claimed", lambda run: [run.wait_s], lambda run: [run.wait_s]),
    Measure("fit asked for → claimed", lambda run: run.waits_s, lambda run: run.waits_s),
    Measure("run asked for → report", lambda run: [run.whole_s], lambda run: [run.whole_s]),
)


def measure() -> list[str]:
    names = [f"trainer-{number}" for number in range(1, TRAINERS + 1)]
    with product.running("api", TRAINER_SLOTS=str(SLOTS)) as stack:
        for name in names:
            stack.start(name, module=["tests.bench.work.trainer", "known"])
        return asyncio.run(_measure(stack, names[-1]))


async def _measure(stack: Product, victim: str) -> list[str]:
    async with replay.replaying(stack, PEOPLE) as replayed:
        known = await replay.overheads(replayed, ALONE)
        found = [await _compared(stack, replayed, known, scenario, victim) for scenario in SCENARIOS]
    return _lines(known, found)


async def _compared(
    stack: Product, replayed: Replay, known: Overheads, scenario: Scenario, victim: str
) -> Compared:
    died_at: list[float] = []

    def kill() -> None:
        died_at.append(time.time())
        stack.running.pop(victim).kill()

    death = (kill, scenario.lasts_s / 2) if scenario.death else ()
    real = await replayed.of(scenario.arrivals(), *death)
    began = real[0].at
    fleet = Fleet(
        trainers=TRAINERS,
        slots=SLOTS,
        wake_s=statistics.median(known.wake_s),
        deaths=tuple((at - began, TRAINERS - 1) for at in died_at),
    )
    simulated, told = [], []
    for seed in range(REPLICATIONS):
        chance = random.Random(seed)
        runs = [known.drawn(seen, began, chance) for seen in real]
        simulated.append(Simulation(fleet, seed=seed).serve(runs).outcomes)
        as_they_were = [seen.as_it_was(began) for seen in real]
        told.append(Simulation(fleet, seed=seed).serve(as_they_were).outcomes)
    greedy = uuid.UUID(replayed.people[-1][0].id) if scenario.burst else None
    return Compared(scenario, real, simulated, told, greedy)


def _lines(known: Overheads, found: Sequence[Compared]) -> list[str]:
    took = {"plan": known.plan_s, "fit": known.fit_s, "finish": known.finish_s, "wake": known.wake_s}
    middle = {name: f"{statistics.median(seconds):.2f} s" for name, seconds in took.items()}
    rows = [row for compared in found for row in _rows(compared)]
    return [
        f"{TRAINERS} trainers of {SLOTS} slots; runs of {len(replay.MODELS)} models, whose fits wait"
        f" {lengths.MEAN_S:g} s on average (exponential, cut at {lengths.LONGEST * lengths.MEAN_S:g} s). On"
        f" the idle fleet a plan took {middle['plan']}, a fit {middle['fit']} besides its wait, a report"
        f" {middle['finish']}, and a job was claimed after {middle['wake']} (medians): that, the arrivals"
        " and the fits' lengths are what the simulation is given. On a machine that does other things too,"
        " jobs take longer than on the idle fleet; so it is also told what each job took, and then says who"
        " waits for whom, and nothing of the machine.",
        "",
        f"Seconds; of the simulation the median of {REPLICATIONS} replications, with their range.",
        "",
        *report.table(("scenario", "from → to", "", "p50", "p95", "p99"), rows),
        "",
        *map(_paired, found),
    ]


def _rows(compared: Compared) -> Iterable[Sequence[str]]:
    everybody = {None: compared.scenario.said()}
    who = {False: f"{compared.scenario.said()}: the others", True: f"{compared.scenario.said()}: that user"}
    for greedy, words in (everybody if compared.greedy is None else who).items():
        real = [run for run in compared.real if greedy is None or (run.user == compared.greedy) == greedy]
        for measure in MEASURES:
            seen = waits.percentiles(value for run in real for value in measure.real(run))
            yield words, measure.what, "real", *(f"{seconds:.2f}" for seconds in seen)
            for how, simulated in (("simulated", compared.simulated), (TOLD, compared.told)):
                spreads = waits.over(
                    [
                        waits.percentiles(
                            value
                            for run in runs
                            if greedy is None or (run.run.user == compared.greedy) == greedy
                            for value in measure.simulated(run)
                        )
                        for runs in simulated
                    ]
                )
                yield "", "", how, *(f"{s.middle:.2f} ({s.least:.2f} to {s.most:.2f})" for s in spreads)


def _paired(compared: Compared) -> str:
    """How well single runs are told, not only their distribution."""
    real = [run.whole_s for run in compared.real]
    beside = [took for run in compared.real for took in run.beside_s(JobKind.FIT)]
    said = []
    for how, simulated in (("simulated", compared.simulated), (TOLD, compared.told)):
        means = [
            statistics.fmean(outcome.whole_s for outcome in of_one) for of_one in zip(*simulated, strict=True)
        ]
        apart = statistics.median(abs(a - b) for a, b in zip(real, means, strict=True))
        said.append(
            f"{how}: correlation {statistics.correlation(real, means):.3f}, median difference {apart:.2f} s"
        )
    return (
        f"- {compared.scenario.said()}, time to the report run by run: {len(real)} runs, median"
        f" {statistics.median(real):.1f} s; {'; '.join(said)}. A fit took {statistics.median(beside):.2f} s"
        " besides its wait (median)."
    )


if __name__ == "__main__":
    print("\n".join(measure()))
