"""Names nobody would give: kept as typed, and safe wherever they become a file, a key or a header."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.bad_tables import ab, lines
from tests.e2e.person import Person
from tests.e2e.stack import Stack
from tests.e2e.tables import Table

NAMES = [
    "../../../etc/passwd",
    "..\\..\\windows\\system32",
    "/absolute",
    "a/../../b",
    "\u202egnp.exe",
    "a\u2066b\u2069c",
    "\u200b\u200c\ufeff",
    "🚂🚃🚃",
    "e\u0301\u0323" * 20,
    "con",
    "NUL.txt",
    "LPT1",
    ".hidden",
    "...",
    "trailing dots. . .",
    "  blanks around  ",
    "quotes\" and ' and `",
    "a\r\nSet-Cookie: x=1",
    "semi;colon=1; filename=x.exe",
    "%2e%2e%2f%00",
    "=1+1",
    "<script>alert(1)</script>",
    "'; DROP TABLE trained_models; --",
    "表" * 120,
    "x" * 120,
]
"""None is longer than a model's name may be."""


@pytest.fixture(scope="module")
def mallory(stack: Stack) -> Iterator[Person]:
    person = Person(stack.url, "mallory@example.com")
    yield person
    person.close()


@pytest.fixture(scope="module")
def run(mallory: Person) -> dict[str, Any]:
    """Of a table whose file, columns and labels are named so too."""
    columns = ",".join('"' + name.replace('"', '""') + '"' for name in ("=1+1", "../x", "\u202eb"))
    cells = ["\"=cmd|' /C calc'!A0\"", "+1", "@x"]
    table = Table(
        "../=evil\u202e.csv", lines(f"{columns},y", lambda i: f"{i % 7},{i % 3},{cells[i % 3]},{ab(i)}")
    )
    task = mallory.run(table, "y", models=["naive_bayes"], name=NAMES[0], time_budget_s=60)
    assert task["status"] == "completed", task
    assert task["name"] == NAMES[0]
    return task


def test_files_keep_their_names_less_what_could_mislead(mallory: Person) -> None:
    for name in [*NAMES, "n" * 10_000]:
        uploaded = mallory.upload(Table(name + ".csv", b"a,y\n1,2\n"))
        kept = uploaded["name"]
        assert kept.endswith(".csv"), kept
        assert len(kept) <= 255
        assert not any(unicodedata.category(c) == "Cc" or c in "/\\" for c in kept), kept
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", kept)
        assert mallory.get(f"/files/{uploaded['file_id']}")["name"] == kept
        assert mallory.http.delete(f"/files/{uploaded['file_id']}").status_code == 204


def test_models_keep_their_names_and_their_files_are_safe(mallory: Person, run: dict[str, Any]) -> None:
    keys = []
    for name in NAMES:
        model = mallory.save(run["task_id"], name, tags=[name[:40]], description=name)
        assert (model["model_name"], model["tags"], model["description"]) == (name, [name[:40]], name)
        owner, _, file = model["file_path"].partition("/")
        assert owner == mallory.id
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,140}\.pkl", file), file
        assert ".." not in file
        assert mallory.get("/models", params={"q": name, "tag": name[:40]})["items"][0]["id"] == model["id"]
        fetched = mallory.fetch(f"/models/{model['id']}/download")
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}\.pkl", fetched.name), fetched.name
        assert fetched.name.split(".")[0].lower() not in ("con", "nul", "lpt1")
        for answer in fetched.answers:
            header = answer.headers.get("Content-Disposition", "attachment")
            assert header.startswith("attachment")
            assert header.isascii()
            assert "Set-Cookie" not in answer.headers
        keys.append(model["file_path"])
    assert len(set(keys)) == len(NAMES)


def test_names_that_are_none(mallory: Person, run: dict[str, Any]) -> None:
    for name in ("", "   ", "x" * 121, "x" * 10_000, "a\0b", "\ud800"):
        body = {"task_id": run["task_id"], "model_name": name, "tags": ["t" * 41, "\0"]}
        answer = mallory.http.post(
            "/models/save", content=_json(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, (name[:20], answer.text)
        pointers = {fault["pointer"] for fault in answer.json()["errors"]}
        assert pointers == {"/model_name", "/tags/0", "/tags/1"}


def test_a_spreadsheet_runs_nothing(mallory: Person, run: dict[str, Any]) -> None:
    task_id = run["task_id"]
    csv = mallory.fetch(f"/ml/download-leaderboard/{task_id}")
    assert csv.name == f"leaderboard_{task_id}.csv"
    for cell in csv.content.decode().replace("\r\n", ",").split(","):
        bare = cell.strip('"')
        assert not bare.startswith(("=", "+", "@", "\t", "\r", "＝", "＋", "－", "＠")), cell
        assert not bare.startswith("-") or float(bare) < 0
    bundle = mallory.fetch(f"/ml/download-all-models/{task_id}")
    assert bundle.name == f"all_models_{task_id}.zip"


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
