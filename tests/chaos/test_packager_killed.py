"""A packager dies while it writes a ZIP, or copies a model into the registry."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos import audit
from tests.chaos.fleet import Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import LONG, TAKEN_OVER_WITHIN_S, rounds
from tests.chaos.runs import Runs
from tests.chaos.takeover import held_by, holder, taken_over
from tests.chaos.watch import Watch, is_whole_zip
from tests.e2e.person import Person
from tests.integration.faulty_proxy import Fault, Request, Slow

Enter = Callable[[str], Entry]
MODELS = ["logistic_regression", "naive_bayes"]
BYTES_PER_S = (4 if LONG else 8) * 2**20
KILLED_WITHIN_S = 3.0 if LONG else 1.0
CONVERTING = "SELECT count(*) FROM trainyard.conversions WHERE status = 'building'"
PICKLES = {"logistic_regression": 2**20, "naive_bayes": 10 * 2**20}
"""The second is more than one part of an upload."""


def slow_packager(request: Request) -> Fault | None:
    """What a packager reads and writes goes slowly, so that there is a middle to be killed in."""
    reading = request.method == "GET" and "model.pkl" in request.target
    writing = request.target.startswith(("/bundles/", "/model-files/"))
    return Slow(BYTES_PER_S) if reading or writing else None


def trained(fleet: Fleet, runs: Runs, entry: Entry) -> str:
    """A completed run with large pickles."""
    fleet.heal()
    fleet.script({model: ["sleep", 0, size] for model, size in PICKLES.items()})
    task_id = runs.begin(MODELS)
    runs.settle(entry)
    fleet.back.break_store(slow_packager)
    return task_id


def kill_holder(fleet: Fleet, kind: str, after_s: float, entry: Entry) -> None:
    """Kill the packager that has the job, so long after it set about it; another one takes over."""
    # before that it gives a ZIP back for as long as trainers convert its models, which they read too
    wait_for(lambda: not fleet.back.value(CONVERTING), "no model is being converted")
    before = len(fleet.back.proxy.seen)
    wait_for(
        lambda: any(slow_packager(request) for request in fleet.back.proxy.seen[before:]),
        f"a packager begins the {kind}",
    )
    victim = holder(fleet, kind)
    assert victim is not None
    time.sleep(after_s)
    held = held_by(fleet, victim)
    at = fleet.kill(victim)
    assert held, f"the {kind} was over before its packager died"
    entry.takeovers_s += taken_over(fleet, held, at)


def test_killed_in_mid_zip(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("packager killed in mid-ZIP")
    entry.half_files = 0
    looks = 0
    for chance in rounds("packager killed in mid-ZIP"):
        task_id = trained(fleet, runs, entry)
        with Watch(fleet.back, ()).looking() as watch:
            path = f"/ml/download-all-models/{task_id}"
            assert person.http.get(path, headers={"Prefer": "wait=0"}).status_code == 202
            kill_holder(fleet, "bundle", chance.uniform(0.1, KILLED_WITHIN_S), entry)
            assert is_whole_zip(person.fetch(path).content)
        entry.half_files += len(watch.half)
        assert not watch.half
        looks += watch.looks
        assert person.http.delete(f"/ml/tasks/{task_id}").status_code == 204
        entry.rounds += 1
    entry.besides = f"looked {looks} times meanwhile"
    assert max(entry.takeovers_s) <= TAKEN_OVER_WITHIN_S


def test_killed_in_mid_save(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("packager killed in mid-save")
    entry.half_files = 0
    looks, whole = 0, set[str]()
    for number, chance in enumerate(rounds("packager killed in mid-save")):
        task_id = trained(fleet, runs, entry)
        wanted = audit.candidates(fleet, task_id)["naive_bayes"]["sha256"]
        whole.add(wanted)
        body = {"task_id": task_id, "model_name": f"model {number}", "leaderboard_model": "naive_bayes"}
        with Watch(fleet.back, whole).looking() as watch:
            answer = person.http.post("/models/save", json=body)
            assert answer.status_code == 202, answer.text
            path = answer.headers["Location"]
            kill_holder(fleet, "save", chance.uniform(0.1, KILLED_WITHIN_S / 2), entry)
            wait_for(lambda url=path: person.get(url)["status"] != "saving", "the model is saved")
            assert person.get(path)["status"] == "ready"
            assert person.fetch(f"{path}/download").sha256 == wanted
        entry.half_files += len(watch.half)
        assert not watch.half
        looks += watch.looks
        assert person.http.delete(path).status_code == 204
        assert person.http.delete(f"/ml/tasks/{task_id}").status_code == 204
        entry.rounds += 1
    entry.besides = f"looked {looks} times meanwhile"
    assert max(entry.takeovers_s) <= TAKEN_OVER_WITHIN_S
