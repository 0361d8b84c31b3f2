"""Every operation that the API's own schema tells of, with the ids of another user's real objects.

Whoever adds a route adds nothing here: it is found in the schema, and tried. Only an id of a new kind needs
an object of that kind, in `objects` below.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import asyncpg
import httpx
import pytest
from msgspec import Struct

from services.api.paging import id_cursor, offset_cursor
from shared.contracts.states import uuid7
from shared.db import tasks
from shared.db.pool import Connection, Database
from shared.storage import bundle_key
from tests.integration import api_runs
from tests.integration.api_client import Api
from tests.isolation.belongings import PREVIEW, PROFILE, TASK_STATES, Belongings, dump, give
from tests.isolation.operations import NoObject, Operation, operations, requests
from tests.isolation.unfiltered import Unfiltered

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_OF_THE_CALL = {"x-request-id", "date"}
"""Headers that differ between any two answers."""

PUBLIC = {
    "GET /auth/sign-in",  # how to sign in
    "DELETE /auth/session",  # takes a cookie away, whatever it holds
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "POST /auth/dev-login",  # there only where AUTH_DEV_LOGIN says so
}
"""What asks nobody who they are, by the contract; whatever else does, does so by mistake."""

ANSWERS = ("*/*", "application/json", "text/html")


class Victim(Struct, kw_only=True):
    """Somebody with one whole run, made over HTTP and by the workers, and with rows in every other state."""

    user: uuid.UUID
    client: httpx.AsyncClient
    file: str
    task: str
    model: str
    key: str
    rows: Belongings


def objects(victim: Victim) -> dict[str, list[str]]:
    """By the name of the parameter that takes them; the first of each is that of the whole run."""
    rows = victim.rows
    return {
        "file_id": [victim.file, *map(str, rows.files)],
        "task_id": [victim.task, *map(str, rows.tasks)],
        "model_id": [victim.model, *map(str, rows.models)],
        "key_id": [victim.key, *map(str, rows.keys)],
    }


def queries(victim: Victim) -> dict[str, list[str]]:
    ids = [uuid.UUID(victim.task), victim.rows.tasks[-1], victim.rows.models[-1]]
    return {
        "confirm": [str(victim.user), f"{victim.user}@example.org"],
        "cursor": [*map(id_cursor, ids), offset_cursor(0), offset_cursor(1)],
        "format": ["skops", "onnx"],
        "q": ["victim"],
        "tag": ["victim"],
        "wait": ["5"],
    }


def missing(known: dict[str, list[str]]) -> dict[str, list[str]]:
    """As many ids of each kind that nobody has."""
    return {name: [str(uuid7()) for _ in ids] for name, ids in known.items()}


@pytest.fixture
async def victim(api: Api, owner: asyncpg.Connection, worker_db: Database) -> Victim:
    user = uuid.uuid4()
    me = api.user(user)
    task_id = await api_runs.completed(api, me, worker_db, user)
    file_id = (await me.get(f"/ml/status/{task_id}")).json()["request"]["file_id"]
    body = {"task_id": str(task_id), "model_name": "victim's own"}
    saved = await me.post("/models/save", json=body, headers={"Idempotency-Key": "victims-own"})
    model_id = saved.json()["id"]
    made = await me.post(
        "/auth/api-keys",
        json={"name": "victim's key", "scopes": ["read"]},
        headers={"Idempotency-Key": "victims-own"},
    )
    for path, more in (("/ml/train", {"json": {"file_id": file_id, "target": "species"}}),):
        assert (await me.post(path, headers={"Idempotency-Key": "victims-own"}, **more)).status_code == 202
    await owner.execute(
        "UPDATE trainyard.profiles SET status = 'ready', rows = 2, columns = 3, profile = $2, preview = $3"
        " WHERE file_id = $1",
        uuid.UUID(file_id),
        PROFILE,
        PREVIEW,
    )
    store, path = api.context.store, f"{user}/victims_own.pkl"
    stored = await store.put_bytes(store.models, path, b"victim's", content_type="application/octet-stream")
    await owner.execute(
        "UPDATE public.trained_models SET status = 'ready', file_path = $2, file_size = $3, sha256 = $4"
        " WHERE id = $1",
        uuid.UUID(model_id),
        path,
        stored.size_bytes,
        stored.sha256,
    )
    rows = await give(owner, user)
    await built(api, owner, user, task_id)
    return Victim(
        user=user,
        client=me,
        file=file_id,
        task=str(task_id),
        model=model_id,
        key=made.json()["id"],
        rows=rows,
    )


async def built(api: Api, owner: asyncpg.Connection, user: uuid.UUID, task_id: uuid.UUID) -> None:
    """The run's ZIP is ready, and its forest is there as .skops."""
    store = api.context.store
    stored = await store.put_bytes(
        store.bundles, bundle_key(user, task_id, 1), b"victim's ZIP", content_type="application/zip"
    )
    await owner.execute(
        "INSERT INTO trainyard.bundles (task_id, user_id, status, attempt, size_bytes, sha256, expires_at)"
        " VALUES ($1, $2, 'ready', 1, $3, $4, now() + interval '1 day')",
        task_id,
        user,
        stored.size_bytes,
        stored.sha256,
    )
    await owner.execute(
        "INSERT INTO trainyard.conversions"
        " (candidate_id, user_id, status, attempt, size_bytes, sha256, types, requires)"
        " SELECT id, user_id, 'ready', 1, 1, $2, '{}', '{}' FROM trainyard.candidates"
        " WHERE task_id = $1 AND model_name = 'random_forest'",
        task_id,
        stored.sha256,
    )


