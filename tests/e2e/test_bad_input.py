"""Bad input gets a clear answer, and nothing is lost by it."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e import checks
from tests.e2e.bad_tables import FILES, GOOD, REQUESTS, Bad, ab, day, lines
from tests.e2e.person import PATIENCE_S, Person
from tests.e2e.stack import READY, Stack
from tests.e2e.tables import Table
from tests.fuzz.hostile import Hostile
from tests.fuzz.test_tables import drawn

QUICK: dict[str, Any] = {"models": ["naive_bayes"], "time_budget_s": 60}
INSIDE = re.compile(r"Traceback|\.py\b|site-packages|\w+(Error|Exception)\b|object at 0x")
"""What nobody should have to read."""
OURS = re.compile(r"Traceback|\.py\b|site-packages|object at 0x")


@pytest.fixture(scope="module")
def eve(stack: Stack) -> Iterator[Person]:
    """Tries everything that does not work, and is as well off afterwards as before."""
    person = Person(stack.url, "eve@example.com")
    yield person
    person.close()
    assert said_of(stack) == [], "something died"


def said_of(stack: Stack) -> list[str]:
    """What the supervisor said after the stack was ready: of programs that ended and came back."""
    at = next(i for i, line in enumerate(stack.said) if line.startswith(READY))
    return stack.said[at + 1 :]


def refusal(person: Person, bad: Bad) -> tuple[str, dict[str, Any]]:
    """Where a table and a request with it were refused, and the problem."""
    uploaded = person.http.post("/files", files={"file": (bad.name, bad.content)})
    if uploaded.status_code != 201:
        return "upload", problem(uploaded)
    file_id = uploaded.json()["file_id"]
    profile = person.profile(file_id)
    request = {"file_id": file_id, "target": "y", "time_budget_s": 60, **bad.request}
    asked = person.http.post("/ml/train", json=request)
    if profile.status_code != 200:
        told = problem(asked)
        assert told["errors"][0]["pointer"] == "/file_id", "training says it too"
        assert problem(profile)["detail"] in told["detail"]
        return "profile", problem(profile)
    if asked.status_code != 202:
        return "train", problem(asked)
    task = person.ended(asked.json()["task_id"])
    assert task["status"] == "failed", task
    assert task["message"] == task["error"]["detail"]
    assert task["finished_at"]
    return "task", task["error"]


def problem(answer: Any) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = dict(answer.json())
    assert found["status"] == answer.status_code
    return found


@pytest.mark.parametrize("bad", [*FILES, *REQUESTS], ids=lambda bad: bad.what.replace(" ", "-"))
def test_it_is_said_what_is_wrong_and_where(eve: Person, bad: Bad) -> None:
    where, told = refusal(eve, bad)
    assert where == bad.where, told
    assert [word for word in bad.words if word not in told["detail"]] == [], told["detail"]
    assert INSIDE.search(told["detail"]) is None, told["detail"]
    assert 400 <= told["status"] < 500
    assert told["type"]
    assert told["title"]
    if where == "train":
        pointers = [fault["pointer"] for fault in told["errors"]]
        assert pointers == list(dict.fromkeys(pointers))
        assert all(word in pointers for word in bad.words if word.startswith("/"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (GOOD.replace(b",", b";"), "semicolons.csv"),
        (GOOD.replace(b",", b"\t"), "tabs.tsv"),
        (GOOD.replace(b"\n", b"\r\n"), "windows.csv"),
        (GOOD.decode().encode("utf-8-sig"), "bom.csv"),
        (GOOD.decode().encode("utf-16"), "utf16.csv"),
        (lines("a,b,y", lambda i: f'{i % 7},"two, or\nmore ""{i % 3}""",{ab(i)}'), "quoted newlines.csv"),
        (lines("a,b,nothing,y", lambda i: f"{i % 7},{i % 3},,{ab(i)}"), "an empty column.csv"),
        (lines("a,b,y", lambda i: f"{i % 7},{'-inf' if i % 9 == 4 else i % 3},{ab(i)}"), "infinite.csv"),
        (lines('"a\n[1]",=b+1,y', lambda i: f"{i % 7},{i % 3},{'=1+1' if i % 2 else '@x'}"), "../names.csv"),
        (lines("a,b,y", lambda i: f"{i % 3},{i % 2},{ab(i)}", rows=12), "rows for four folds.csv"),
    ],
    ids=lambda given: given.replace(" ", "-") if isinstance(given, str) else "table",
)
def test_what_only_looks_odd_is_trained_on(eve: Person, content: bytes, name: str) -> None:
    task = eve.run(Table(name, content), "y", cv_folds=10, **QUICK)
    checks.completed(task, models=1)
    profile = eve.profile(task["request"]["file_id"]).json()
    assert profile["rows"] == (12 if "four folds" in name else 60)
    assert profile["columns"][-1]["name"] == "y"
    assert len(profile["columns"]) == (4 if "empty" in name else 3)
    codes = {notice["code"] for notice in task["warnings"]}
    expected = {"an empty column.csv": "empty-column", "infinite.csv": "infinite-values"}
    expected["rows for four folds.csv"] = "fewer-folds"
    assert expected.get(name) is None or expected[name] in codes, codes
    assert eve.get(f"/files/{task['request']['file_id']}")["name"] == name.rsplit("/", 1)[-1]


