"""Postgres restarts under everything."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.chaos.fleet import Fleet, alive, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import rounds
from tests.chaos.runs import MODELS, Runs

Enter = Callable[[str], Entry]
WAYS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "killed": signal.SIGKILL}


def test_restarted(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("Postgres restarted (fast, immediate or killed)")
    refused, longest = 0, 0.0
    for chance in rounds("Postgres restarted"):
        fleet.heal()
        fleet.script({model: ["sleep", chance.uniform(0.1, 2)] for model in MODELS})
        for _ in range(2):
            runs.begin()
        time.sleep(chance.uniform(0, 2))
        sessions = fleet.descendants("postgres")
        fleet.signal("postgres", WAYS[chance.choice(list(WAYS))])
        fleet.wait_exit("postgres")
        wait_for(lambda its=sessions: not alive(its), "its sessions end")
        refused += refuse(runs)
        time.sleep(chance.uniform(0, 3))
        fleet.start("postgres")
        began = time.monotonic()
        wait_for(lambda: runs.person.http.get("/ml/tasks").status_code == 200, "requests are answered", 15)
        longest = max(longest, time.monotonic() - began)
        runs.begin()
        runs.settle(entry)
        entry.rounds += 1
    entry.besides = (
        f"{refused} of {refused} requests meanwhile got 503 with Retry-After, {longest:.1f} s later 200"
    )


def refuse(runs: Runs) -> int:
    """Requests while there is no database, each refused in the agreed words; how many."""
    answers = [
        runs.post(),
        runs.person.http.get(f"/ml/status/{runs.tasks[0]}"),
        runs.person.http.get("/files"),
    ]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert runs.person.http.get("/health/live").status_code == 200
    assert runs.person.http.get("/health/ready").status_code == 503
    return len(answers)