async def schema_of(api: Api) -> list[Operation]:
    answer = await api.client().get("/schema/openapi.json")
    assert answer.status_code == 200
    return operations(answer.json())


def comparable(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """An answer without what differs between any two: ids, and what stands for the call itself."""
    headers = {
        name: _UUID.sub("ID", value)
        for name, value in answer.headers.items()
        if name.lower() not in _OF_THE_CALL and not name.lower().startswith(("ratelimit", "x-ratelimit"))
    }
    return answer.status_code, _UUID.sub("ID", answer.text), headers


def shown(answer: httpx.Response, victim: Victim, sent: str) -> list[str]:
    """What an answer tells of the victim that was not in the question."""
    text = answer.text + repr(answer.headers)
    known = {str(i) for ids in objects(victim).values() for i in ids}
    known |= {str(i) for i in (victim.user, *victim.rows.candidates, *(j["id"] for j in victim.rows.jobs))}
    found = [i for i in known if i in text and i not in sent]
    return found + [word for word in re.findall(r"(?i)victim\S*", text) if word not in sent]


class Tally(Struct):
    """Of `attack`: what was wrong, how many operations name objects, how many requests were sent."""

    wrong: list[str]
    routes: int
    tried: int


async def attack(api: Api, victim: Victim, only: tuple[str, ...] = ("/",)) -> Tally:
    """Every operation that names objects, with every one of the victim's, as somebody else. `only`: below
    these paths."""
    theirs, asked = objects(victim), queries(victim)
    nobodys = missing(theirs)
    tally = Tally([], 0, 0)
    for operation in await schema_of(api):
        if not operation.names_objects or not operation.path.startswith(only):
            continue
        tally.routes += 1
        allowed = {404} if operation.declared else {404, 405}
        pairs = zip(requests(operation, theirs, asked), requests(operation, nobodys, asked), strict=True)
        for request, stand_in in pairs:
            for accept in ANSWERS if operation.method in ("get", "head") else ANSWERS[:1]:
                answer = await request.send(api.user(), Accept=accept)
                other = await stand_in.send(api.user(), Accept=accept)
                tally.tried += 1
                what = f"{operation} with {request.url} {request.params}"
                if answer.status_code not in allowed:
                    tally.wrong.append(f"{what}: {answer.status_code} {answer.text:.200}")
                if comparable(answer) != comparable(other):
                    tally.wrong.append(f"{what}: not as for {stand_in.url}: {answer.text:.200}")
                if marks := shown(answer, victim, f"{request.url} {request.json}"):
                    tally.wrong.append(f"{what}: shows {marks}")
    return tally


async def test_another_users_objects_are_not_there(
    api: Api, owner: asyncpg.Connection, victim: Victim
) -> None:
    """404 for every route × object, and the very answer that an id gets which nobody has."""
    # what processes remember of the victim's objects is remembered
    for operation in await schema_of(api):
        if operation.method == "get" and operation.path_names:
            for request in requests(operation, first(objects(victim)), {}):
                assert (await request.send(victim.client)).status_code < 400, operation
    before = await dump(owner, victim.user)
    tally = await attack(api, victim)
    print(f"\n{tally.routes} operations that name objects, {tally.tried} requests for another's: all 404")
    assert tally.wrong == []
    assert await dump(owner, victim.user) == before
    assert tally.routes >= 25
    assert tally.tried > tally.routes * len(TASK_STATES)


async def test_a_route_that_forgets_whose_is_named(
    api: Api, owner: asyncpg.Connection, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack works: with a query that forgets its filter, and without policies, it gets through."""
    kept = tasks.results

    async def forgetful(c: Connection, user_id: uuid.UUID, task_id: uuid.UUID) -> Any:
        return await kept(Unfiltered(c, user_id), user_id, task_id)  # type: ignore[arg-type]

    monkeypatch.setattr(tasks, "results", forgetful)
    on_it = ("/ml/results", "/ml/download-leaderboard")
    assert (await attack(api, victim, on_it)).wrong == []  # the policies are still there
    await owner.execute("ALTER POLICY own_rows ON trainyard.tasks USING (true)")
    wrong = (await attack(api, victim, on_it)).wrong
    assert any(fault.startswith("GET /ml/results/{task_id}") and ": 200 " in fault for fault in wrong)
    assert any(fault.startswith("HEAD /ml/download-leaderboard/{task_id}") for fault in wrong)


async def test_what_names_no_object_shows_nothing_of_another(
    api: Api, owner: asyncpg.Connection, victim: Victim
) -> None:
    """Lists, searches, what is made anew: with the victim's cursors, words and Idempotency-Key."""
    before = await dump(owner, victim.user)
    wrong, tried, routes = [], 0, 0
    for operation in await schema_of(api):
        if operation.names_objects or operation.public:
            continue
        routes += 1
        for request in requests(operation, {}, queries(victim)):
            answer = await request.send(api.user(), Prefer="wait=0")
            tried += 1
            if answer.status_code >= 500 or shown(answer, victim, f"{request.params}"):
                wrong.append(f"{operation} {request.params}: {answer.status_code} {answer.text:.300}")
    print(f"\n{routes} other operations, {tried} requests: nothing of another's shown")
    assert wrong == []
    assert await dump(owner, victim.user) == before
    assert routes >= 10


async def test_nobody_acts_as_another(api: Api, owner: asyncpg.Connection, victim: Victim) -> None:
    """A user's own token with another's `X-User-Id` is 403, no token at all 401, on every operation."""
    before = await dump(owner, victim.user)
    wrong, tried = [], 0
    found = await schema_of(api)
    assert {str(operation) for operation in found if operation.public and operation.declared} == PUBLIC
    for operation in found:
        if operation.public:
            continue
        for request in requests(operation, first(objects(victim)), first(queries(victim))):
            as_another = await request.send(api.user(), **{"X-User-Id": str(victim.user)})
            as_nobody = await request.send(api.client())
            tried += 2
            expected = (403, 401) if operation.declared else (405, 405)
            if (as_another.status_code, as_nobody.status_code) != expected:
                wrong.append(f"{operation}: {as_another.status_code}, {as_nobody.status_code}")
    print(f"\n{tried} requests as another or as nobody refused")
    assert wrong == []
    assert await dump(owner, victim.user) == before


async def test_the_owner_gets_what_the_others_do_not(api: Api, victim: Victim) -> None:
    """The same requests are answered to whom the objects belong: so it is not for a fault of theirs that
    others get a 404. What deletes comes last."""
    wrong = []
    found = sorted(
        await schema_of(api), key=lambda operation: (operation.method == "delete", len(operation.path))
    )
    for operation in found:
        if not operation.names_objects or not operation.declared:
            continue
        codes = [
            (await request.send(victim.client, **{"Idempotency-Key": str(uuid.uuid4())})).status_code
            for request in requests(operation, owned(operation, victim), {})
        ]
        if not any(code < 400 for code in codes):
            wrong.append(f"{operation}: {codes}")
    assert wrong == []


def first(known: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: values[:1] for name, values in known.items()}


def owned(operation: Operation, victim: Victim) -> dict[str, list[str]]:
    """The objects of the whole run; where they are asked to stop or to go on, those in another state too."""
    known = objects(victim)
    if operation.method in ("post", "delete"):
        return known
    return first(known)


def test_an_id_of_an_unknown_kind_is_not_overlooked() -> None:
    path: dict[str, Any] = {
        "get": {"parameters": [{"name": "wagon_id", "in": "path", "schema": {"type": "string"}}]}
    }
    [operation, _] = operations({"paths": {"/wagons/{wagon_id}": path}})
    with pytest.raises(NoObject, match="wagon_id"):
        list(requests(operation, {"task_id": ["x"]}, {}))
    body = {
        "post": {
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {
                            "properties": {
                                "wagon": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}
                            }
                        },
                        "examples": {"a": {"value": {}}},
                    }
                }
            }
        }
    }
    [operation] = operations({"paths": {"/wagons": body}})
    with pytest.raises(NoObject, match="wagon"):
        list(requests(operation, {}, {}))
    query = {"get": {"parameters": [{"name": "wagon", "in": "query", "schema": {"type": "string"}}]}}
    with pytest.raises(AssertionError, match="may it name an object"):
        operations({"paths": {"/wagons": query}})


def test_answers_that_tell_apart_are_told_apart() -> None:
    ids = uuid.uuid4(), uuid.uuid4()
    same = [httpx.Response(404, json={"instance": f"/files/{i}"}) for i in ids]
    assert comparable(same[0]) == comparable(same[1])
    other = httpx.Response(404, json={"instance": f"/files/{ids[0]}", "detail": "not yours"})
    assert comparable(other) != comparable(same[0])
    tagged = httpx.Response(404, json={"instance": f"/files/{ids[0]}"}, headers={"ETag": "1"})
    assert comparable(tagged) != comparable(same[0])
