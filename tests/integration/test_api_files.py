"""Uploading, listing and deleting files over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import tracemalloc
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.contracts.files import Profile
from shared.db import files
from shared.db.pool import Database
from shared.storage import dataset_key
from tests.integration import api_client, api_runs
from tests.integration.api_client import CSV, Api, upload


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def stored_keys(api: Api, user: uuid.UUID) -> list[str]:
    store = api.context.store
    return [item.key async for item in store.list(store.datasets, f"{user}/")]


async def test_a_file_goes_in_and_is_listed_with_its_digest(
    api: Api, me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    answer = await me.post("/files", files={"file": ("C:\\data\\Meine Tabelle ü.csv", CSV)})
    assert answer.status_code == 201, answer.text
    file = answer.json()
    assert answer.headers["location"] == f"/files/{file['file_id']}"
    assert file["name"] == "Meine Tabelle ü.csv"
    assert file["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert file["size_bytes"] == len(CSV)
    assert "rows" not in file
    assert (await me.get(f"/files/{file['file_id']}")).json() == file
    assert (await me.get("/files")).json() == {"items": [file], "next_cursor": None}
    assert await stored_keys(api, user) == [dataset_key(user, file["file_id"])]
    async with worker_db.transaction() as c:
        kinds = await c.fetch(
            "SELECT kind FROM trainyard.jobs WHERE subject_id = $1", uuid.UUID(file["file_id"])
        )
    assert [row["kind"] for row in kinds] == ["profile"]


async def test_pages_follow_one_another(me: httpx.AsyncClient) -> None:
    made = [(await upload(me, name=f"{i}.csv"))["file_id"] for i in range(3)]
    first = (await me.get("/files?limit=2")).json()
    second = (await me.get(f"/files?limit=2&cursor={first['next_cursor']}")).json()
    assert [f["file_id"] for f in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def body(*parts: bytes, boundary: str = "b0undary", end: bool = True) -> bytes:
    framed = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return framed + (b"--" + boundary.encode() + b"--\r\n" if end else b"")


def part(name: str, content: bytes, filename: str | None = "t.csv") -> bytes:
    of = f'; filename="{filename}"' if filename is not None else ""
    return f'Content-Disposition: form-data; name="{name}"{of}\r\n\r\n'.encode() + content


MULTIPART = "multipart/form-data; boundary=b0undary"


REFUSED = [
    (CSV, "text/csv", 415, "unsupported-media-type"),
    (body(part("file", CSV, "book.xlsx")), MULTIPART, 415, "unsupported-media-type"),
    (body(part("file", CSV)), "multipart/form-data", 400, "malformed-request"),
    (b"", MULTIPART, 400, "malformed-request"),
    (b"not multipart at all", MULTIPART, 400, "malformed-request"),
    (body(part("file", CSV), end=False), MULTIPART, 400, "malformed-request"),
    (body(part("file", CSV))[:60], MULTIPART, 400, "malformed-request"),
    (b"--b0undary--\r\n", MULTIPART, 422, "invalid-request"),
    (body(part("table", CSV)), MULTIPART, 422, "invalid-request"),
    (body(part("file", CSV, None)), MULTIPART, 422, "invalid-request"),
    (body(part("file", b"")), MULTIPART, 422, "invalid-request"),
    (body(part("file", CSV), part("more", b"x", None)), MULTIPART, 422, "invalid-request"),
    (body(part("file", CSV), part("file", CSV)), MULTIPART, 422, "invalid-request"),
    (body(part("file", b"x" * 2000)), MULTIPART, 413, "too-large"),
    (body(part("file", b"x" * 200_000)), MULTIPART, 413, "too-large"),
]


async def test_what_is_no_upload_is_refused_and_leaves_nothing(
    env: dict[str, str], buckets: None, user: uuid.UUID
) -> None:
    async with api_client.running(env, MAX_UPLOAD_BYTES="1000") as api:
        me = api.user(user)
        for content, kind, status, slug in REFUSED:
            answer = await me.post("/files", content=content, headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()["type"]) == (status, slug), (content[:80], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        assert await stored_keys(api, user) == []
        assert (await me.get("/files")).json()["items"] == []


async def test_an_upload_is_never_held_in_memory(api: Api, me: httpx.AsyncClient, user: uuid.UUID) -> None:
    size, digest = 64 * 2**20, hashlib.sha256()
    chunk = b"0123456789abcdef" * 4096

    async def stream() -> AsyncIterator[bytes]:
        yield b"--b0undary\r\n" + part("file", b"")
        for _ in range(size // len(chunk)):
            digest.update(chunk)
            yield chunk
        yield b"\r\n--b0undary--\r\n"

    await upload(me)  # what is made once is made
    tracemalloc.start()
    try:
        answer = await me.post("/files", content=stream(), headers={"Content-Type": MULTIPART})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 201, answer.text
    assert (answer.json()["size_bytes"], answer.json()["sha256"]) == (size, digest.hexdigest())
    assert peak < size // 2


async def test_a_connection_that_breaks_leaves_nothing(api: Api, user: uuid.UUID) -> None:
    events = iter(
        [
            {"type": "http.request", "body": b"--b0undary\r\n" + part("file", CSV), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return next(events)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = {"host": "x", "authorization": f"Bearer {api_client.token(user)}", "content-type": MULTIPART}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/files",
        "raw_path": b"/files",
        "query_string": b"",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }
    await api.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert await stored_keys(api, user) == []


async def test_the_profile_is_made_ready_or_says_why_not(
    me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    file_id = uuid.UUID((await upload(me, gzip.compress(CSV), "iris.csv.gz"))["file_id"])
    url = f"/files/{file_id}/profile"
    making = await me.get(url)
    assert (making.status_code, making.headers["retry-after"]) == (202, "1")
    broken = uuid.UUID((await upload(me, name="broken.csv"))["file_id"])
    async with worker_db.transaction() as c:
        await files.profile_failed(c, broken, user, "line 3 has 5 fields, the header has 3")
    failed = await me.get(f"/files/{broken}/profile")
    assert (failed.status_code, failed.json()["type"]) == (422, "table-unreadable")
    assert failed.json()["detail"] == "line 3 has 5 fields, the header has 3"
    listed = {file["name"]: file for file in (await me.get("/files")).json()["items"]}
    assert listed["broken.csv"]["status"] == "failed"
    assert listed["broken.csv"]["error"] == "line 3 has 5 fields, the header has 3"
    assert listed["iris.csv.gz"]["status"] == "profiling"
    assert "error" not in listed["iris.csv.gz"]
    profile = Profile(
        rows=2, columns=[], suggested_target=None, suggested_task_type=None, reason="too few", warnings=[]
    )
    async with worker_db.transaction() as c:
        await files.profile_ready(c, file_id, api_runs.builtins(profile), 2, 3)
    ready = await me.get(url)
    assert ready.status_code == 200
    assert ready.json()["rows"] == 2
    file = (await me.get(f"/files/{file_id}")).json()
    assert (file["columns"], file["status"]) == (3, "ready")


async def test_the_first_rows_come_with_the_profile(
    me: httpx.AsyncClient, worker_db: Database, user: uuid.UUID
) -> None:
    file_id, before, broken = [
        uuid.UUID((await upload(me, name=name))["file_id"]) for name in ("a.csv", "b.csv", "c.csv")
    ]
    making = await me.get(f"/files/{file_id}/preview")
    assert (making.status_code, making.headers["retry-after"]) == (202, "1")
    profile = Profile(
        rows=2, columns=[], suggested_target=None, suggested_task_type=None, reason="too few", warnings=[]
    )
    rows = {"columns": ["b", "a"], "rows": [["2", None], ["4", "ü"]]}
    async with worker_db.transaction() as c:
        await files.profile_ready(c, file_id, api_runs.builtins(profile), 2, 2, rows)
        await files.profile_ready(c, before, api_runs.builtins(profile), 2, 2)
        await files.profile_failed(c, broken, user, "line 3 has 5 fields")
    ready = await me.get(f"/files/{file_id}/preview")
    assert (ready.status_code, ready.json()) == (200, rows)
    missing = await me.get(f"/files/{before}/preview")
    assert (missing.status_code, missing.json()["type"]) == (404, "preview-not-found")
    assert "upload it again" in missing.json()["detail"]
    failed = await me.get(f"/files/{broken}/preview")
    assert (failed.status_code, failed.json()["detail"]) == (422, "line 3 has 5 fields")


async def test_a_file_is_deleted_unless_a_run_reads_it(
    api: Api, me: httpx.AsyncClient, worker_db: Database
) -> None:
    task = await api_runs.queued(api, me)
    url = f"/files/{task['request']['file_id']}"
    busy = await me.delete(url)
    assert (busy.status_code, busy.json()["type"]) == (409, "conflict")
    await api_runs.execute(
        worker_db,
        "UPDATE trainyard.tasks SET status = 'failed' WHERE id = $1",
        uuid.UUID(task["task_id"]),
    )
    assert (await me.delete(url)).status_code == 204
    assert (await me.get(url)).status_code == 404
    assert (await me.delete(url)).status_code == 404
    assert (await me.get("/files")).json()["items"] == []
    async with worker_db.transaction() as c:
        purge = await c.fetchval("SELECT count(*) FROM trainyard.jobs WHERE kind = 'purge'")
    assert purge == 1


async def test_nobody_sees_somebody_elses_file(api: Api, me: httpx.AsyncClient) -> None:
    file_id = (await upload(me))["file_id"]
    somebody = api.user()
    answers = await asyncio.gather(
        somebody.get(f"/files/{file_id}"),
        somebody.get(f"/files/{file_id}/profile"),
        somebody.get(f"/files/{file_id}/preview"),
        somebody.delete(f"/files/{file_id}"),
        somebody.post("/ml/train", json={"file_id": file_id, "target": "species"}),
        me.get("/files/not-an-id"),
        me.get(f"/files/{uuid.uuid4()}/profile"),
    )
    assert {a.status_code for a in answers} == {404}
    assert {a.json()["detail"] for a in answers} == {"File not found"}
