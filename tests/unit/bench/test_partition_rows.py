"""The rows of the benchmark of ten million runs: each is in one month, by its number as by its id."""

from __future__ import annotations

import itertools

import pytest

from tests.bench.partitions.rows import MONTH_S, MONTHS, volume


@pytest.mark.parametrize("runs", [7000, 10_000_000])
def test_months_hold_every_run_once(runs: int) -> None:
    made = volume(runs, users=100, candidates=1, deeds=1)
    firsts = [made.first(month) for month in range(MONTHS + 1)]
    assert (firsts[0], firsts[-1]) == (0, runs)
    assert all(a < b for a, b in itertools.pairwise(firsts))


def test_the_bound_of_a_month_is_before_its_first_run_and_after_the_last_of_the_month_before() -> None:
    made = volume(100_000, users=100, candidates=1, deeds=1)
    for month in range(1, MONTHS):
        at = made.bound(month).int >> 80
        first, last = (made.began * 1e3 + (made.first(month) - back) * made.step_ms for back in (0, 1))
        assert last < at <= first
        assert abs(at / 1e3 - made.began - month * MONTH_S) < 2 * made.step_ms / 1e3
