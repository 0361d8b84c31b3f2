"""Someone else's files, runs and models are not there, on a stack as people run it, with a real run.

That no route is forgotten is seen to by tests/isolation/test_routes_of_another.py."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.stack import Stack

FILE, TASK, MODEL = "File not found", "Task not found", "Model not found"


class Belongings(NamedTuple):
    """Ids of what Ann has; a run with everything there is, its ZIP built."""

    file: str
    task: str
    model: str
    deleted_model: str
    plot: str


@pytest.fixture(scope="module")
def anns(ann: Person) -> Belongings:
    task = ann.run(tables.iris(), "species", models=["naive_bayes"], time_budget_s=60)
    task_id = task["task_id"]
    ann.fetch(f"/ml/download-all-models/{task_id}")
    kept, thrown_away = (ann.save(task_id, name)["id"] for name in ("Mine", "In the trash"))
    assert ann.http.delete(f"/models/{thrown_away}").status_code == 204
    plot = ann.get(f"/ml/results/{task_id}")["plots"][0]["svg_url"]
    return Belongings(task["request"]["file_id"], task_id, kept, thrown_away, plot)


@pytest.fixture(scope="module")
def bob(stack: Stack) -> Iterator[Person]:
    """Has nothing."""
    person = Person(stack.url, "bob@example.com")
    yield person
    person.close()


def routes(it: Belongings) -> list[tuple[str, str, Any, str]]:
    """Method, path, body and what the 404 says of every route that takes an id."""
    save = {"task_id": it.task, "model_name": "Theirs"}
    return [
        ("GET", f"/files/{it.file}", None, FILE),
        ("GET", f"/files/{it.file}/profile", None, FILE),
        ("DELETE", f"/files/{it.file}", None, FILE),
        ("POST", "/ml/train", {"file_id": it.file, "target": "species"}, FILE),
        ("GET", f"/ml/status/{it.task}", None, TASK),
        ("GET", f"/ml/status/{it.task}?wait=20", None, TASK),
        ("GET", f"/ml/events/{it.task}", None, TASK),
        ("POST", f"/ml/cancel/{it.task}", None, TASK),
        ("POST", f"/ml/resume/{it.task}", None, TASK),
        ("GET", f"/ml/results/{it.task}", None, TASK),
        ("GET", it.plot, None, TASK),
        ("GET", f"/ml/download-model/{it.task}/best_model", None, TASK),
        ("GET", f"/ml/download-model/{it.task}/naive_bayes", None, TASK),
        ("HEAD", f"/ml/download-model/{it.task}/best_model", None, ""),
        ("GET", f"/ml/download-leaderboard/{it.task}", None, TASK),
        ("HEAD", f"/ml/download-leaderboard/{it.task}", None, ""),
        ("GET", f"/ml/download-all-models/{it.task}", None, TASK),
        ("HEAD", f"/ml/download-all-models/{it.task}", None, ""),
        ("GET", f"/ml/bundles/{it.task}", None, TASK),
        ("DELETE", f"/ml/tasks/{it.task}", None, TASK),
        ("POST", "/models/save", save, TASK),
        ("GET", f"/models/{it.model}", None, MODEL),
        ("PATCH", f"/models/{it.model}", {"model_name": "Theirs"}, MODEL),
        ("GET", f"/models/{it.model}/download", None, MODEL),
        ("HEAD", f"/models/{it.model}/download", None, ""),
        ("DELETE", f"/models/{it.model}", None, MODEL),
        ("POST", f"/models/{it.model}/restore", None, MODEL),
        ("POST", f"/models/{it.deleted_model}/restore", None, MODEL),
    ]


def test_nothing_of_anns_is_there_for_bob(ann: Person, bob: Person, anns: Belongings) -> None:
    for method, path, body, detail in routes(anns):
        answer = bob.http.request(method, path, json=body, headers={"Accept": "application/json"})
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
        assert method == "HEAD" or answer.json()["detail"] == detail, f"{method} {path}: {answer.text}"
    for path in ("/files", "/ml/tasks", "/models", "/models?deleted=true"):
        assert bob.get(path)["items"] == []
    assert bob.get("/models/stats")["count"] == 0

    # and Ann has what she had
    assert ann.get(f"/ml/status/{anns.task}")["status"] == "completed"
    assert ann.get(f"/models/{anns.model}")["model_name"] == "Mine"
    assert ann.get(f"/files/{anns.file}/profile")["rows"] == 150
    assert ann.fetch(f"/ml/download-model/{anns.task}/best_model").content
    assert anns.deleted_model in {m["id"] for m in ann.get("/models?deleted=true")["items"]}


def test_an_id_that_nobody_has_answers_the_same(bob: Person, anns: Belongings) -> None:
    """Nobody can tell what exists from what doesn't, nor from what is no id at all."""
    for stand_in in (str(uuid.uuid4()), "not-an-id"):
        nobodys = Belongings(*[stand_in] * 4, plot=f"/ml/plots/{stand_in}/naive_bayes/roc_curve.svg")
        for (method, path, body, _), (_, of_ann, its_body, _) in zip(
            routes(nobodys), routes(anns), strict=True
        ):
            if body is not None and stand_in == "not-an-id":
                continue  # a fault of the body, and named as one
            answers = [
                bob.http.request(m, p, json=b, headers={"Accept": "application/json"})
                for m, p, b in ((method, path, body), (method, of_ann, its_body))
            ]
            assert [a.status_code for a in answers] == [404, 404], f"{method} {path}"
            if method != "HEAD":
                left, right = ({**a.json(), "instance": ""} for a in answers)
                assert left == right


def test_another_users_id_in_the_header_is_refused(ann: Person, bob: Person, anns: Belongings) -> None:
    answer = bob.http.get(f"/ml/status/{anns.task}", headers={"X-User-Id": ann.id})
    assert answer.status_code == 403


def test_without_a_token_nothing_answers(bob: Person, anns: Belongings) -> None:
    token = bob.http.headers.pop("Authorization")
    try:
        for method, path, body, _ in routes(anns):
            answer = bob.http.request(method, path, json=body)
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
    finally:
        bob.http.headers["Authorization"] = token
