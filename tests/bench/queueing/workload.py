"""Who asks for what, and when: the arrivals that a simulated or a real fleet is given."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

Draw = Callable[[random.Random], float]
"""One length in seconds."""


class Run(Struct, frozen=True, kw_only=True):
    """One training request. Lengths are seconds that a job holds its slot."""

    at: float
    user: Any
    plan_s: float
    fits_s: tuple[float, ...]
    ensembles_s: tuple[float, ...] = ()
    finish_s: float = 0.0
    budget_s: float = math.inf
    """Of wall time, from the claim of the plan on: then what runs is cut, what has not begun is skipped."""

    @property
    def heavy_s(self) -> float:
        """What it asks of slots."""
        return self.plan_s + sum(self.fits_s) + sum(self.ensembles_s)


class Shape(Struct, frozen=True, kw_only=True):
    """What the runs of a simulation are like. Ensembles take a fifth of a fit: they fit nothing anew."""

    models: int = 10
    ensembles: int = 2
    fit_s: float = 8.0
    spread: float = 1.0
    """Of fits, standard deviation over mean; lognormal, as times of fits are. 0: all the same."""
    plan_s: float = 0.5
    finish_s: float = 0.2
    budget_s: float = math.inf

    @property
    def heavy_s(self) -> float:
        """Slot seconds of a run on average."""
        return self.plan_s + (self.models + self.ensembles / 5) * self.fit_s

    def run(self, at: float, user: Any, chance: random.Random) -> Run:
        draw = lognormal(self.fit_s, self.spread)
        return Run(
            at=at,
            user=user,
            plan_s=self.plan_s,
            fits_s=tuple(draw(chance) for _ in range(self.models)),
            ensembles_s=tuple(draw(chance) / 5 for _ in range(self.ensembles)),
            finish_s=self.finish_s,
            budget_s=self.budget_s,
        )


def lognormal(mean: float, spread: float) -> Draw:
    """`spread`: standard deviation over mean."""
    variance = math.log1p(spread**2)
    mu = math.log(mean) - variance / 2
    return lambda chance: chance.lognormvariate(mu, math.sqrt(variance)) if spread else mean


def poisson(rate: float, count: int, chance: random.Random) -> Iterator[float]:
    """Times of `count` arrivals, `rate` a second."""
    at = 0.0
    for _ in range(count):
        at += chance.expovariate(rate)
        yield at


def even(shape: Shape, *, rate: float, count: int, users: int, seed: int) -> list[Run]:
    """`count` runs at `rate` a second, each of any of `users` users."""
    chance = random.Random(seed)
    return [shape.run(at, chance.randrange(users), chance) for at in poisson(rate, count, chance)]


BURST = "burst"
"""The user of `with_burst` who asks for much at once."""


def with_burst(runs: Sequence[Run], shape: Shape, *, size: int, at: float, seed: int) -> list[Run]:
    """The same, and one user more who asks for `size` runs at once."""
    chance = random.Random(seed)
    burst = [shape.run(at, BURST, chance) for _ in range(size)]
    return sorted([*runs, *burst], key=lambda run: run.at)
