"""`python -m services.api` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from deploy import ports
from shared.db.pool import Database
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, TESTED


def command_environment(env: Mapping[str, str], **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **TESTED, **env, "AUTH_DEV_LOGIN": "", "LOG_LEVEL": "warning", **more}


@contextlib.contextmanager
def process(env: Mapping[str, str], **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (port,) = ports.free(1)
    running = subprocess.Popen(
        [sys.executable, "-m", "services.api"],
        env=command_environment(env, PORT=str(port), AUTH_DEV_LOGIN="true", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health/live").status_code == 200:
                    break
            assert running.poll() is None, running.communicate()[0]
        yield running, url
    finally:
        running.kill()
        running.wait()


def test_from_signing_in_to_a_queued_run_and_a_quiet_end(env: dict[str, str], buckets: None) -> None:
    with process(env) as (running, url), httpx.Client(base_url=url, timeout=20) as http:
        assert http.get("/health/ready").json()["status"] == "ok"
        signed_in = http.post("/auth/dev-login", json={"email": "Ada@example.org"}).json()
        assert signed_in["user"]["email"] == "ada@example.org"
        http.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        file = http.post("/files", files={"file": ("iris.csv", CSV)}).json()
        answer = http.post("/ml/train", json={"file_id": file["file_id"], "target": "species"})
        assert answer.status_code == 202, answer.text
        where = answer.headers["location"]
        etag = http.get(where).headers["etag"]

        waited: list[httpx.Response] = []
        poll = threading.Thread(
            target=lambda: waited.append(http.get(f"{where}?wait=60", headers={"If-None-Match": etag}))
        )
        poll.start()
        metrics = ""
        while 'route="/ml/status/{task_id}",status="200"' not in metrics:
            metrics = httpx.get(f"{url}/metrics").text
        time.sleep(0.3)  # nothing outside tells that the poll has begun to wait
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        poll.join(timeout=15)
        output, _ = running.communicate(timeout=15)
        assert time.monotonic() - began < 5
        assert waited[0].status_code == 304
        assert running.returncode == 0
        assert output == ""


async def test_downloads_over_a_real_connection(
    api: api_client.Api, env: dict[str, str], worker_db: Database
) -> None:
    user = uuid.uuid4()
    run = await api_runs.completed(api, api.user(user), worker_db, user)
    content = api_runs.pickle_of("random_forest")
    path = f"/ml/download-model/{run}/best_model"
    headers = {"Authorization": f"Bearer {api_client.token(user)}"}
    with process(env) as (running, url), httpx.Client(base_url=url, timeout=20, headers=headers) as http:
        for _ in range(2):  # the second time over the same connection: lengths were right
            whole = http.get(path)
            assert whole.content == content
            assert whole.headers["content-length"] == str(len(content))
            head = http.head(path)
            assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))
            part = http.get(path, headers={"Range": "bytes=3-6"})
            assert (part.status_code, part.content) == (206, content[3:7])
            missing = http.get(f"/ml/download-model/{run}/nothing")
            assert missing.json()["type"] == "model-not-found"
        with http.stream("GET", path) as cut:
            assert cut.status_code == 200  # and left without reading it
        assert http.get("/health/live").status_code == 200
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=15)
        assert (running.returncode, output) == (0, "")


def test_a_secret_is_changed_in_its_file_while_requests_come(
    env: dict[str, str], buckets: None, tmp_path: Path
) -> None:
    old, new = "o" * 40, "n" * 40
    current, previous = tmp_path / "secret", tmp_path / "previous"
    current.write_text(old)
    previous.write_text(new)
    given = {"AUTH_JWT_SECRET": "", "AUTH_JWT_SECRET_FILE": str(current)}
    given["AUTH_JWT_PREVIOUS_SECRET_FILE"] = str(previous)
    user = uuid.uuid4()

    def status(http: httpx.Client, secret: str) -> int:
        # another token each time: what was checked a moment ago is remembered
        bearer = api_client.token(user, secret=secret, jti=str(uuid.uuid4()))
        return http.get("/files", headers={"Authorization": f"Bearer {bearer}"}).status_code

    with process(env, **given) as (running, url), httpx.Client(base_url=url, timeout=20) as http:
        assert [status(http, secret) for secret in (old, new)] == [200, 200]
        remembered = api_client.token(user, secret=old)
        assert http.get("/files", headers={"Authorization": f"Bearer {remembered}"}).status_code == 200
        current.write_text(new)
        previous.write_text("")
        running.send_signal(signal.SIGHUP)
        while status(http, old) == 200:
            assert status(http, new) == 200
        assert http.get("/files", headers={"Authorization": f"Bearer {remembered}"}).status_code == 401
        current.write_text("too short")
        running.send_signal(signal.SIGHUP)
        assert running.stdout is not None
        while "secrets stay as they were" not in running.stdout.readline():
            pass
        assert status(http, new) == 200
