"""Whatever is sent, the answer is a problem and never a 5xx."""

from __future__ import annotations

import random
import uuid

import pytest

from shared.contracts.files import ColumnProfile, Profile
from shared.db import files
from shared.db.pool import Database
from tests.integration import api_client, api_runs
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


MIB = 2**20
HOSTILE_JSON: list[tuple[bytes, int, str]] = [
    (b'{"target": "a", "target": "b"}', 400, "'target' is there twice"),
    (b'{"target": {"a": 1, "a": 2}}', 400, "'a' is there twice"),
    (b'{"seed": NaN}', 400, "NaN is not a JSON number"),
    (b'{"seed": -Infinity}', 400, "-Infinity is not a JSON number"),
    (b'{"seed": 1e999999999}', 422, "/seed: must be a whole number from 0 to 4,294,967,295"),
    (b'{"seed": ' + b"9" * 4_000 + b"}", 422, "/seed: must be a whole number"),
    (b'{"seed": ' + b"9" * 400_000 + b"}", 400, "too long a number"),
    (b'{"seed": ' + b"[" * 400_000 + b"]" * 400_000 + b"}", 400, "too deep"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "too deep"),
    (b'{"target": "\\ud800"}', 422, "/target: contains a character that is not text"),
    (b'{"\\ud800": 1, "\\u0000": 2}', 422, "is not a field of this request"),
    (b'{"target": "a\\u0000b"}', 422, "/target: contains a character that is not text"),
    (b"\xef\xbb\xbf{}", 400, "not JSON"),
    ("{}".encode("utf-16"), 400, "UTF-8"),
    (b"[" + b"1," * 200_000 + b"1]", 422, "must be a JSON object"),
    (b'{"exclude_columns": [' + b"0," * 400_000 + b"0]}", 422, "more faults"),
    (b"{" + b",".join(b'"f%d": 0' % i for i in range(60_000)) + b"}", 422, "more faults"),
    (b" " * MIB + b"{}", 413, "over the size limit"),
    (b'{"target": "' + b"x" * (MIB - 14) + b'"}', 422, "/target: must be text of 1 to 1,000 characters"),
]


async def test_json_made_to_hurt(api: Api) -> None:
    me = api.user()
    for content, status, says in HOSTILE_JSON:
        sent = content[:60]
        answer = await me.post("/ml/train", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, (sent, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.json()["detail"], (sent, answer.json()["detail"][:300])
        assert len(answer.content) < 64 * 1024, sent
        assert len(answer.json().get("errors", [])) <= 101


async def test_faults_of_form_and_faults_of_the_table_are_told_together(
    api: Api, worker_db: Database
) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    file_id = uuid.UUID((await upload(me))["file_id"])
    columns = [
        ColumnProfile(name="a", role="numeric", dtype="int64", missing=0, distinct=9),
        ColumnProfile(name="species", role="empty", dtype="float64", missing=9, distinct=0),
    ]
    profile = Profile(
        rows=9, columns=columns, suggested_target=None, suggested_task_type=None, reason="", warnings=[]
    )
    async with worker_db.transaction() as c:
        await files.profile_ready(c, file_id, api_runs.builtins(profile), 9, 2)

    async def pointers(**body: object) -> list[str]:
        answer = await me.post("/ml/train", json=body)
        assert answer.status_code == 422, answer.text
        return sorted(fault["pointer"] for fault in answer.json()["errors"])

    known = {"file_id": str(file_id), "target": "species"}
    assert await pointers(**known, cv_folds=1, metric="beauty") == ["/cv_folds", "/metric", "/target"]
    assert await pointers(**known | {"target": 3}, group_column="g", colour=1) == [
        "/colour",
        "/group_column",
        "/target",
    ]
    assert await pointers(file_id=str(file_id), models=[1]) == ["/models/0", "/target"]
    assert await pointers(file_id=str(uuid.uuid4()), target="x", seed=-1) == ["/seed"]
    assert await pointers(target="x", seed=-1, metric="beauty") == ["/file_id", "/seed"]
    theirs = api.user()
    answer = await theirs.post("/ml/train", json={**known, "seed": -1, "group_column": "nowhere"})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/seed"], "nothing of another's table"