def test_training_does_not_wait_for_the_profile(eve: Person) -> None:
    """The fault is found all the same: at once where the profile was quicker, else by the task."""
    file = eve.upload(Table("header.csv", b"a,b,y\n"))
    answer = eve.http.post("/ml/train", json={"file_id": file["file_id"], "target": "y"})
    if answer.status_code == 202:
        told = eve.ended(answer.json()["task_id"])["error"]["detail"]
    else:
        told = problem(answer)["detail"]
    assert "a header but no rows" in told


def test_a_model_that_fails_is_a_row_with_its_reason(eve: Person) -> None:
    """XGBoost computes in single precision, which ends at 3e38."""
    table = Table("huge.csv", lines("a,y", lambda i: f"{i % 7},{i % 7 + 1}e300"))
    task = eve.run(table, "y", task_type="regression", models=["xgboost", "ridge"], time_budget_s=60)
    assert task["status"] == "completed"
    assert task["message"] == "1 of 2 models trained"
    assert {c["model_name"]: c["status"] for c in task["candidates"]} == {
        "ridge": "done",
        "xgboost": "failed",
    }
    rows = eve.get(f"/ml/results/{task['task_id']}")["leaderboard"]
    assert [(r["rank"], r["model_name"], r["status"]) for r in rows] == [
        (1, "ridge", "done"),
        (None, "xgboost", "failed"),
    ]
    assert rows[1]["reason"]
    assert "Traceback" not in rows[1]["reason"]
    assert rows[1]["reason"] in eve.fetch(f"/ml/download-leaderboard/{task['task_id']}").content.decode()
    missing = eve.http.get(f"/ml/download-model/{task['task_id']}/xgboost")
    assert (missing.status_code, missing.json()["detail"]) == (404, "Model not found")
    assert eve.fetch(f"/ml/download-model/{task['task_id']}/best_model").content


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, ["not JSON", "line 1"]),
        (b'{"target": "y", "target": "z"}', 400, ["'target'", "twice"]),
        (b"\xff", 400, ["UTF-8"]),
        (b"[]", 422, ["must be a JSON object"]),
        (b"{}", 422, ["/file_id", "/target", "is required"]),
        (b'{"file_id": 3, "target": ""}', 422, ["/file_id", "/target"]),
    ],
    ids=["cut-short", "a-key-twice", "not-UTF-8", "a-list", "nothing", "wrong-types"],
)
def test_bodies_that_are_no_request(eve: Person, body: bytes, status: int, words: list[str]) -> None:
    answer = eve.http.post("/ml/train", content=body, headers={"Content-Type": "application/json"})
    told = problem(answer)
    assert answer.status_code == status
    assert [word for word in words if word not in told["detail"]] == [], told["detail"]
    assert INSIDE.search(told["detail"]) is None


