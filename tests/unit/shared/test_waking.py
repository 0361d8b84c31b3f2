"""Every worker is told of every job; of a large fleet some look for it."""

from __future__ import annotations

import random

import pytest

from shared.worker import CALLED, is_called


@pytest.mark.parametrize(("jobs", "listeners"), [(1, 1), (1, CALLED), (12, 12 * CALLED)])
def test_a_small_fleet_looks_with_all_it_has(jobs: int, listeners: int) -> None:
    assert all(is_called(jobs, listeners) for _ in range(1000))


@pytest.mark.parametrize(("jobs", "listeners"), [(1, 10 * CALLED), (12, 1000 * CALLED)])
def test_of_a_large_one_as_many_look_as_there_are_jobs_for(jobs: int, listeners: int) -> None:
    random.seed(1)
    told = 20_000
    called = sum(is_called(jobs, listeners) for _ in range(told)) / told
    assert called * listeners == pytest.approx(CALLED * jobs, rel=0.1)
