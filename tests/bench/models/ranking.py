"""Who is ahead, over all tables: mean ranks, with how far they would move had other tables been drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from msgspec import Struct

DIGITS = 4
"""Scores that agree to as many decimals are tied."""
RESAMPLES = 10_000
COVERAGE = 0.95

Scores = Mapping[str, float | None]
"""Competitor → score of one case, None where it failed."""


class Standing(Struct, frozen=True, kw_only=True):
    """`low`, `high`: the bootstrap interval of `mean_rank` over tables; `wins`: tables where its rank is the
    best, ties counted for all that are tied; `tables`: how many were ranked."""

    mean_rank: float
    low: float
    high: float
    wins: int
    tables: int


class Duel(Struct, frozen=True, kw_only=True):
    """One competitor against another: tables where it is ahead, level, behind, and the mean difference of
    their ranks (negative: ahead) with its bootstrap interval over tables."""

    ahead: int
    level: int
    behind: int
    difference: float
    low: float
    high: float


def ranks(scores: Scores, *, greater_is_better: bool) -> dict[str, float]:
    """1 is best; ties share the mean of their places; who failed shares the last places."""
    sign = -1 if greater_is_better else 1
    worth = {
        name: float("inf") if score is None else sign * round(score, DIGITS) for name, score in scores.items()
    }
    return {
        name: 1 + sum(other < mine for other in worth.values()) + (_ties(worth, mine) - 1) / 2
        for name, mine in worth.items()
    }


def _ties(worth: Mapping[str, float], mine: float) -> int:
    return sum(other == mine for other in worth.values())


def by_table(cases: Mapping[tuple[str, int], dict[str, float]]) -> dict[str, dict[str, float]]:
    """The mean over a table's splits of each competitor's ranks, so that a table counts once."""
    found: dict[str, list[dict[str, float]]] = {}
    for (table, _), of_case in cases.items():
        found.setdefault(table, []).append(of_case)
    return {
        table: {name: fmean(case[name] for case in splits) for name in splits[0]}
        for table, splits in found.items()
    }


def standings(tables: Mapping[str, Mapping[str, float]], *, seed: int = 0) -> dict[str, Standing]:
    """Competitor → its standing, best first. `tables`: table → competitor → rank; each has the same ones."""
    if not tables:
        return {}
    names = list(next(iter(tables.values())))
    matrix = np.array([[of[name] for name in names] for of in tables.values()])
    low, high = _interval(matrix, seed)
    best = np.isclose(matrix, matrix.min(axis=1, keepdims=True)).sum(axis=0)
    found = {
        name: Standing(
            mean_rank=float(matrix[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            wins=int(best[i]),
            tables=len(matrix),
        )
        for i, name in enumerate(names)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].mean_rank))


def duel(tables: Mapping[str, Mapping[str, float]], one: str, other: str, *, seed: int = 0) -> Duel:
    differences = np.array([[of[one] - of[other]] for of in tables.values()])
    low, high = _interval(differences, seed)
    return Duel(
        ahead=int((differences < 0).sum()),
        level=int((differences == 0).sum()),
        behind=int((differences > 0).sum()),
        difference=float(differences.mean()),
        low=float(low[0]),
        high=float(high[0]),
    )


def _interval(matrix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the columns' means over resampled rows (Efron's bootstrap): two of (columns,)."""
    drawn = np.random.default_rng(seed).integers(len(matrix), size=(RESAMPLES, len(matrix)))
    means = matrix[drawn].mean(axis=1)
    tail = 100 * (1 - COVERAGE) / 2
    return np.percentile(means, tail, axis=0), np.percentile(means, 100 - tail, axis=0)


def complete(cases: Mapping[tuple[str, int], Scores], names: Sequence[str]) -> dict[tuple[str, int], Scores]:
    """The cases that every one of `names` was tried on: only those can be ranked."""
    return {case: scores for case, scores in cases.items() if all(name in scores for name in names)}
