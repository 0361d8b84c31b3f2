"""What the API answers while a server it needs is away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import AsyncGenerator, Iterator

import httpx
import pytest

from shared.db.pool import Database
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, Api, token, upload
from tests.integration.api_server import serving
from tests.integration.faulty_proxy import (
    Answer,
    CutUpload,
    Fault,
    Refuse,
    Request,
    Rule,
    Stall,
    faulty_proxy,
)
from tests.integration.tcp_proxy import tcp_proxy

SOON_S = 12.0
"""No answer takes longer, whatever is away, with a little for a busy machine."""


@contextlib.contextmanager
def soon(seconds: float = SOON_S) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def unavailable(answer: httpx.Response, slug: str) -> bool:
    assert "Traceback" not in answer.text
    return (answer.status_code, answer.json()["type"], "retry-after" in answer.headers) == (503, slug, True)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens, held so that nothing else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a store for longer than this, where none is to be waited for."""
    for module in ("handover", "routes.files", "routes.results"):
        monkeypatch.setattr(f"services.api.{module}.STORE_PATIENCE_S", 1.5)


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
    env: dict[str, str], buckets: None, nobody: str, impatient: None
) -> None:
    async with api_client.running(env, S3_ENDPOINT_URL=f"http://{nobody}") as api:
        me = api.user()
        answer = await me.post("/files", files={"file": ("t.csv", CSV)})
        assert (answer.status_code, answer.json()["type"]) == (503, "storage-unavailable")
        assert "retry-after" in answer.headers
        assert (await me.get("/files")).json()["items"] == []
        ready = (await api.client().get("/health/ready")).json()
        assert (ready["status"], ready["storage"]) == ("degraded", "unavailable")


async def test_a_database_that_hangs_or_restarts(env: dict[str, str], buckets: None) -> None:
    url = env["API_DATABASE_URL"]
    async with (
        tcp_proxy(url) as proxy,
        api_client.running(env, API_DATABASE_URL=proxy.in_front_of(url)) as api,
    ):
        me = api.user()
        task = await api_runs.queued(api, me)
        body = {"file_id": task["request"]["file_id"], "target": "species"}

        async def everything() -> list[httpx.Response]:
            return await asyncio.gather(
                *(me.get(f"/ml/status/{task['task_id']}") for _ in range(20)),
                me.get("/files"),
                me.post("/ml/train", json=body, headers={"Idempotency-Key": "once"}),
                me.post("/files", files={"file": ("t.csv", CSV)}, headers={"Idempotency-Key": "once"}),
                api.user().get("/ml/tasks"),
            )

        for break_it in (proxy.hang, proxy.cut):
            assert {a.status_code for a in await everything()} <= {200, 201, 202}
            break_it()
            with soon():
                assert all(unavailable(a, "database-unavailable") for a in await everything())
            proxy.heal()
        with soon(5):  # nothing is left of it: no connection that is dead, no key that is taken
            assert {a.status_code for a in await everything()} == {200, 201, 202}


async def test_a_stream_of_events_outlives_the_database(
    env: dict[str, str], buckets: None, worker_db: Database
) -> None:
    url, user = env["API_DATABASE_URL"], uuid.uuid4()
    async with (
        tcp_proxy(url) as proxy,
        serving(env, API_DATABASE_URL=proxy.in_front_of(url)) as (api, base),
        httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {token(user)}"}) as http,
        asyncio.timeout(30),
    ):
        task_id = (await api_runs.queued(api, http))["task_id"]
        async with http.stream("GET", f"/ml/events/{task_id}", timeout=20) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if line.startswith("data:"):
                    break
            proxy.cut()
            async for line in lines:
                if line.startswith(": the database is away"):
                    break
            proxy.heal()
            await api_runs.execute(
                worker_db, "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1", uuid.UUID(task_id)
            )
            rest = [line async for line in lines]
            assert any('"status":"failed"' in line for line in rest)


async def test_a_redis_that_hangs_costs_a_second(env: dict[str, str], buckets: None) -> None:
    async with (
        tcp_proxy(env["REDIS_URL"]) as proxy,
        api_client.running(env, REDIS_URL=proxy.in_front_of(env["REDIS_URL"])) as api,
    ):
        me = api.user()
        body = {"file_id": (await upload(me))["file_id"], "target": "species"}
        await me.post("/ml/train", json=body)
        for break_it in (proxy.hang, proxy.cut):
            break_it()
            with soon(2.5):
                answer = await me.post("/ml/train", json=body)
                assert answer.status_code == 202
            status = answer.headers["location"]
            etag = (await me.get(status)).headers["etag"]
            with soon(2.5):  # a change is found without it, too
                waiting = asyncio.create_task(me.get(f"{status}?wait=20", headers={"If-None-Match": etag}))
                assert (await me.post(f"/ml/cancel/{answer.json()['task_id']}")).status_code == 202
                assert (await waiting).json()["status"] == "cancelled"
            with soon(2.5):
                assert (await me.post(f"/ml/resume/{answer.json()['task_id']}")).status_code == 202
            proxy.heal()


