"""Fits that do what no fit should: each is its own failure, and nobody else's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from tests.chaos import audit
from tests.chaos.fleet import TRAINERS, Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import LONG, fewer, rounds
from tests.chaos.runs import Runs
from tests.e2e.person import TERMINAL

Enter = Callable[[str], Entry]
BUDGET_S = 20.0 if LONG else 7.0
PLAN_BUDGET_S = 2.0
ACTS: dict[str, list[object]] = {
    "random_forest": ["eat"],
    "hist_gradient_boosting": ["abort"],
    "mlp": ["forever"],
    "extra_trees": ["leave_children"],
    "xgboost": ["chatter", 2048 if LONG else 256],
    "logistic_regression": ["train"],
    "naive_bayes": ["train"],
}
REASONS = {
    "random_forest": "ran out of memory",
    "hist_gradient_boosting": "the process crashed (SIGABRT)",
    "mlp": "not done when the time budget ended",
}


def test_eat_abort_hang_fork_and_print(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("fits that eat all memory, never end, abort, leave processes behind, print without end")
    for _ in rounds("misbehaving fits", fewer(2)):
        fleet.heal()
        fleet.script(ACTS)
        trainers = {name: fleet.pid(name) for name in TRAINERS}
        task_id = runs.begin(list(ACTS), BUDGET_S)
        runs.settle(entry)
        ended = audit.candidates(fleet, task_id)
        for model, row in ended.items():
            if model in REASONS:
                assert row["status"] == "failed", model
                assert REASONS[model] in row["reason"]
            else:
                assert row["status"] == "done", f"{model}: {row['reason']}"
            assert row["attempt"] == 1, f"{model} was tried again"
        for name, pid in trainers.items():
            assert fleet.running[name].exit_code() is None, f"{name} died"
            assert fleet.pid(name) == pid
            # the server that fits are forked from, and nothing else
            wait_for(lambda name=name: len(fleet.descendants(name)) == 1, "no process is left behind", 5)
        entry.rounds += 1
    entry.besides = "each `failed` with its reason, the others `done`, workers alive, no process left"


def test_a_plan_that_never_ends(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("a plan that never ends")
    for _ in rounds(entry.fault, fewer(5)):
        fleet.heal()
        fleet.script({"plan": ["forever"]})
        began = time.monotonic()
        task_id = runs.begin(budget_s=PLAN_BUDGET_S)
        assert audit.end_of(fleet, task_id) == "failed"
        took = time.monotonic() - began
        runs.tasks.clear()
        assert "the time budget of 2 s ended" in runs.person.get(f"/ml/status/{task_id}")["error"]["detail"]
        for name in TRAINERS:
            wait_for(lambda name=name: len(fleet.descendants(name)) == 1, "no process is left behind", 5)
        assert not audit.left_over_jobs(fleet, task_id)
        entry.tasks += 1
        entry.rounds += 1
        entry.besides = f"`failed` with its reason after {took:.1f} s of a budget of 2 s; no process left"


def test_a_fit_that_kills_its_worker(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("a candidate that kills its worker each time")
    for chance in rounds("poisonous candidate", fewer(5)):
        fleet.heal()
        starts = sum(fleet.starts[name] for name in TRAINERS)
        fleet.script(
            {
                "lightgbm": ["poison", chance.uniform(0.1, 1 if LONG else 0.5)],
                "naive_bayes": ["sleep", chance.uniform(3, 8 if LONG else 4)],
            }
        )
        task_id = runs.begin(["lightgbm", "naive_bayes", "logistic_regression", "k_nearest_neighbors"])

        wait_for(lambda task=task_id: _ended(fleet, task), "the run ends", 180)
        runs.settle(entry)
        rows = audit.candidates(fleet, task_id)
        assert rows["lightgbm"]["status"] == "failed"
        assert "died 3 times" in rows["lightgbm"]["reason"]
        assert {row["status"] for name, row in rows.items() if name != "lightgbm"} == {"done"}
        assert sum(fleet.starts[name] for name in TRAINERS) - starts <= 3
        entry.rounds += 1
    entry.besides = "failed alone after three workers; the others `done`"


def _ended(fleet: Fleet, task_id: str) -> bool:
    """Whether the run has; meanwhile a trainer that died is started again, as any supervisor does."""
    fleet.start(*TRAINERS)
    status = fleet.back.value("SELECT status FROM trainyard.tasks WHERE id = $1", uuid.UUID(task_id))
    return status in TERMINAL
