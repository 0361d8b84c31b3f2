"""Cancel stops the work within seconds; resume goes on from what is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.chaos import audit
from tests.chaos.fleet import TRAINERS, Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import fewer, rounds
from tests.chaos.runs import Runs
from tests.e2e.person import Person
from tests.integration.faulty_proxy import Fault, Request, Stall

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


def test_cancel_while_the_table_is_fetched(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("cancel while the store does not hand out the table")
    ended_s: list[float] = []
    for _ in rounds(entry.fault, fewer(5)):
        fleet.heal()
        assert runs.file
        for table in Path(fleet.env["TRAINER_CACHE_DIR"]).glob("*.arrow"):
            table.unlink()
        fetched: list[Request] = []
        fleet.back.break_store(lambda request, met=fetched: _stall_get(request, met))
        task_id = runs.begin()
        wait_for(lambda met=fetched: met, "the table is asked for")
        began = time.monotonic()
        assert person.http.post(f"/ml/cancel/{task_id}").status_code == 202
        assert audit.end_of(fleet, task_id) == "cancelled"
        ended_s.append(time.monotonic() - began)
        runs.tasks.clear()
        assert ended_s[-1] < STOPPED_WITHIN_S
        wait_for(lambda task=task_id: not audit.left_over_jobs(fleet, task), "no job is left", 5)
        entry.tasks += 1
        entry.rounds += 1
    entry.besides = f"cancelled {max(ended_s):.2f} s after the request at the latest"


def _stall_get(request: Request, met: list[Request]) -> Fault | None:
    if request.method != "GET":
        return None
    met.append(request)
    return Stall()


def _status(fleet: Fleet, task_id: str, model: str) -> str | None:
    row = audit.candidates(fleet, task_id).get(model)
    return row["status"] if row else None
