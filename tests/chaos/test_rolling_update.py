"""SIGTERM with work running: an old worker goes, a new one is there already."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable

from tests.chaos import audit
from tests.chaos.fleet import DRAIN_S, TRAINERS, Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import LONG, rounds
from tests.chaos.runs import MODELS, Runs
from tests.chaos.trainer_of_before import UNKNOWN

Enter = Callable[[str], Entry]


def claims(fleet: Fleet, task_id: str) -> list[tuple[str, int, int]]:
    """Every claim of the task's fits: model, attempt, tries."""
    rows = fleet.back.rows(
        "SELECT model_name, k.attempt, tries FROM chaos.claims k JOIN trainyard.candidates c"
        " ON c.id = k.subject_id WHERE c.task_id = $1",
        uuid.UUID(task_id),
    )
    return [(row["model_name"], row["attempt"], row["tries"]) for row in rows]


def owners(fleet: Fleet, task_id: str, model_name: str) -> set[str]:
    """Every worker that has claimed this fit."""
    rows = fleet.back.rows(
        "SELECT owner FROM chaos.claims k JOIN trainyard.candidates c ON c.id = k.subject_id"
        " WHERE c.task_id = $1 AND model_name = $2",
        uuid.UUID(task_id),
        model_name,
    )
    return {row["owner"] for row in rows}


def has_just_begun(fleet: Fleet, name: str) -> bool:
    """Whether this worker has claimed a fit within the last half second, and holds it."""
    return bool(
        fleet.back.value(
            "SELECT count(*) FROM chaos.claims JOIN trainyard.jobs USING (kind, subject_id, attempt, owner)"
            " WHERE kind = 'fit' AND owner = $1 AND at > now() - interval '0.5 s'",
            fleet.owner(name),
        )
    )


def roll(
    fleet: Fleet, runs: Runs, entry: Entry, fit_s: tuple[float, float], chance: random.Random
) -> list[tuple[str, int, int]]:
    """Each trainer in turn is told to go while it fits, and replaced; the claims of it all."""
    fleet.heal()
    fleet.script({model: ["sleep", chance.uniform(*fit_s)] for model in MODELS})
    tasks = []
    for name in TRAINERS:
        tasks += [runs.begin() for _ in range(2 if LONG else 1)]
        wait_for(lambda old=name: has_just_begun(fleet, old), "it begins a fit")
        time.sleep(chance.uniform(0, 0.3))
        fleet.signal(name, signal.SIGTERM)
        assert fleet.wait_exit(name) == 0
        fleet.start(name)
    runs.settle(entry)
    entry.rounds += 1
    return [claim for task_id in tasks for claim in claims(fleet, task_id)]


def test_short_fits_are_drained(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("rolling update (SIGTERM) with fits shorter than the grace period")
    for chance in rounds("rolling update, short fits"):
        made = roll(fleet, runs, entry, (0.2, DRAIN_S / 2), chance)
        assert {attempt for _, attempt, _ in made} == {1}, f"fitted twice: {made}"
    entry.besides = "nothing fitted twice"


def test_long_fits_are_handed_over(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("rolling update (SIGTERM) with fits longer than the grace period")
    handed = 0
    for chance in rounds("rolling update, long fits"):
        made = roll(fleet, runs, entry, (DRAIN_S + 1, DRAIN_S + 2), chance)
        assert {tries for _, _, tries in made} == {1}, f"a drain cost a try: {made}"
        handed += sum(attempt > 1 for _, attempt, _ in made)
    assert handed
    entry.besides = f"{handed} fits handed over, none at the cost of a try"


def test_what_a_trainer_of_before_does_not_know_is_left_to_others(
    fleet: Fleet, runs: Runs, enter: Enter
) -> None:
    entry = enter("rolling update with a trainer that does not know one of the models")
    new, old = TRAINERS
    for _ in rounds("rolling update, unknown models"):
        fleet.stop_and_start(old, module="tests.chaos.trainer_of_before")
        fleet.script({UNKNOWN: ["sleep", 600]})  # handed over, should the new one have begun it
        task_id = runs.begin()
        wait_for(lambda task=task_id: audit.candidates(fleet, task), "it is planned")
        fleet.signal(new, signal.SIGTERM)
        assert fleet.wait_exit(new) == 0

        def only_the_unknown_waits(task: str = task_id) -> bool:
            rows = audit.candidates(fleet, task)
            return all((row["status"] == "queued") == (name == UNKNOWN) for name, row in rows.items())

        wait_for(only_the_unknown_waits, "the old trainer has done what it knows")
        also = runs.begin([UNKNOWN])  # which it cannot even plan
        known = runs.begin(["naive_bayes"])
        assert runs.person.ended(known)["status"] == "completed"
        assert not audit.candidates(fleet, also)
        fleet.script({})
        fleet.start(new)
        runs.settle(entry)
        assert fleet.owner(old) not in owners(fleet, task_id, UNKNOWN)
        fleet.stop_and_start(old)
        entry.rounds += 1
    entry.besides = "it was left to the new one, and the rest was done"
