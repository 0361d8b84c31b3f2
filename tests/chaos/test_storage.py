"""The store is away, answers with errors, cuts off, damages, or does what it then denies."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tests.chaos import audit
from tests.chaos.fleet import Fleet, wait_for
from tests.chaos.ledger import Entry
from tests.chaos.rounds import LONG, fewer, rounds
from tests.chaos.runs import MODELS, Runs, table
from tests.chaos.watch import is_whole_zip
from tests.e2e.person import Person
from tests.integration.faulty_proxy import (
    Answer,
    CorruptUpload,
    CutAnswer,
    CutUpload,
    Disown,
    Fault,
    LoseAnswer,
    Refuse,
    Request,
    Rule,
    Stall,
)

Enter = Callable[[str], Entry]
AWAY_S = (30.0, 60.0) if LONG else (1.0, 2.0)
ERRORS_S = (5.0, 15.0) if LONG else (2.0, 3.0)
SHARE_OF_FAULTS = 0.3


def test_away_for_a_while(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    entry = enter("storage away (refusing, hanging or killed) for a while")
    away = 0.0
    for chance in rounds("storage away", fewer(2)):
        fleet.heal()
        fleet.script({model: ["sleep", chance.uniform(0.1, 2)] for model in MODELS})
        runs.begin()
        if LONG:
            runs.begin()
        time.sleep(chance.uniform(0, 2 if LONG else 1))
        lasts = chance.uniform(*AWAY_S)
        # what hangs is only given up after a minute
        way = chance.choice(["refuse", "kill", "stall"] if LONG else ["refuse", "kill"])
        if way == "kill":
            fleet.kill("s3")
        else:
            fleet.back.break_store(lambda _, fault=Refuse() if way == "refuse" else Stall(): fault)
        began = time.monotonic()
        if way != "stall":
            answer = runs.person.http.post("/files", files={"file": ("t.csv", table().content)})
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
        time.sleep(max(0, lasts - (time.monotonic() - began)))
        fleet.back.mend_store()
        fleet.start("s3")
        away = max(away, time.monotonic() - began)
        runs.settle(entry)
        entry.rounds += 1
    entry.besides = f"away for up to {away:.0f} s; uploads meanwhile got 503 with Retry-After"


def test_a_fit_that_is_done_waits_for_the_store(fleet: Fleet, runs: Runs, enter: Enter) -> None:
    """Its hours are not spent twice: no candidate is fitted again because its pickle could not be put."""
    entry = enter("storage away when fits end")
    for _ in rounds(entry.fault, fewer(10)):
        fleet.heal()
        fleet.script({model: ["sleep", 1] for model in MODELS})
        task_id = runs.begin()
        wait_for(lambda task=task_id: runs.running(task), "a fit has begun")
        refused: list[Request] = []
        fleet.back.break_store(lambda request, met=refused: _refuse_put(request, met))
        # the client gives a put up after three tries, each of which connects twice where the first is cut
        wait_for(lambda met=refused: any(request.number > 6 for request in met), "a put was made again")
        fleet.back.mend_store()
        runs.settle(entry)
        assert {c["attempt"] for c in audit.candidates(fleet, task_id).values()} == {1}
        entry.rounds += 1
    entry.besides = "every fit kept its first attempt"


def _refuse_put(request: Request, met: list[Request]) -> Fault | None:
    if request.method != "PUT":
        return None
    met.append(request)
    return Refuse()


class Errors:
    """A rule under which a share of the requests meets a fault of these kinds, drawn by chance."""

    def __init__(self, chance: random.Random, kinds: list[Callable[[random.Random], Fault]]) -> None:
        self._chance, self._kinds = chance, kinds
        self._lock = threading.Lock()
        self.met = 0

    def __call__(self, _request: Request) -> Fault | None:
        with self._lock:
            if self._chance.random() >= SHARE_OF_FAULTS:
                return None
            self.met += 1
            return self._chance.choice(self._kinds)(self._chance)


ANSWERS: list[Callable[[random.Random], Fault]] = [
    lambda c: Answer(c.choice([500, 502, 503])),
    lambda c: CutUpload(c.randrange(1000)),
    lambda c: CutAnswer(c.randrange(1000)),
    lambda _: CorruptUpload(),
    lambda _: Refuse(),
]
DENIALS: list[Callable[[random.Random], Fault]] = [
    lambda c: Disown(c.choice([500, 503])),
    lambda _: LoseAnswer(),
]


def test_answering_with_errors(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("storage answering with errors, cutting off, damaging (3 of 10 requests)")
    _through_errors(fleet, runs, person, entry, ANSWERS)


def test_denying_what_it_did(fleet: Fleet, runs: Runs, person: Person, enter: Enter) -> None:
    entry = enter("storage doing it and reporting failure (3 of 10 requests)")
    _through_errors(fleet, runs, person, entry, DENIALS)


def _through_errors(
    fleet: Fleet,
    runs: Runs,
    person: Person,
    entry: Entry,
    kinds: list[Callable[[random.Random], Fault]],
) -> None:
    """Fits, a ZIP and a saved model, begun while the store errs."""
    met = 0
    for chance in rounds(entry.fault):
        fleet.heal()
        assert runs.file
        fleet.script({model: ["sleep", 0, chance.choice([0, 2**20, 9 * 2**20])] for model in MODELS})
        done = runs.begin()
        runs.settle(entry)
        rule: Rule = Errors(chance, kinds)
        fleet.back.break_store(rule)
        began, lasts = time.monotonic(), chance.uniform(*ERRORS_S)
        runs.begin()
        person.http.get(f"/ml/download-all-models/{done}", headers={"Prefer": "wait=0"})
        body = {"task_id": done, "model_name": f"kept {began}", "leaderboard_model": "naive_bayes"}
        answer = person.http.post("/models/save", json=body)
        assert answer.status_code == 202, answer.text
        model = answer.headers["Location"]
        time.sleep(max(0, lasts - (time.monotonic() - began)))
        fleet.back.mend_store()
        met += rule.met
        runs.settle(entry)
        assert is_whole_zip(person.fetch(f"/ml/download-all-models/{done}").content)
        wait_for(lambda url=model: person.get(url)["status"] != "saving", "the model is saved")
        assert person.get(model)["status"] == "ready"
        wanted = audit.candidates(fleet, done)["naive_bayes"]["sha256"]
        assert person.fetch(f"{model}/download").sha256 == wanted
        assert person.http.delete(f"/ml/tasks/{done}").status_code == 204
        entry.rounds += 1
    entry.besides = f"{met} requests met a fault; every recorded object is there with its SHA-256"
