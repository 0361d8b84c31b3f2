"""Real services that log all they have, with real work and real errors: no line shows a secret."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from deploy import ports
from shared.db.pool import Database
from shared.settings import secrets_of
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, TESTED, Api, token
from tests.integration.signatures import SETTING
from tests.integration.tcp_proxy import tcp_proxy

NOT_SECRET = {"redis://127.0.0.1:6379/0"}


@contextlib.asynccontextmanager
async def process(name: str, env: Mapping[str, str], log: IO[bytes], health: str) -> AsyncIterator[None]:
    """A service until the end of the block, then SIGTERM. `health`: the URL that answers when it is up."""
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.chatty", name],
        env={"PATH": os.environ["PATH"], "LOG_LEVEL": "debug"} | dict(env),
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        with anyio.fail_after(60):
            async with httpx.AsyncClient() as http:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await http.get(health)).status_code == 200:
                            break
                    assert running.poll() is None
                    await anyio.sleep(0.05)
        yield
        running.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(running.wait, 30)
    finally:
        running.kill()
        running.wait()


def shown(log: Path, secrets: Mapping[str, str]) -> list[str]:
    """The names of those that stand in the log."""
    text = log.read_text(errors="replace")
    return [name for name, secret in secrets.items() if secret in text]


def secrets_in(env: Mapping[str, str]) -> dict[str, str]:
    found = secrets_of(env) - NOT_SECRET
    assert len(found) >= 8
    return {f"a secret of the environment, {n}": secret for n, secret in enumerate(sorted(found))}


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_an_api_that_works_and_fails(
    env: dict[str, str], buckets: None, tmp_path: Path, log_format: str
) -> None:
    (port,) = ports.free(1)
    user, url, path = uuid.uuid4(), f"http://127.0.0.1:{port}", tmp_path / "log"
    mine, forged = token(user), token(user, secret="another secret that is long enough as well")
    secrets = secrets_in(TESTED | env) | {"a token": mine, "a forged token": forged}
    async with tcp_proxy(env["API_DATABASE_URL"]) as database, tcp_proxy(env["REDIS_URL"]) as redis:
        broken = {
            "API_DATABASE_URL": database.in_front_of(env["API_DATABASE_URL"]),
            "REDIS_URL": redis.in_front_of(env["REDIS_URL"]),
            "PORT": str(port),
            "LOG_FORMAT": log_format,
        }
        with path.open("wb") as log:
            async with (
                process("services.api", TESTED | env | broken, log, f"{url}/health/live"),
                httpx.AsyncClient(base_url=url, timeout=30) as http,
            ):
                me = {"Authorization": f"Bearer {mine}"}
                assert (
                    await http.get("/files", headers={"Authorization": f"Bearer {forged}"})
                ).status_code == 401
                uploaded = (await http.post("/files", files={"file": ("t.csv", CSV)}, headers=me)).json()
                body = {"file_id": uploaded["file_id"], "target": "species"}
                assert (await http.post("/ml/train", json=body, headers=me)).status_code == 202
                made = await http.post("/auth/api-keys", json={"name": "k", "scopes": ["read"]}, headers=me)
                assert made.status_code == 201, made.text
                key = made.json()["key"]
                assert (
                    await http.get("/files", headers={"Authorization": f"Bearer {key}"})
                ).status_code == 200
                session = await http.post("/auth/session", headers=me)
                assert session.cookies
                database.cut()
                redis.cut()
                for method, where in (("GET", "/files"), ("POST", "/ml/train"), ("GET", "/health/ready")):
                    answer = await http.request(method, where, json=body, headers=me)
                    assert answer.status_code == 503
                for proxy in (database, redis):
                    proxy.heal()
    text = path.read_text(errors="replace")
    assert "botocore" in text
    assert "[redacted]" in text
    assert shown(path, secrets | {"an API key": key}) == []


async def test_a_packager_that_works_and_fails(
    api: Api, env: dict[str, str], worker_db: Database, tmp_path: Path
) -> None:
    """It signs, copies and packs: botocore tells of every header, and of what it signed."""
    (port,) = ports.free(1)
    user, path = uuid.uuid4(), tmp_path / "log"
    me = api.user(user)
    run = await api_runs.completed(api, me, worker_db, user)
    health = f"http://127.0.0.1:{port}/health/live"
    workers = dict(env) | {"METRICS_PORT": str(port), "ARTIFACT_HMAC_KEYS": SETTING}
    saved: Any = (await me.post("/models/save", json={"task_id": str(run), "model_name": "Mine"})).json()
    with path.open("wb") as log:
        async with process("services.packager", workers, log, health):
            with anyio.fail_after(60):
                while saved["status"] == "saving":
                    saved = (await me.get(f"/models/{saved['id']}")).json()
                    await anyio.sleep(0.05)
            zipped = await me.get(f"/ml/download-all-models/{run}", headers={"Prefer": "wait=30"})
            assert zipped.status_code in (200, 307)
        wrong = workers | {"S3_SECRET_ACCESS_KEY": "wrong-" + workers["S3_SECRET_ACCESS_KEY"]}
        async with process("services.packager", wrong, log, health):
            await me.post("/models/save", json={"task_id": str(run), "model_name": "Mine again"})
            with anyio.fail_after(60):
                while "SignatureDoesNotMatch" not in path.read_text(errors="replace"):
                    await anyio.sleep(0.05)
    text = path.read_text(errors="replace")
    assert saved["status"] == "ready"
    assert "botocore" in text
    assert "[redacted]" in text
    secrets = secrets_in(workers) | {"the wrong one": wrong["S3_SECRET_ACCESS_KEY"]}
    assert shown(path, secrets) == []
    link = (
        await me.get(f"/ml/download-model/{run}/best_model", headers={"Accept": "application/json"})
    ).json()
    signature = parse_qs(urlsplit(link["url"]).query)["X-Amz-Signature"][0]
    assert signature not in text
    assert "AWS4-HMAC-SHA256 Credential=AKIA" not in text
    assert api_client.SECRET not in text
