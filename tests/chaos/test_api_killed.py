"""The API dies between the commit and the hint: the outbox has the work."""

from __future__ import annotations

import signal
import threading
import time
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
        before = runs_there(fleet)
        fleet.signal("valkey", signal.SIGSTOP)  # the hint does not get through
        posting = threading.Thread(target=_post, args=(runs,))
        posting.start()
        wait_for(lambda before=before: runs_there(fleet) > before, "the request is committed")
        fleet.kill("api")
        posting.join(30)
        fleet.signal("valkey", signal.SIGCONT)
        fleet.start("api")
        new = [t["task_id"] for t in runs.person.get("/ml/tasks")["items"] if t["task_id"] not in known]
        assert len(new) == 1
        runs.tasks += new
        runs.settle(entry)
        entry.rounds += 1
    entry.besides = "found by the sweep, which sent it"


def test_the_same_post_sent_again(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("the same POST (Idempotency-Key) from three sides, the API killed meanwhile, and again")
    answered = 0
    for chance in rounds("the same POST"):
        fleet.heal()
        assert runs.file
        key = f"once-{chance.getrandbits(64):x}"
        codes: list[int] = []
        posting = [threading.Thread(target=_post, args=(runs, key, codes)) for _ in range(3)]
        for thread in posting:
            thread.start()
        time.sleep(chance.uniform(0, 0.05))
        fleet.kill("api")
        for thread in posting:
            thread.join(30)
        assert set(codes) <= {202, 409}
        answered += codes.count(202)
        fleet.start("api")
        again = [runs.post(["naive_bayes"], key=key) for _ in range(2)]
        assert [answer.status_code for answer in again] == [202, 202]
        named = fleet.back.rows("SELECT id FROM trainyard.tasks WHERE name = $1", key)
        assert {str(row["id"]) for row in named} == {answer.json()["task_id"] for answer in again}
        assert len(named) == 1
        runs.tasks.append(str(named[0]["id"]))
        runs.settle(entry)
        entry.rounds += 1
    entry.besides = f"one task a key; {answered} of {3 * entry.rounds} were answered before the kill"


def runs_there(fleet: Fleet) -> int:
    return int(fleet.back.value("SELECT count(*) FROM trainyard.tasks"))


def _post(runs: Runs, key: str = "", codes: list[int] | None = None) -> None:
    """A request that may be cut off when the API is killed; notes its status where it was answered."""
    try:
        answer = runs.post(["naive_bayes"], key=key)
    except httpx.TransportError:
        return
    if codes is not None:
        codes.append(answer.status_code)
