"""The demo's client against made-up answers, and what it shows; tests/e2e runs it for real."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from rich.console import Console

from deploy.demo import client as demo_client
from deploy.demo import show, use
from deploy.demo.__main__ import arguments
from deploy.demo.client import Client, DemoFailed
from deploy.demo.table import breast_cancer

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], Client]:
    """A client whose requests a function answers."""
    real = httpx.Client
    monkeypatch.setattr(demo_client.time, "sleep", lambda _: None)

    def connect(answer: Answer) -> Client:
        monkeypatch.setattr(httpx, "Client", lambda **kw: real(transport=httpx.MockTransport(answer), **kw))
        return Client("http://api.example", token="mine")

    return connect


def task(status: str = "running", *candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "task_id": "t",
        "status": status,
        "progress": 0.5,
        "message": "Fitting",
        "candidates": list(candidates),
    } | more


def candidate(
    name: str, status: str, score: float | None = None, reason: str | None = None
) -> dict[str, Any]:
    return {"model_name": name, "label": name.upper(), "status": status, "score": score, "reason": reason}


def test_a_download_follows_to_the_store_without_the_token(
    connect: Callable[[Answer], Client], tmp_path: Path
) -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.host] = request.headers.get("Authorization")
        if request.url.host == "api.example":
            return httpx.Response(307, headers={"Location": "http://s3.example/key?signature=x"})
        return httpx.Response(200, content=b"bytes", headers=NAMED)

    NAMED = {"Content-Disposition": "attachment; filename=\"plain.pkl\"; filename*=UTF-8''%C3%BC%20x.pkl"}
    fetched = connect(answer).download("/ml/download-model/t/best_model", tmp_path)
    assert seen == {"api.example": "Bearer mine", "s3.example": None}
    assert fetched.path.read_bytes() == b"bytes"
    assert fetched.path.parent == tmp_path
    assert fetched.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == [fetched.path.name], "no draft is left"


def test_a_name_never_leads_out_of_the_folder(connect: Callable[[Answer], Client], tmp_path: Path) -> None:
    hostile = {"Content-Disposition": 'attachment; filename="../../etc/passwd"'}
    client = connect(lambda _: httpx.Response(200, content=b"x", headers=hostile))
    assert client.download("/x", tmp_path).path == tmp_path / "passwd"


def test_a_download_without_a_name_fails(connect: Callable[[Answer], Client], tmp_path: Path) -> None:
    client = connect(lambda _: httpx.Response(200, content=b"x"))
    with pytest.raises(DemoFailed, match="/x came without a file name"):
        client.download("/x", tmp_path)


def test_a_zip_that_is_being_built_is_waited_for(connect: Callable[[Answer], Client], tmp_path: Path) -> None:
    answers = [
        httpx.Response(202, json={"status": "building"}, headers={"Retry-After": "1"}),
        httpx.Response(200, content=b"zip", headers={"Content-Disposition": 'attachment; filename="a.zip"'}),
    ]
    assert connect(lambda _: answers.pop(0)).download("/zip", tmp_path).path.name == "a.zip"


def test_a_task_is_followed_by_its_changes(connect: Callable[[Answer], Client]) -> None:
    asked: list[str | None] = []
    answers = [
        httpx.Response(200, json=task(progress=0.1), headers={"ETag": 'W/"1"'}),
        httpx.Response(304),
        httpx.Response(503, json={"detail": "The database is not answering"}),
        httpx.Response(200, json=task("completed"), headers={"ETag": 'W/"2"'}),
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("If-None-Match"))
        return answers.pop(0)

    seen = [now["status"] for now in connect(answer).follow(task("queued"))]
    assert seen == ["running", "completed"]
    assert asked == [None, 'W/"1"', 'W/"1"', 'W/"1"']


def test_faults_are_told_in_the_servers_words(connect: Callable[[Answer], Client]) -> None:
    problem = {
        "title": "Invalid",
        "detail": "The request has faults",
        "errors": [{"pointer": "/target", "detail": "no such column"}],
    }
    with pytest.raises(DemoFailed) as failed:
        connect(lambda _: httpx.Response(422, json=problem)).train({})
    assert str(failed.value) == (
        "POST /ml/train answered 422: The request has faults\n  /target: no such column"
    )


def test_an_answer_that_is_no_problem_json_is_told_too(connect: Callable[[Answer], Client]) -> None:
    with pytest.raises(DemoFailed, match="answered 502: <html>bad gateway"):
        connect(lambda _: httpx.Response(502, text="<html>bad gateway")).train({})


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(DemoFailed, match="the server cannot be reached"):
        Client("http://127.0.0.1:9", token="mine").train({})


def test_no_dev_login_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    real = httpx.Client
    nothing = httpx.MockTransport(lambda _: httpx.Response(404, json={"detail": "Not found"}))
    monkeypatch.setattr(httpx, "Client", lambda **kw: real(transport=nothing, **kw))
    with pytest.raises(DemoFailed, match="give a user's token with --token"):
        Client("http://api.example")


def test_a_model_that_cannot_be_saved_is_told(connect: Callable[[Answer], Client]) -> None:
    answers = [
        httpx.Response(202, json={"id": "m", "status": "saving"}),
        httpx.Response(200, json={"id": "m", "status": "failed"}),
    ]
    with pytest.raises(DemoFailed, match="could not be saved"):
        connect(lambda _: answers.pop(0)).save_model("t", "name")


def shown(*tasks: dict[str, Any], terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with show.training(console) as see:
        for now in tasks:
            see(now)
    return out.getvalue()


def test_plain_lines_say_each_change_once() -> None:
    first = task("running", candidate("a", "queued"), candidate("b", "running"))
    second = task("running", candidate("a", "failed", None, "no [red] luck"), candidate("b", "done", 0.91))
    assert shown(first, first, second, second, terminal=False).splitlines() == [
        "   50%  B: running",
        "   50%  A: failed no [red] luck",
        "   50%  B: done 0.9100",
    ]


def test_a_terminal_shows_the_leaderboard() -> None:
    best = {"model_name": "b", "label": "B", "metric": "accuracy", "score": 0.91}
    said = shown(
        task("running", candidate("a", "done", 0.8), candidate("b", "done", 0.91), best=best), terminal=True
    )
    assert "accuracy" in said
    assert said.index("B ★") < said.index("0.8000")


@pytest.mark.parametrize(
    ("best", "order"), [("high", ["high", "low", "none"]), ("low", ["low", "high", "none"])]
)
def test_the_best_stands_first_whatever_the_metric(best: str, order: list[str]) -> None:
    candidates = [candidate("none", "queued"), candidate("low", "done", 1.0), candidate("high", "done", 2.0)]
    now = task("running", *candidates, best={"model_name": best})
    assert [c["model_name"] for c in show.ranked(now)] == order


def test_why_a_task_failed_names_each_models_reason() -> None:
    failed = task("failed", candidate("a", "failed", None, "out of memory"), error={"detail": "No model"})
    assert show.ending(failed) == "the task failed: No model\n  A: out of memory"
    assert show.ending(task("completed")) is None


PREDICT = """
import json, sys

