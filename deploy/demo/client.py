"""The calls the demo makes. Everything here goes over HTTP and knows nothing of the server's code."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import httpx

TERMINAL = ("completed", "failed", "cancelled")
WAIT_S = 20
"""How long one long poll may take; a proxy in between may cut much longer ones."""
PATIENCE_S = 300
BETWEEN_S = 0.25
"""A profile and a saved model take tenths of a second, and the least that `Retry-After` can say is one."""
LOST_S = 60
"""How long the server may be unreachable in mid-task: a restart takes no longer."""


class DemoFailed(Exception):
    """Why it did not work, for a person."""


class Fetched(NamedTuple):
    path: Path
    size_bytes: int
    sha256: str


class Client:
    """One user's session with one Trainyard. Raises DemoFailed with the server's own words."""

    def __init__(self, url: str, token: str | None = None) -> None:
        # A redirect leads to the object store; httpx sends it no Authorization of ours.
        self.http = httpx.Client(base_url=url, follow_redirects=True, timeout=httpx.Timeout(WAIT_S + 40))
        self.http.headers["Authorization"] = f"Bearer {token or self._dev_login()}"

    def close(self) -> None:
        self.http.close()

    def _dev_login(self) -> str:
        with explained():
            response = self.http.post("/auth/dev-login", json={"email": "demo@example.com"})
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise DemoFailed("this server has no dev-login: give a user's token with --token")
        return str(checked(response).json()["access_token"])

    def upload(self, table: Path) -> dict[str, Any]:
        with table.open("rb") as file, explained():
            return dict(checked(self.http.post("/files", files={"file": (table.name, file)})).json())

    def profile(self, file_id: str) -> dict[str, Any]:
        return dict(self._until_made(f"/files/{file_id}/profile", "the profile").json())

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        with explained():
            return dict(checked(self.http.post("/ml/train", json=request)).json())

    def follow(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The task again each time it changes, until its end. A server that restarts is waited for."""
        etag, lost_since = "", None
        while True:
            yield_it = False
            try:
                headers = {"If-None-Match": etag} if etag else {}
                path = f"/ml/status/{task['task_id']}"
                response = self.http.get(path, params={"wait": WAIT_S}, headers=headers)
                if response.status_code != HTTPStatus.NOT_MODIFIED:
                    task, etag = checked(response).json(), response.headers.get("ETag", "")
                    yield_it = True
                lost_since = None
            except (httpx.TransportError, Unavailable) as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > LOST_S:
                    raise DemoFailed(f"the server is gone: {error}") from None
                time.sleep(0.5)
            if yield_it:
                yield task
                if task["status"] in TERMINAL:
                    return

    def download(self, path: str, folder: Path) -> Fetched:
        """Fetch a file under the name the server gives it, wherever it is redirected to."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with explained(), self.http.stream("GET", path, headers={"Prefer": f"wait={WAIT_S}"}) as response:
                if response.status_code == HTTPStatus.OK:
                    return save(response, folder)
                response.read()
                checked(response)
                pause(response, deadline, "the file")

    def save_model(self, task_id: str, name: str) -> dict[str, Any]:
        body = {"task_id": task_id, "model_name": name, "tags": ["demo"], "leaderboard_model": "best_model"}
        with explained():
            response = checked(self.http.post("/models/save", json=body))
        model, deadline = response.json(), time.monotonic() + PATIENCE_S
        while model["status"] == "saving":
            pause(response, deadline, "saving")
            with explained():
                response = checked(self.http.get(f"/models/{model['id']}"))
            model = response.json()
        if model["status"] != "ready":
            raise DemoFailed(f"the model could not be saved (status {model['status']})")
        return dict(model)

    def link(self, model_id: str) -> dict[str, Any]:
        with explained():
            answer = self.http.get(f"/models/{model_id}/download", headers={"Accept": "application/json"})
        return dict(checked(answer).json())

    def fetch_link(self, link: dict[str, Any], folder: Path) -> Fetched:
        """Fetch a signed link as anyone could who has it: without a token."""
        with explained(), httpx.stream("GET", link["url"], timeout=60, follow_redirects=True) as response:
            if response.status_code != HTTPStatus.OK:
                raise DemoFailed(f"the signed link answers {response.status_code}")
            return save(response, folder, name=link["filename"])

    def _until_made(self, path: str, what: str) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with explained():
                response = checked(self.http.get(path))
            if response.status_code == HTTPStatus.OK:
                return response
            pause(response, deadline, what)


class Unavailable(DemoFailed):
    """The server answers that a part of it is away for now."""


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise DemoFailed(f"the server cannot be reached: {error}") from error


def checked(response: httpx.Response) -> httpx.Response:
    """The response, or DemoFailed with what its problem+json says."""
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    try:
        problem = response.json()
        said = str(problem.get("detail") or problem.get("title"))
        faults = [f"{fault['pointer'] or '/'}: {fault['detail']}" for fault in problem.get("errors", [])]
    except (ValueError, AttributeError, KeyError, TypeError):
        said, faults = response.text[:300], []
    where = f"{response.request.method} {response.request.url.path}"
    kind = Unavailable if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE else DemoFailed
    raise kind("\n  ".join([f"{where} answered {response.status_code}: {said}", *faults]))


def pause(response: httpx.Response, deadline: float, what: str) -> None:
    """Wait as long as the server asks for, `BETWEEN_S` at most. Raises DemoFailed after the deadline."""
    if time.monotonic() > deadline:
        raise DemoFailed(f"{what} was not ready after {PATIENCE_S} s")
    asked = response.headers.get("Retry-After", "")
    time.sleep(min(float(asked) if asked.isdigit() else BETWEEN_S, BETWEEN_S))


def save(response: httpx.Response, folder: Path, name: str | None = None) -> Fetched:
    """Stream a body into `folder`; it appears whole or not at all."""
    name = PurePosixPath(name or file_name(response)).name
    draft, target = folder / f"{name}.part", folder / name
    digest, size = hashlib.sha256(), 0
    with draft.open("wb") as file:
        for chunk in response.iter_bytes():
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    draft.replace(target)
    return Fetched(target, size, digest.hexdigest())


def file_name(response: httpx.Response) -> str:
    """The name in Content-Disposition (RFC 6266). Raises DemoFailed without one."""
    header = Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    name = header.get_filename()
    if not name:
        raise DemoFailed(f"{response.request.url.path} came without a file name")
    return name
