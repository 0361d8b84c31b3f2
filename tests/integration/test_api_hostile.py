"""Whatever is sent, the answer is a problem and never a 5xx."""

from __future__ import annotations

import random
import uuid

import pytest

from tests.integration import api_client
from tests.integration.api_client import Api, upload

ODD = [
    "",
    "%00",
    "%ff%fe",
    "..",
    "%2e%2e%2f",
    "a" * 3000,
    "1e999",
    "-1",
    "nan",
    "null",
    "true",
    "9" * 40,
    "%f0%9f%9a%82",
    "'; DROP TABLE x; --",
    "{}",
    "%",
    "%zz",
    "+",
    "a=b&c",
    "\u202e",
    "%ed%a0%80",
]
NAMES = ["limit", "cursor", "status", "wait", "task_type", "q", "tag", "sort", "deleted", "x", "%00"]
HEADERS = [
    "If-None-Match",
    "Range",
    "If-Range",
    "Prefer",
    "Accept",
    "X-User-Id",
    "X-Request-Id",
    "Cookie",
    "Host",
]
PATHS = [
    "/files",
    "/files/{}",
    "/files/{}/profile",
    "/ml/models",
    "/ml/status/{}",
    "/ml/tasks",
    "/ml/results/{}",
    "/ml/plots/{}/{}/{}",
    "/ml/download-model/{}/{}",
    "/ml/download-leaderboard/{}",
    "/ml/download-all-models/{}",
    "/ml/bundles/{}",
    "/models",
    "/models/{}",
    "/models/{}/download",
    "/schema/{}",
    "/{}",
]
BODIES = [
    b"",
    b"{}",
    b"null",
    b'{"file_id": %s}',
    b'{"email": "a@b\\u0000"}',
    b"\xff",
    b"[" * 2000,
    b'{"task_id": "x", "model_name": "\\ud800", "tags": [{"a": 1}]}',
    b'{"a": 1e400, "seed": 1e400, "time_budget_s": -1e400}',
    b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nx",
]
TYPES = ["application/json", "multipart/form-data; boundary=x", "text/plain", "multipart/form-data", "\u00e9"]


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_sent_is_our_fault(api: Api, seed: int) -> None:
    pick = random.Random(seed)
    user = uuid.uuid4()
    me = api.user(user)
    known = (await upload(me))["file_id"]
    task = (await me.post("/ml/train", json={"file_id": known, "target": "species"})).json()["task_id"]
    ids = [*ODD, known, task, str(uuid.uuid4()), known.upper()]
    for _ in range(250):
        path = pick.choice(PATHS)
        path = path.format(*(pick.choice(ids) for _ in range(path.count("{}"))))
        query = "&".join(f"{pick.choice(NAMES)}={pick.choice(ODD)}" for _ in range(pick.randrange(4)))
        method = pick.choice(["GET", "GET", "GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"])
        headers = {"Authorization": f"Bearer {api_client.token(user)}".encode()}
        for _ in range(pick.randrange(3)):
            headers[pick.choice(HEADERS)] = pick.choice(ODD).encode("latin-1", "replace")
        content = None
        if method in ("POST", "PATCH"):
            path = pick.choice([path, "/files", "/ml/train", "/models/save", "/auth/dev-login"])
            content = pick.choice(BODIES)
            headers["Content-Type"] = pick.choice(TYPES).encode("latin-1")
        sent = f"{method} {path}?{query} {headers} {content!r}"
        answer = await api.client().request(method, f"{path}?{query}", headers=headers, content=content)
        assert answer.status_code < 500, sent
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json", sent
            problem = answer.json()
            assert {"type", "title", "status", "detail"} <= set(problem), sent
            assert problem["status"] == answer.status_code, sent
