"""What waiting times come to: percentiles, over replications where there are several."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from tests.bench.queueing.fleet import Outcome
from tests.bench.report import percentile

SHARES = (0.5, 0.95, 0.99)
WARM_UP = 0.1
"""The share of the first runs that is left out: they find an empty fleet."""


class Spread(Struct, frozen=True):
    """The median over replications, with the least and the greatest."""

    middle: float
    least: float
    most: float


def settled(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Without those that came first."""
    return outcomes[int(WARM_UP * len(outcomes)) :]


def percentiles(values: Iterable[float]) -> tuple[float, ...]:
    """p50, p95, p99."""
    known = sorted(values)
    return tuple(percentile(known, share) for share in SHARES)


def over(replications: Sequence[Sequence[float]]) -> tuple[Spread, ...]:
    """The spread of each percentile over replications of `percentiles`."""
    return tuple(
        Spread(statistics.median(values), min(values), max(values))
        for values in zip(*replications, strict=True)
    )


def of(outcomes: Iterable[Outcome], what: Callable[[Outcome], float]) -> tuple[float, ...]:
    return percentiles(what(outcome) for outcome in outcomes)


def said(seconds: float) -> str:
    """With as many digits as a person wants: `0.01 s`, `3.2 s`, `184 s`, `1.2 h`."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


def said_with_range(spread: Spread) -> str:
    return f"{said(spread.middle)} ({said(spread.least)} to {said(spread.most)})"
