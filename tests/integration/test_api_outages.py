"""What the API answers while a server it needs is away."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.integration import api_client
from tests.integration.api_client import CSV, Api, upload


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens, held so that nothing else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


async def test_ready_names_each_part(api: Api) -> None:
    answer = await api.client().get("/health/ready")
    assert answer.json() == {"status": "ok", "postgres": "ok", "redis": "ok", "storage": "ok"}


async def test_without_postgres_503_and_try_again(env: dict[str, str], buckets: None, nobody: str) -> None:
    async with api_client.running(env, API_DATABASE_URL=f"postgresql://a:b@{nobody}/x") as api:
        for answer in (
            await api.user().get("/files"),
            await api.user().post("/ml/train", json={"file_id": "x", "target": "y"}),
        ):
            assert (answer.status_code, answer.json()["type"]) == (503, "database-unavailable")
            assert "retry-after" in answer.headers
            assert "Traceback" not in answer.text
            assert nobody not in answer.text
        ready = await api.client().get("/health/ready")
        assert ready.status_code == 503
        assert (ready.json()["status"], ready.json()["postgres"]) == ("unavailable", "unavailable")
        assert (await api.client().get("/health/live")).status_code == 200


async def test_without_redis_nothing_is_refused(env: dict[str, str], buckets: None, nobody: str) -> None:
    async with api_client.running(env, REDIS_URL=f"redis://{nobody}/0") as api:
        me = api.user()
        file = await upload(me)
        answer = await me.post("/ml/train", json={"file_id": file["file_id"], "target": "species"})
        assert answer.status_code == 202
        ready = await api.client().get("/health/ready")
        assert (ready.status_code, ready.json()["status"], ready.json()["redis"]) == (
            200,
            "degraded",
            "unavailable",
        )


async def test_without_storage_only_what_needs_it_waits(
    env: dict[str, str], buckets: None, nobody: str
) -> None:
    async with api_client.running(env, S3_ENDPOINT_URL=f"http://{nobody}") as api:
        me = api.user()
        answer = await me.post("/files", files={"file": ("t.csv", CSV)})
        assert (answer.status_code, answer.json()["type"]) == (503, "storage-unavailable")
        assert "retry-after" in answer.headers
        assert (await me.get("/files")).json()["items"] == []
        ready = (await api.client().get("/health/ready")).json()
        assert (ready["status"], ready["storage"]) == ("degraded", "unavailable")
