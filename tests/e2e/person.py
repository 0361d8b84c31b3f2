"""A person with a browser or a script: everything here goes over HTTP."""

from __future__ import annotations

import hashlib
import time
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.e2e.tables import Table

WAIT_S = 20
PATIENCE_S = 200
"""Only to catch what hangs: nothing here takes that long."""
TERMINAL = ("completed", "failed", "cancelled")


class Fetched(NamedTuple):
    name: str
    content: bytes
    sha256: str
    answers: list[httpx.Response]
    """Redirects first, then the one with the bytes."""

    def into(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content)
        return path


class Person:
    """One signed-in user."""

    def __init__(self, url: str, email: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=WAIT_S + 40)
        answer = self.http.post("/auth/dev-login", json={"email": email})
        assert answer.status_code == 200, answer.text
        self.id = answer.json()["user"]["id"]
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.http.get(path, **options)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def upload(self, table: Table) -> dict[str, Any]:
        answer = self.http.post("/files", files={"file": (table.name, table.content)})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def profile(self, file_id: str) -> httpx.Response:
        """The answer once there is a profile or a reason why not."""
        until = time.monotonic() + PATIENCE_S
        while (answer := self.http.get(f"/files/{file_id}/profile")).status_code == 202:
            assert "Retry-After" in answer.headers
            assert time.monotonic() < until, "the profile is never made"
            time.sleep(0.05)  # there is no long poll for a profile
        return answer

    def train(self, file_id: str, target: str, **more: Any) -> dict[str, Any]:
        answer = self.http.post("/ml/train", json={"file_id": file_id, "target": target, **more})
        assert answer.status_code == 202, answer.text
        assert answer.headers["Location"] == f"/ml/status/{answer.json()['task_id']}"
        return dict(answer.json())

    def changes(self, task_id: str) -> list[dict[str, Any]]:
        """Every state of a task that was seen until its end, each told by a long poll."""
        seen: list[dict[str, Any]] = []
        etag, until = None, time.monotonic() + PATIENCE_S
        while not seen or seen[-1]["status"] not in TERMINAL:
            assert time.monotonic() < until, f"the task never ends: {seen[-1:]}"
            answer = self.http.get(
                f"/ml/status/{task_id}",
                params={"wait": WAIT_S},
                headers={"If-None-Match": etag} if etag else {},
            )
            if answer.status_code == 304:
                assert answer.headers["ETag"] == etag
                continue
            assert answer.status_code == 200, answer.text
            etag = answer.headers["ETag"]
            seen.append(answer.json())
            assert etag == f'W/"{seen[-1]["version"]}"'
            assert ("Retry-After" in answer.headers) == (seen[-1]["status"] not in TERMINAL)
        return seen

    def ended(self, task_id: str) -> dict[str, Any]:
        return self.changes(task_id)[-1]

    def run(self, table: Table, target: str, **more: Any) -> dict[str, Any]:
        """Upload, train, and the task at its end."""
        return self.ended(self.train(self.upload(table)["file_id"], target, **more)["task_id"])

    def fetch(self, path: str) -> Fetched:
        """A file download under the name that the server gives it, wherever it is redirected to."""
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self.http.get(path, headers={"Prefer": f"wait={WAIT_S}"}, follow_redirects=True)
            if answer.status_code != 202:
                break
            assert time.monotonic() < until, f"{path} is never ready"
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        disposition = Message()
        disposition["Content-Disposition"] = answer.headers["Content-Disposition"]
        name = disposition.get_filename()
        assert name, f"{path} came without a file name"
        assert len(answer.content) == int(answer.headers["Content-Length"])
        digest = hashlib.sha256(answer.content).hexdigest()
        return Fetched(name, answer.content, digest, [*answer.history, answer])

    def link(self, path: str) -> dict[str, Any]:
        """The signed link of a download, as JSON."""
        return dict(self.get(path, headers={"Accept": "application/json"}))

    def save(self, task_id: str, model_name: str, **more: Any) -> dict[str, Any]:
        """A model of a run put into the registry, once it is there."""
        answer = self.http.post("/models/save", json={"task_id": task_id, "model_name": model_name, **more})
        assert answer.status_code == 202, answer.text
        path, until = answer.headers["Location"], time.monotonic() + PATIENCE_S
        while (model := self.get(path))["status"] == "saving":
            assert time.monotonic() < until, "the model is never saved"
            time.sleep(0.05)  # there is no long poll for a model
        assert model["status"] == "ready", model
        return dict(model)
