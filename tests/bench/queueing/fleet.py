"""Trainers that serve a queue, simulated with SimPy: slots, light lanes, wake-ups, leases, deaths.

What is simulated is the way of a run through `shared.worker` and `services.trainer`: `plan`, a `fit` for each
model with the place of its run in the user's queue, the ensembles when the last of these has ended, `finish`.
Left out: uploads' profiles, conversions and the packager's work, the third try's isolation, and that fits
which share cores slow each other down (docs/scaling.md says what that comes to).
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import simpy
from msgspec import Struct, field

from shared.contracts.states import JobKind
from tests.bench.queueing.discipline import FairQueue, Job, Queue
from tests.bench.queueing.workload import Run

LIGHT_LANES = 2
"""As `services.trainer.__main__`: lanes of a trainer for reports alone."""
WORTHWHILE_S = 0.5
"""As `services.trainer.fitting`: with less of its budget left a fit is not begun."""

Happening = Generator[simpy.Event, Any, None]


class Fleet(Struct, frozen=True, kw_only=True):
    """`trainers` processes that do `slots` fits each at a time; leases and sweeps are
    `shared.settings.Worker`'s."""

    trainers: int
    slots: int = 2
    lease_s: float = 9.0
    sweep_every_s: float = 1.0
    wake_s: float = 0.005
    """From a commit to the claim of whoever has nothing to do, and to that of the slot that made it."""
    deaths: tuple[tuple[float, int], ...] = ()
    """When which trainer is killed."""
    back_after_s: float = math.inf
    """After its death."""


class Outcome(Struct, kw_only=True, eq=False):
    """One run: when what happened to it, in seconds of the simulation, and what came of its models."""

    run: Run
    claimed_at: float = math.nan
    first_done_at: float = math.nan
    ended_at: float = math.nan
    waits_s: list[float] = field(default_factory=list)
    """Of its fits and ensembles, each from when it could have been done to its first claim."""
    skipped: int = 0
    """Models that the time budget left no time for."""
    taken_over: int = 0
    """Jobs that were claimed again after their trainer died."""

    @property
    def wait_s(self) -> float:
        """From the request to the claim of its plan."""
        return self.claimed_at - self.run.at

    @property
    def whole_s(self) -> float:
        """From the request to the report."""
        return self.ended_at - self.run.at


class Served(Struct, frozen=True, kw_only=True):
    """`busy`: the share of slot time spent on jobs until the last run ended; `deepest`: the most jobs that
    waited at once."""

    outcomes: list[Outcome]
    busy: float
    deepest: int


class _Way(Struct, eq=False):
    """A run under way: jobs of its stage that have not ended, and the stages to come, the next one last."""

    outcome: Outcome
    to_come: list[tuple[JobKind, Sequence[float]]]
    left: int = 0


class _Work(Struct, eq=False):
    """What a job is to the simulation."""

    way: _Way
    seconds: float
    ready_at: float
    claimed: bool = False


class _Trainer(Struct, eq=False):
    heavy: int = 0
    light: int = 0
    alive: bool = True
    held: dict[int, simpy.Process] = field(default_factory=dict)


class _Ready:
    """Trainers with room, of which any may be the first to claim."""

    def __init__(self, trainers: Iterable[_Trainer]) -> None:
        self._list = list(trainers)
        self._at = {id(trainer): place for place, trainer in enumerate(self._list)}

    def put(self, trainer: _Trainer, has_room: bool) -> None:
        place = self._at.get(id(trainer))
        if has_room and place is None:
            self._at[id(trainer)] = len(self._list)
            self._list.append(trainer)
        elif not has_room and place is not None:
            last = self._list.pop()
            del self._at[id(trainer)]
            if last is not trainer:
                self._list[place] = last
                self._at[id(last)] = place

    def any(self, chance: random.Random) -> _Trainer | None:
        return chance.choice(self._list) if self._list else None