def test_uploads_that_are_no_upload(eve: Person) -> None:
    for options, status in (
        ({"content": b"a,y\n1,2\n", "headers": {"Content-Type": "text/csv"}}, 415),
        ({"data": {"file": "not a file"}, "files": {"other": ("t.csv", b"a,y\n")}}, 422),
        ({"files": {"table": ("t.csv", b"a,y\n1,2\n")}}, 422),
        ({"files": [("file", ("a.csv", GOOD)), ("file", ("b.csv", GOOD))]}, 422),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
    ):
        answer = eve.http.post("/files", **options)
        assert answer.status_code == status, answer.text
        assert INSIDE.search(problem(answer)["detail"]) is None


def patiently(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, once the API does not ask to come later."""
    while (answer := call()).status_code == 429:
        time.sleep(float(answer.headers["Retry-After"]))  # as it asks
    return answer


def end_of(person: Person, table: Hostile) -> str:
    """What became of a table: it was refused, profiled alone, or trained on. A 5xx fails the test."""
    uploaded = patiently(lambda: person.http.post("/files", files={"file": (table.name, table.content)}))
    if uploaded.status_code != 201:
        problem(uploaded)
        return "not uploaded"
    file_id = uploaded.json()["file_id"]
    until = time.monotonic() + PATIENCE_S
    while (profile := patiently(lambda: person.http.get(f"/files/{file_id}/profile"))).status_code == 202:
        assert time.monotonic() < until, f"hung: {table.recipe}"
        time.sleep(0.2)  # there is no long poll for a profile
    if profile.status_code != 200:
        assert problem(profile)["type"] == "table-unreadable"
        assert INSIDE.search(problem(profile)["detail"]) is None, problem(profile)
        return "refused"
    found = profile.json()
    if found["suggested_target"] is None:
        return "profiled"
    models = {"classification": ["naive_bayes"], "regression": ["ridge"]}.get(found["suggested_task_type"])
    request = {"file_id": file_id, "target": found["suggested_target"], "models": models, "time_budget_s": 20}
    if found["suggested_task_type"] == "time_series":
        times = [column["name"] for column in found["columns"] if column["role"] == "datetime"]
        request |= {"time_column": times[0], "models": ["seasonal_naive"]}
    asked = patiently(lambda: person.http.post("/ml/train", json=request))
    if asked.status_code != 202:
        assert INSIDE.search(problem(asked)["detail"]) is None, problem(asked)
        return "not to be trained on"
    task = person.ended(asked.json()["task_id"])
    assert task["status"] in ("completed", "failed"), task
    if task["status"] == "failed":
        assert task["error"]["detail"], task
        assert task["error"]["status"] == 422, (table.recipe, task["error"])
        # a model's own reason may name a library's error; what is ours to say may not
        assert OURS.search(task["error"]["detail"]) is None, (table.recipe, task["error"])
    return str(task["status"])


def test_hostile_tables_end_in_words(stack: Stack) -> None:
    """A few in `make test`, a tenth as many as read in `make fuzz`. Nothing dies of them, nothing hangs."""
    people = [Person(stack.url, f"mallory{i}@example.com") for i in range(4)]
    tables = drawn(max(40, int(os.environ.get("FUZZ_EXAMPLES") or 0) // 10))
    with ThreadPoolExecutor(len(people)) as pool:
        ends = Counter(pool.map(end_of, itertools.cycle(people), tables))
    for person in people:
        person.close()
    print(f"\n{len(tables):,} tables over HTTP: {dict(ends)}")
    assert ends["refused"] > 0
    assert ends["completed"] > 0
    assert said_of(stack) == [], "something died"


def test_afterwards_everything_is_well(eve: Person, stack: Stack) -> None:
    ready = eve.get("/health/ready")
    assert {ready[part] for part in ("postgres", "redis", "storage")} == {"ok"}
    task = eve.run(Table("good.csv", GOOD), "y", **QUICK)
    checks.completed(task, models=1)
    series = Table("good series.csv", lines("when,y", lambda i: f"{day(i)},{i % 7 + i}"))
    forecast = eve.run(series, "y", time_column="when", models=["seasonal_naive"], time_budget_s=60)
    checks.completed(forecast, models=1)
    unfinished = [
        t for s in ("queued", "running") for t in eve.get("/ml/tasks", params={"status": s})["items"]
    ]
    assert unfinished == []
    assert said_of(stack) == []