example = json.load(open(sys.argv[1]))
if "refused" in example:
    sys.exit(example["refused"])
print(json.dumps(example["predictions"]))
"""


def unpacked(folder: Path, example: dict[str, Any]) -> Path:
    """A ZIP as the packager makes them, unpacked, with a program that repeats what was recorded."""
    with zipfile.ZipFile(folder / "all_models.zip", "w") as archive:
        archive.writestr("example.json", json.dumps(example))
        archive.writestr("predict.py", PREDICT)
        archive.writestr("best_model.pkl", b"a model")
    return use.unpack(folder / "all_models.zip")


@pytest.mark.parametrize(
    ("rows", "predictions", "shown"),
    [
        ([{"x": 0.125}, {"x": 3}], ["no", "yes"], [("x 0.125", "no"), ("x 3", "yes")]),
        ([{"a": 1, "b": 2, "c": 3, "d": 4}], [1639.129150390625], [("a 1, b 2, c 3, …", "1639.13")]),
        (
            [{"h": 2}],
            [{"day": "2024-01-01T00:00:00Z", "Naive": 1.5}, {"day": "2024-01-02T00:00:00Z", "Naive": 2}],
            [("step 1", "day 2024-01-01, Naive 1.5"), ("step 2", "day 2024-01-02, Naive 2")],
        ),
    ],
)
def test_the_zips_own_program_predicts_its_example(
    tmp_path: Path, rows: list[Any], predictions: list[Any], shown: list[Any]
) -> None:
    folder = unpacked(tmp_path, {"rows": rows, "predictions": predictions})
    assert folder == tmp_path / "all_models"
    assert use.predict(folder) == shown


def test_a_zip_that_does_not_predict_is_told_in_its_own_words(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, {"refused": "DIFFERS from the recorded predictions"})
    with pytest.raises(DemoFailed, match="DIFFERS from the recorded"):
        use.predict(folder)


def test_the_saved_model_is_the_zips_best(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, {})
    use.check_same(folder / "best_model.pkl", hashlib.sha256(b"a model").hexdigest())
    with pytest.raises(DemoFailed, match="has SHA-256"):
        use.check_same(folder / "best_model.pkl", "0" * 64)


def test_the_bundled_table_has_names_and_words(tmp_path: Path) -> None:
    table = breast_cancer(tmp_path)
    frame = pd.read_csv(table.path)
    assert frame.shape == (569, 31)
    assert set(frame[table.target]) == {"malignant", "benign"}
    assert frame[table.target].value_counts()["benign"] == 357
    assert "mean radius" in frame.columns


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data", "x.csv"], "--data and --target go together"),
        (["--target", "y"], "--data and --target go together"),
        (["--data", "/nowhere.csv", "--target", "y"], "there is no file /nowhere.csv"),
    ],
)
def test_wrong_arguments_are_explained(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
