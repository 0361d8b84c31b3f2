"""The API dies between the commit and the hint: the outbox has the work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import httpx

from tests.chaos.fleet import Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import rounds
from tests.chaos.runs import Runs

Enter = Callable[[str], Entry]


def test_killed_between_commit_and_hint(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("API killed between the commit and the hint")
    for _ in rounds("API killed"):
        fleet.heal()
        assert runs.file
        known = {task["task_id"] for task in runs.person.get("/ml/tasks")["items"]}
        fleet.signal("valkey", signal.SIGSTOP)  # the hint does not get through
        posting = threading.Thread(target=_post, args=(runs,))
        posting.start()
        wait_for(lambda: unsent(fleet), "the request is committed")
        fleet.kill("api")
        posting.join(30)
        assert unsent(fleet) == 1
        fleet.signal("valkey", signal.SIGCONT)
        fleet.start("api")
        new = [t["task_id"] for t in runs.person.get("/ml/tasks")["items"] if t["task_id"] not in known]
        assert len(new) == 1
        runs.tasks += new
        runs.settle(entry)
        entry.rounds += 1
    entry.besides = "found by the sweep, which sent it"


def unsent(fleet: Fleet) -> int:
    return int(
        fleet.back.value(
            "SELECT count(*) FROM trainyard.jobs WHERE kind = 'plan' AND sent_at IS NULL AND attempt = 0"
        )
    )


def _post(runs: Runs) -> None:
    try:
        runs.post(["naive_bayes"])
    except httpx.TransportError:  # it was killed before it answered
        pass
