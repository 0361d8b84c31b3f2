"""A trainer dies, or stops answering, while it fits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from shared.contracts.catalogue import ENSEMBLES
from tests.chaos import audit
from tests.chaos.fleet import TRAINERS, Fleet, alive, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import LEASE_S, LONG, TAKEN_OVER_WITHIN_S, fewer, rounds
from tests.chaos.runs import MODELS, Runs
from tests.chaos.takeover import held_by, holder, taken_over

Enter = Callable[[str], Entry]
ORPHANS_GONE_WITHIN_S = 5.0


def test_killed_in_mid_fit(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("trainer killed (SIGKILL) in mid-fit")
    slowest_orphan = 0.0
    for chance in rounds("trainer killed"):
        fleet.heal()
        fleet.script({model: ["sleep", chance.uniform(0.5, 3 if LONG else 2)] for model in MODELS})
        for _ in range(3 if LONG else 2):
            runs.begin()
        victim = chance.choice(TRAINERS)
        wait_for(lambda name=victim: held_by(fleet, name), "the victim holds work")
        time.sleep(chance.uniform(0, 3 if LONG else 1))
        held, children = held_by(fleet, victim), fleet.descendants(victim)
        at = fleet.kill(victim)
        slowest_orphan = max(
            slowest_orphan,
            wait_for(lambda its=children: not alive(its), "its processes end", ORPHANS_GONE_WITHIN_S),
        )
        entry.takeovers_s += taken_over(fleet, held, at)
        fleet.start(victim)
        runs.settle(entry)
        assert len(list(Path(fleet.env["TRAINER_CACHE_DIR"]).glob("work-*"))) == len(TRAINERS)
        entry.rounds += 1
    assert max(entry.takeovers_s, default=0) <= TAKEN_OVER_WITHIN_S
    entry.besides = (
        f"its child processes were gone after {slowest_orphan:.2f} s at the latest; no orphan, no file left"
    )


def test_killed_while_ensembles_are_made(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("trainer killed (SIGKILL) while it makes an ensemble of the others")
    for chance in rounds("trainer killed, ensembling", fewer(5)):
        fleet.heal()
        fleet.script({slug: ["sleep", chance.uniform(1, 2)] for slug in ENSEMBLES})
        task_id = runs.begin([*MODELS, *ENSEMBLES])

        def made(its: str = task_id) -> bool:
            rows = audit.candidates(fleet, its)
            return any(rows[slug]["status"] == "running" for slug in ENSEMBLES if slug in rows)

        try:
            wait_for(made, "an ensemble is made")
        except AssertionError as error:
            error.add_note(runs.told(task_id))
            raise
        time.sleep(chance.uniform(0, 0.8))
        victim = holder(fleet, "fit") or chance.choice(TRAINERS)
        held = held_by(fleet, victim)
        at = fleet.kill(victim)
        entry.takeovers_s += taken_over(fleet, held, at)
        fleet.start(victim)
        runs.settle(entry)
        rows = audit.candidates(fleet, task_id)
        assert {row["status"] for row in rows.values()} == {"done"}
        # what they were made of was not fitted again
        assert all(rows[slug]["attempt"] == 1 for slug in MODELS)
        entry.rounds += 1
    assert max(entry.takeovers_s, default=0) <= TAKEN_OVER_WITHIN_S


def test_frozen_trainer_writes_nothing_when_it_wakes(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("trainer frozen (SIGSTOP) past its lease, then awake again")
    for chance in rounds("trainer frozen", fewer(5)):
        fleet.heal()
        fleet.script({model: ["sleep", LEASE_S + chance.uniform(0.5, 1)] for model in MODELS})
        task_id = runs.begin()
        victim = chance.choice(TRAINERS)
        wait_for(lambda name=victim: held_by(fleet, name), "the victim holds work")
        held = held_by(fleet, victim)
        at = fleet.signal(victim, signal.SIGSTOP)
        entry.takeovers_s += taken_over(fleet, held, at)
        fleet.signal(victim, signal.SIGCONT)
        runs.settle(entry)
        assert all(c["status"] == "done" for c in audit.candidates(fleet, task_id).values())
        entry.rounds += 1