async def test_a_redis_that_comes_back_is_listened_to(env: dict[str, str], buckets: None) -> None:
    async with (
        tcp_proxy(env["REDIS_URL"]) as proxy,
        api_client.running(env, REDIS_URL=proxy.in_front_of(env["REDIS_URL"])) as api,
        api_client.running(env) as other,
    ):
        user = uuid.uuid4()
        task_id = uuid.UUID((await api_runs.queued(api, api.user(user)))["task_id"])
        proxy.cut()
        proxy.heal()
        watches = api.context.watches
        async with asyncio.timeout(15):
            heard = False
            while not heard:  # what another process announces arrives again
                await watches.look(user, task_id)
                await other.context.changed(task_id)
                await asyncio.sleep(0.05)
                heard = watches.fresh(user, task_id) is None


BIG = 9 * 2**20
"""More than one part."""


async def table(size: int) -> AsyncGenerator[bytes, None]:
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="t.csv"\r\n\r\n'
    for _ in range(size // 2**16):
        yield b"1,2,3\n45" * 2**13
    yield b"\r\n--b--\r\n"


def send(me: httpx.AsyncClient, size: int) -> asyncio.Task[httpx.Response]:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return asyncio.ensure_future(me.post("/files", content=table(size), headers=headers, timeout=60))


async def leftovers(api: Api, user: uuid.UUID) -> tuple[int, int]:
    """Objects of the user's, and multipart uploads of anybody's, that are in the store."""
    store = api.context.store
    objects = [item async for item in store.list(store.datasets, f"{user}/")]
    pages = await store._client.list_multipart_uploads(Bucket=store.datasets)
    return len(objects), len([u for u in pages.get("Uploads", []) if u["Key"].startswith(f"{user}/")])


def only_data(fault: Fault) -> Rule:
    """Of the requests that carry a table's bytes or begin to; the rest passes."""

    def rule(request: Request) -> Fault | None:
        carries = request.method == "PUT" or (request.method == "POST" and "uploads" in request.target)
        return fault if "/datasets/" in request.target and carries else None

    return rule


@pytest.mark.parametrize(
    "fault", [Refuse(), Stall(), Answer(500), CutUpload(1000)], ids=["refuse", "hang", "500", "cut"]
)
@pytest.mark.parametrize("size", [2**18, BIG])
async def test_a_store_that_breaks_in_the_middle(
    env: dict[str, str], buckets: None, api: Api, impatient: None, fault: Fault, size: int
) -> None:
    async with faulty_proxy(env["S3_ENDPOINT_URL"], only_data(fault)) as proxy:
        async with api_client.running(env, S3_ENDPOINT_URL=proxy.url) as broken:
            user = uuid.uuid4()
            me = broken.user(user)
            await broken.context.store.probe()
            with soon(15):
                assert unavailable(await send(me, size), "storage-unavailable")
            assert (await me.get("/files")).json()["items"] == []
    assert await leftovers(api, user) == (0, 0)


async def test_a_store_that_hangs_altogether(env: dict[str, str], buckets: None, worker_db: Database) -> None:
    async with (
        tcp_proxy(env["S3_ENDPOINT_URL"]) as proxy,
        api_client.running(env, S3_ENDPOINT_URL=proxy.in_front_of(env["S3_ENDPOINT_URL"])) as api,
    ):
        user = uuid.uuid4()
        me = api.user(user)
        proxy.hang()
        with soon():  # nothing is known of the store yet
            assert unavailable(await me.post("/files", files={"file": ("t.csv", CSV)}), "storage-unavailable")
        proxy.heal()
        run = await api_runs.completed(api, me, worker_db, user)
        proxy.hang()
        with soon(14):
            upload_, model = await asyncio.gather(
                me.post("/files", files={"file": ("t.csv", CSV)}),
                me.get(f"/ml/download-model/{run}/best_model"),
            )
        assert unavailable(upload_, "storage-unavailable")
        assert model.status_code == 307 or unavailable(model, "storage-unavailable")
        with soon(2):
            assert (await me.get(f"/ml/status/{run}")).status_code == 200
        proxy.heal()


@pytest.mark.parametrize("size", [2**17, BIG + 2**20])
async def test_an_upload_that_is_cut_leaves_nothing(env: dict[str, str], buckets: None, size: int) -> None:
    user = uuid.uuid4()
    async with serving(env) as (api, url):
        host, port = url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token(user)}\r\n"
            "Idempotency-Key: mine\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {2 * size}\r\n\r\n".encode()
        )
        async for chunk in table(size):
            if not chunk.endswith(b"--b--\r\n"):
                writer.write(chunk)
                await writer.drain()
        async with asyncio.timeout(20):
            while size > BIG and (await leftovers(api, user))[1] == 0:
                await asyncio.sleep(0.05)  # until a first part is on its way
            writer.transport.abort()
            async with httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {token(user)}"}
            ) as me:
                headers = {"Idempotency-Key": "mine"}  # which is free again once the upload is given up
                while (
                    answer := await me.post("/files", files={"file": ("t.csv", CSV)}, headers=headers)
                ).status_code == 409:
                    await asyncio.sleep(0.05)
                assert answer.status_code == 201
                assert len((await me.get("/files")).json()["items"]) == 1
        assert await leftovers(api, user) == (1, 0)
