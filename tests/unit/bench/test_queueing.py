"""The simulated queue: what is known exactly of simple ones, and what is promised of ours."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from services.trainer import __main__ as trainer
from services.trainer import fitting
from shared.contracts.states import JobKind
from shared.settings import Worker
from tests.bench import bench_queue
from tests.bench.queueing import closed_form, fleet, waits, workload
from tests.bench.queueing.discipline import FairQueue, FifoQueue, Job, Queue
from tests.bench.queueing.fleet import Fleet, Outcome, Simulation
from tests.bench.queueing.workload import BURST, Run, Shape
from tests.bench.work import lengths


def exact(_: random.Random) -> float:
    return 1.0


def exponential(chance: random.Random) -> float:
    return chance.expovariate(1.0)


def single_jobs(rate: float, count: int, length: Callable[[random.Random], float], seed: int) -> list[Run]:
    """Runs of nothing but a plan, each of a user of its own: a queue of textbooks."""
    chance = random.Random(seed)
    return [
        Run(at=at, user=number, plan_s=length(chance), fits_s=())
        for number, at in enumerate(workload.poisson(rate, count, chance))
    ]


def simulated(runs: Sequence[Run], servers: int) -> list[float]:
    served = Simulation(Fleet(trainers=servers, slots=1, wake_s=0.0)).serve(runs)
    return [outcome.wait_s for outcome in served.outcomes]


def recursion(runs: Sequence[Run], servers: int) -> list[float]:
    """Waits of first come, first served by Kiefer and Wolfowitz (1955): whoever is next takes the server
    that is free first."""
    free, found = [0.0] * servers, []
    for run in runs:
        begun = max(heapq.heappop(free), run.at)
        found.append(begun - run.at)
        heapq.heappush(free, begun + run.plan_s)
    return found


def mean_and_error(values: Sequence[float], batches: int = 20) -> tuple[float, float]:
    """The mean and its standard error by batch means: waits that follow one another are alike."""
    size = len(values) // batches
    means = [statistics.fmean(values[i * size : (i + 1) * size]) for i in range(batches)]
    return statistics.fmean(means), statistics.stdev(means) / math.sqrt(batches)


# --- closed forms -----------------------------------------------------------------------------------


def test_erlang_c_is_that_of_the_tables() -> None:
    """One server: the load itself. Two: a² / (2 + a). 10 at 8: 0.4092, as in any table."""
    assert closed_form.erlang_c(1, 0.7) == pytest.approx(0.7)
    assert closed_form.erlang_c(2, 1.2) == pytest.approx(1.2**2 / 3.2)
    assert closed_form.erlang_c(10, 8.0) == pytest.approx(0.40918, abs=1e-5)
    assert 0 < closed_form.erlang_c(3000, 2900.0) < 1  # where factorials would have overflowed


def test_a_queue_that_grows_for_ever_has_no_mean() -> None:
    with pytest.raises(ValueError, match="on 4 servers"):
        closed_form.mean_wait(4, 4.0, 1.0)
    with pytest.raises(ValueError, match="on one server"):
        closed_form.mean_wait_single(1.0, 1.0, 1.0)


def test_the_fewest_servers_are_enough_and_one_less_is_not() -> None:
    servers = closed_form.servers_for(50.0, 1.0, 8.0, 0.95)
    assert closed_form.wait_quantile(servers, 50 / 8, 8.0, 0.95) <= 1.0
    assert closed_form.wait_quantile(servers - 1, 50 / 8, 8.0, 0.95) > 1.0


# --- the simulation against them --------------------------------------------------------------------


@pytest.mark.parametrize("servers", [1, 4])
def test_every_wait_is_that_of_the_recursion(servers: int) -> None:
    runs = single_jobs(0.8 * servers, 1500, exponential, seed=3)
    assert simulated(runs, servers) == pytest.approx(recursion(runs, servers), abs=1e-9)


def test_waits_are_those_of_erlang() -> None:
    found = simulated(single_jobs(1.5, 20_000, exponential, seed=1), 3)
    mean, error = mean_and_error(found)
    assert abs(mean - closed_form.mean_wait(3, 1.5, 1.0)) < 3 * error < 0.3 * mean
    for share in (1 - closed_form.erlang_c(3, 1.5), 0.8, 0.95, 0.99):
        longest = closed_form.wait_quantile(3, 1.5, 1.0, share)
        above, error = mean_and_error([float(wait > longest + 1e-9) for wait in found])
        assert abs(above - (1 - share)) < 3 * error


def test_waits_are_those_of_pollaczek_and_khinchine() -> None:
    mean, error = mean_and_error(simulated(single_jobs(0.7, 10_000, exact, seed=2), 1))
    assert abs(mean - closed_form.mean_wait_single(0.7, 1.0, 1.0)) < 3 * error < 0.3 * mean


# --- runs of many jobs ------------------------------------------------------------------------------


def test_a_run_is_planned_fitted_combined_and_reported_in_turn() -> None:
    run = Run(at=1.0, user=0, plan_s=1.0, fits_s=(4.0, 2.0, 3.0), ensembles_s=(1.0,), finish_s=0.5)
    (outcome,) = Simulation(Fleet(trainers=2, slots=1, wake_s=0.0)).serve([run]).outcomes
    assert (outcome.claimed_at, outcome.first_done_at) == (1.0, 4.0)  # planned at 2, the short fit done at 4
    assert outcome.waits_s == [0.0, 0.0, 2.0, 0.0]  # the third waits for a slot, the ensemble for all fits
    assert outcome.ended_at == 1 + 1 + 5 + 1 + 0.5  # 2 + 3 in one slot


def test_a_report_never_waits_for_a_fit() -> None:
    long = Run(at=0.0, user="a", plan_s=0.1, fits_s=(100.0,))
    short = Run(at=0.1, user="b", plan_s=0.0, fits_s=(1.0,), finish_s=0.5)
    served = Simulation(Fleet(trainers=1, slots=2, wake_s=0.0)).serve([long, short])
    assert served.outcomes[1].whole_s == pytest.approx(1.5)


def test_no_work_is_lost_or_done_twice() -> None:
    shape = Shape(models=3, ensembles=1, fit_s=2.0)
    runs = workload.even(shape, rate=0.5, count=200, users=20, seed=5)
    fleet_of_four = Fleet(trainers=4, slots=1)
    served = Simulation(fleet_of_four, seed=1).serve(runs)
    ended = max(outcome.ended_at for outcome in served.outcomes)
    assert served.busy * 4 * ended == pytest.approx(sum(run.heavy_s for run in runs))
    assert all(len(outcome.waits_s) == 4 and not outcome.skipped for outcome in served.outcomes)


def test_one_who_asks_for_much_keeps_nobody_waiting() -> None:
    """Fifty runs at once make others wait for one fit at most where users take turns."""
    shape = Shape(models=4, ensembles=0, fit_s=2.0, spread=0.0)
    others = workload.even(shape, rate=0.1, count=60, users=60, seed=1)
    runs = workload.with_burst(others, shape, size=50, at=10.0, seed=2)

    def slowest(queue: Queue) -> float:
        served = Simulation(Fleet(trainers=2, slots=2), queue).serve(runs)
        return max(outcome.wait_s for outcome in served.outcomes if outcome.run.user != BURST)

    assert slowest(FairQueue()) < 2.5
    assert slowest(FifoQueue()) > 60


def test_nobody_runs_more_than_the_cap() -> None:
    queue = FairQueue(user_cap=2)
    for number in range(3):
        queue.add(Job(kind=JobKind.FIT, user="a", queued_at=number, created_at=number))
    first, second = queue.claim(1, heavy=True), queue.claim(2, heavy=True)
    assert first is not None and second is not None
    assert queue.claim(3, heavy=True) is None
    queue.release("a")
    assert queue.claim(4, heavy=True) is not None


# --- what goes wrong --------------------------------------------------------------------------------


def test_a_dead_trainers_work_is_taken_over_when_its_lease_has_run_out() -> None:
    run = Run(at=0.0, user=0, plan_s=1.0, fits_s=(10.0,))
    two = Fleet(trainers=2, slots=1, wake_s=0.0, deaths=((5.0, 0), (20.0, 0)), back_after_s=1.0)
    other = Fleet(trainers=2, slots=1, wake_s=0.0, deaths=((5.0, 1), (20.0, 1)), back_after_s=1.0)
    ends = {
        outcome.ended_at - 5.0 - 10.0: outcome.taken_over
        for fleet_ in (two, other)
        for outcome in Simulation(fleet_, seed=3).serve([run]).outcomes
    }
    (taken_over_after,) = [after for after, times in ends.items() if times]
    # renewed every third of nine seconds, and swept every second
    assert 6.0 <= taken_over_after <= 10.0
    assert sorted(ends.values()) == [0, 1]


def test_a_fleet_that_is_dead_serves_nobody() -> None:
    fleet_ = Fleet(trainers=1, deaths=((1.0, 0),))
    with pytest.raises(RuntimeError, match="every trainer is dead"):
        Simulation(fleet_).serve([Run(at=0.0, user=0, plan_s=2.0, fits_s=())])


def test_a_budget_cuts_what_runs_and_skips_what_waits() -> None:
    run = Run(at=0.0, user=0, plan_s=1.0, fits_s=(6.0, 6.0, 6.0), budget_s=10.0)
    (outcome,) = Simulation(Fleet(trainers=1, slots=1, wake_s=0.0)).serve([run]).outcomes
    assert outcome.skipped == 1
    assert outcome.ended_at == 10.0


# --- what it stands for -----------------------------------------------------------------------------


def test_the_simulated_fleet_has_the_products_settings() -> None:
    simulated_fleet, real = Fleet(trainers=1), Worker()
    assert (simulated_fleet.lease_s, simulated_fleet.sweep_every_s) == (real.lease_s, real.sweep_every_s)
    assert FairQueue()._cap == real.user_cap
    assert fleet.LIGHT_LANES == trainer.LIGHT_LANES
    assert fleet.WORTHWHILE_S == fitting.WORTHWHILE_S


def test_arrivals_and_lengths_have_the_means_that_were_asked_for() -> None:
    chance = random.Random(0)
    *_, last = workload.poisson(2.0, 20_000, chance)
    assert 20_000 / last == pytest.approx(2.0, rel=0.03)
    drawn = [workload.lognormal(8.0, 1.0)(chance) for _ in range(20_000)]
    assert statistics.fmean(drawn) == pytest.approx(8.0, rel=0.03)
    assert statistics.stdev(drawn) / statistics.fmean(drawn) == pytest.approx(1.0, rel=0.1)
    shape = Shape()
    runs = workload.even(shape, rate=1.0, count=2000, users=10, seed=0)
    assert statistics.fmean(run.heavy_s for run in runs) == pytest.approx(shape.heavy_s, rel=0.05)


def test_lengths_of_real_fits_are_known_beforehand() -> None:
    drawn = [lengths.of(seed, "mlp") for seed in range(5000)]
    assert statistics.fmean(drawn) == pytest.approx(
        lengths.MEAN_S * (1 - math.exp(-lengths.LONGEST)), rel=0.05
    )
    assert max(drawn) <= lengths.MEAN_S * lengths.LONGEST
    assert lengths.of(7, "mlp") == lengths.of(7, "mlp") != lengths.of(7, "xgboost")


def test_what_is_replayed_asks_for_as_much_as_it_says() -> None:
    for scenario in bench_queue.SCENARIOS:
        arrivals = scenario.arrivals()
        assert arrivals == scenario.arrivals()
        assert len(arrivals) == scenario.runs + scenario.burst
        assert len({arrival.seed for arrival in arrivals}) == len(arrivals)
        assert max(Counter(arrival.at for arrival in arrivals).values()) == max(scenario.burst, 1)
        assert arrivals[-1].at == pytest.approx(scenario.lasts_s, rel=0.5)


def test_percentiles_leave_out_who_found_an_empty_fleet() -> None:
    outcomes = [Outcome(run=Run(at=0.0, user=0, plan_s=0, fits_s=()), claimed_at=at) for at in range(100)]
    assert waits.of(waits.settled(outcomes), lambda outcome: outcome.wait_s) == (54, 95, 99)
    assert waits.over([(1.0, 5.0), (2.0, 3.0), (9.0, 4.0)])[0] == waits.Spread(2.0, 1.0, 9.0)
    assert [waits.said(s) for s in (0.004, 3.21, 184.4, 4320)] == ["0.00 s", "3.2 s", "184 s", "1.2 h"]
