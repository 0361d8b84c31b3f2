"""Redis forgets, restarts, hangs or is not there: it only carries hints."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import redis

from tests.chaos.fleet import Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import rounds
from tests.chaos.runs import MODELS, Runs

Enter = Callable[[str], Entry]
ANSWERED_WITHIN_S = 5.0


def waiting(fleet: Fleet) -> int:
    """Jobs that nobody has claimed."""
    return int(fleet.back.value("SELECT count(*) FROM trainyard.jobs WHERE lease_until IS NULL"))


def test_emptied_with_work_queued(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("Redis emptied (FLUSHALL) with work queued")
    for chance in rounds("Redis emptied"):
        fleet.heal()
        fleet.script({model: ["sleep", chance.uniform(0.1, 0.8)] for model in MODELS})
        for _ in range(3):
            runs.begin()
        wait_for(lambda: waiting(fleet), "work is queued")
        time.sleep(chance.uniform(0, 1))
        with redis.Redis.from_url(fleet.env["REDIS_URL"]) as client:
            client.flushall()
        runs.begin()
        runs.settle(entry)
        entry.rounds += 1


def test_restarted_with_work_queued(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("Redis killed and restarted with work queued")
    for chance in rounds("Redis restarted"):
        fleet.heal()
        fleet.script({model: ["sleep", chance.uniform(0.1, 0.8)] for model in MODELS})
        for _ in range(3):
            runs.begin()
        wait_for(lambda: waiting(fleet), "work is queued")
        time.sleep(chance.uniform(0, 1))
        fleet.kill("valkey")
        time.sleep(chance.uniform(0, 2))
        fleet.start("valkey")
        runs.settle(entry)
        entry.rounds += 1


def test_away_while_a_post_comes(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("Redis away (killed or hanging) while a POST comes")
    slowest = 0.0
    for chance in rounds("Redis away"):
        fleet.heal()
        assert runs.file
        hangs = chance.random() < 0.5
        if hangs:
            fleet.signal("valkey", signal.SIGSTOP)
        else:
            fleet.kill("valkey")
        for _ in range(2):
            began = time.monotonic()
            runs.begin(["naive_bayes"])
            slowest = max(slowest, time.monotonic() - began)
        time.sleep(chance.uniform(0, 3))
        fleet.heal()
        runs.settle(entry)
        entry.rounds += 1
    assert slowest <= ANSWERED_WITHIN_S
    entry.besides = f"202 after {slowest:.1f} s at the latest"


def test_work_goes_on_while_it_is_away(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("Redis away from the POST to the end of the run")
    for _ in rounds("Redis stays away"):
        fleet.heal()
        assert runs.file
        fleet.kill("valkey")
        runs.begin()
        runs.settle(entry)
        entry.rounds += 1