class Simulation:
    """One fleet and one list of runs; `serve` may be called once."""

    def __init__(self, fleet: Fleet, queue: Queue | None = None, seed: int = 0) -> None:
        self._fleet = fleet
        self._queue: Queue = FairQueue() if queue is None else queue
        self._env = simpy.Environment()
        self._chance = random.Random(seed)
        self._trainers = [_Trainer() for _ in range(fleet.trainers)]
        self._for_fits, self._for_reports = _Ready(self._trainers), _Ready(self._trainers)
        self._over = self._env.event()
        self._running = 0
        self._deepest = 0
        self._busy_s = 0.0

    def serve(self, runs: Sequence[Run]) -> Served:
        """Every run to its end. Raises RuntimeError where no trainer is left to end them."""
        outcomes = [Outcome(run=run) for run in sorted(runs, key=lambda run: run.at)]
        self._running = len(outcomes)
        self._env.process(self._arrive(outcomes))
        for at, number in self._fleet.deaths:
            self._env.process(self._die(at, self._trainers[number]))
        if outcomes:
            self._env.run(self._over)
        slot_s = self._fleet.trainers * self._fleet.slots * self._env.now
        busy = self._busy_s / slot_s if slot_s else 0.0
        return Served(outcomes=outcomes, busy=busy, deepest=self._deepest)

    # --- what is asked for ----------------------------------------------------------------------

    def _arrive(self, outcomes: Iterable[Outcome]) -> Happening:
        for outcome in outcomes:
            yield self._env.timeout(outcome.run.at - self._env.now)
            run = outcome.run
            stages = [
                (JobKind.FINISH, (run.finish_s,)),
                (JobKind.FIT, run.ensembles_s),
                (JobKind.FIT, run.fits_s),
                (JobKind.PLAN, (run.plan_s,)),
            ]
            self._go_on(_Way(outcome, [stage for stage in stages if stage[1]]))

    def _go_on(self, way: _Way) -> None:
        """Ask for the next stage, as the transaction does that ends the last job of the one before."""
        if not way.to_come:
            way.outcome.ended_at = self._env.now
            self._running -= 1
            if not self._running:
                self._over.succeed()
            return
        kind, lengths = way.to_come.pop()
        way.left, now = len(lengths), self._env.now
        for seconds in lengths:
            self._queue.add(
                Job(
                    kind=kind,
                    user=way.outcome.run.user,
                    queued_at=now if kind is JobKind.FINISH else way.outcome.run.at,
                    created_at=now,
                    work=_Work(way, seconds, now),
                )
            )
        self._kick_in(self._fleet.wake_s)

    # --- who does it ----------------------------------------------------------------------------

    def _kick_in(self, seconds: float) -> None:
        self._env.process(self._kick(seconds))

    def _kick(self, seconds: float) -> Happening:
        yield self._env.timeout(seconds)
        self._dispatch()

    def _dispatch(self) -> None:
        """Whoever has room claims until nothing is left or nobody has room."""
        while len(self._queue):
            heavy = self._for_fits.any(self._chance)
            trainer = heavy or self._for_reports.any(self._chance)
            job = self._queue.claim(self._env.now, heavy=heavy is not None) if trainer else None
            if trainer is None or job is None:
                break
            trainer.held[id(job)] = self._env.process(self._hold(trainer, job))
            self._take(trainer, job, 1)
        self._deepest = max(self._deepest, len(self._queue))

    def _take(self, trainer: _Trainer, job: Job, count: int) -> None:
        if job.kind is JobKind.FINISH:
            trainer.light += count
        else:
            trainer.heavy += count
        self._show_room(trainer)

    def _show_room(self, trainer: _Trainer) -> None:
        slots = self._fleet.slots
        lane = trainer.alive and trainer.heavy + trainer.light < slots + LIGHT_LANES
        self._for_reports.put(trainer, lane)
        self._for_fits.put(trainer, lane and trainer.heavy < slots)

    def _hold(self, trainer: _Trainer, job: Job) -> Happening:
        """A claimed job to its end. Where its trainer dies, its lease runs out, and another may have it."""
        work: _Work = job.work
        heavy = job.kind is not JobKind.FINISH
        self._note_claim(job, work)
        began = self._env.now
        try:
            yield self._env.timeout(work.seconds)
        except simpy.Interrupt:
            self._busy_s += heavy * (self._env.now - began)
            work.way.outcome.taken_over += 1
            # it was renewed a third of a lease ago at the most
            yield self._env.timeout(self._fleet.lease_s * self._chance.uniform(2 / 3, 1))
            self._queue.release(job.user)
            self._queue.add(job)
            self._kick_in(self._chance.uniform(0, self._fleet.sweep_every_s))
            return
        self._busy_s += heavy * work.seconds
        del trainer.held[id(job)]
        self._queue.release(job.user)
        self._note_end(job.kind, work.way)
        if self._fleet.wake_s:
            yield self._env.timeout(self._fleet.wake_s)
        if trainer.alive:
            self._take(trainer, job, -1)
        self._dispatch()

    def _die(self, at: float, trainer: _Trainer) -> Happening:
        yield self._env.timeout(at)
        trainer.alive = False
        self._show_room(trainer)
        for process in trainer.held.values():
            process.interrupt()
        trainer.held.clear()
        if math.isfinite(self._fleet.back_after_s):
            yield self._env.timeout(self._fleet.back_after_s)
            trainer.heavy = trainer.light = 0
            trainer.alive = True
            self._show_room(trainer)
            self._dispatch()
        elif not any(other.alive for other in self._trainers):
            raise RuntimeError("every trainer is dead, and runs are left")

    # --- what becomes of a run ------------------------------------------------------------------

    def _note_claim(self, job: Job, work: _Work) -> None:
        """When it was claimed first; a fit is cut to what the time budget leaves."""
        outcome, now = work.way.outcome, self._env.now
        if job.kind is JobKind.PLAN and not work.claimed:
            outcome.claimed_at = now
        if job.kind is JobKind.FIT:
            if not work.claimed:
                outcome.waits_s.append(now - work.ready_at)
            left = outcome.claimed_at + outcome.run.budget_s - now
            outcome.skipped += left < WORTHWHILE_S
            work.seconds = 0.0 if left < WORTHWHILE_S else min(work.seconds, left)
        work.claimed = True

    def _note_end(self, kind: JobKind, way: _Way) -> None:
        if kind is JobKind.FIT and math.isnan(way.outcome.first_done_at):
            way.outcome.first_done_at = self._env.now
        way.left -= 1
        if not way.left:
            self._go_on(way)
