"""Cancel stops the work within seconds; resume goes on from what is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from tests.chaos import audit
from tests.chaos.fleet import TRAINERS, Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import rounds
from tests.chaos.runs import Runs
from tests.e2e.person import Person

Enter = Callable[[str], Entry]
STOPPED_WITHIN_S = 5.0
BUSY = ["mlp", "random_forest", "lightgbm"]
FORK_SERVERS = len(TRAINERS)


def working(fleet: Fleet) -> int:
    """Processes that trainers have besides the ones that fits are forked from."""
    return sum(len(fleet.descendants(name)) for name in TRAINERS) - FORK_SERVERS


def claims(fleet: Fleet, task_id: str, model: str) -> int:
    """How often a worker took this fit on."""
    return int(
        fleet.back.value(
            "SELECT count(*) FROM chaos.claims k JOIN trainyard.candidates c ON c.id = k.subject_id"
            " WHERE k.kind = 'fit' AND c.task_id = $1 AND c.model_name = $2",
            uuid.UUID(task_id),
            model,
        )
    )


def test_cancel_and_resume(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("cancel in mid-fit (every fit with children that work for ever), then resume")
    idle: list[float] = []
    for chance in rounds("cancel"):
        fleet.heal()
        fleet.script({model: ["family"] for model in BUSY})
        task_id = runs.begin(["naive_bayes", *BUSY])
        wait_for(lambda task=task_id: _status(fleet, task, "naive_bayes") == "done", "one model is done")
        wait_for(lambda: working(fleet) >= 2 * len(BUSY), "fits and their children work")
        time.sleep(chance.uniform(0, 1))
        began = time.monotonic()
        answer = person.http.post(f"/ml/cancel/{task_id}")
        assert answer.status_code == 202, answer.text
        wait_for(lambda: working(fleet) == 0, "every process of the fits is gone", STOPPED_WITHIN_S)
        idle.append(time.monotonic() - began)
        assert audit.end_of(fleet, task_id) == "cancelled"
        kept = audit.candidates(fleet, task_id)["naive_bayes"]
        assert person.fetch(f"/ml/download-model/{task_id}/naive_bayes").sha256 == kept["sha256"]

        fleet.script({})
        answer = person.http.post(f"/ml/resume/{task_id}")
        assert answer.status_code == 202, answer.text
        runs.settle(entry)
        after = audit.candidates(fleet, task_id)
        assert {row["status"] for row in after.values()} == {"done"}
        assert (after["naive_bayes"]["attempt"], after["naive_bayes"]["sha256"]) == (1, kept["sha256"])
        assert claims(fleet, task_id, "naive_bayes") == 1, "what was done was fitted again"
        entry.rounds += 1
    entry.besides = (
        f"every process gone {sorted(idle)[len(idle) // 2]:.2f} s after the request (p50), {max(idle):.2f} s"
        " at the latest; resumed without fitting anew what was done"
    )


def test_resume_after_a_failure(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("every fit crashes the interpreter, then resume")
    for _ in rounds("resume after a failure"):
        fleet.heal()
        models = ["naive_bayes", "mlp"]
        fleet.script({model: ["abort"] for model in models})
        task_id = runs.begin(models)
        assert audit.end_of(fleet, task_id) == "failed"
        fleet.script({})
        answer = person.http.post(f"/ml/resume/{task_id}")
        assert answer.status_code == 202, answer.text
        runs.settle(entry)
        assert {row["status"] for row in audit.candidates(fleet, task_id).values()} == {"done"}
        entry.rounds += 1


def _status(fleet: Fleet, task_id: str, model: str) -> str | None:
    row = audit.candidates(fleet, task_id).get(model)
    return row["status"] if row else None
