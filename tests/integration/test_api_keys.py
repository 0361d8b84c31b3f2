"""API keys: made once, listed by prefix, honoured within their scopes, revoked at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from services.api import auth, keys
from services.api.auth import COOKIE
from services.api.keys import ApiKeys
from shared.db import api_keys
from shared.db.pool import Database
from shared.errors import Unauthenticated
from tests.integration import api_client
from tests.integration.api_client import Api, service_token

NIGHTLY = {"name": "nightly training", "scopes": ["train"]}


@pytest.fixture
def user() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def me(api: Api, user: uuid.UUID) -> httpx.AsyncClient:
    return api.user(user)


async def make(client: httpx.AsyncClient, *scopes: str, name: str = "a key", **more: Any) -> dict[str, Any]:
    made = await client.post("/auth/api-keys", json={"name": name, "scopes": scopes or ["admin"], **more})
    assert made.status_code == 201, made.text
    return dict(made.json())


def bearer(api: Api, key: str, **headers: str) -> httpx.AsyncClient:
    return api.client({"Authorization": f"Bearer {key}", **headers})


async def owner(env: dict[str, str], query: str, *values: object) -> list[asyncpg.Record]:
    """As a superuser, whom row level security does not bind."""
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


async def test_a_key_is_shown_once_and_listed_by_prefix(me: httpx.AsyncClient) -> None:
    answer = await me.post("/auth/api-keys", json=NIGHTLY)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    assert set(made) == {"id", "name", "prefix", "scopes", "created_at", "key"}
    assert keys._KEY.fullmatch(made["key"])
    assert made["key"].startswith(made["prefix"] + "_")
    assert (made["name"], made["scopes"]) == ("nightly training", ["train"])
    listed = await me.get("/auth/api-keys")
    assert listed.json() == {"items": [{k: v for k, v in made.items() if k != "key"}], "next_cursor": None}
    assert made["key"][len(made["prefix"]) :] not in listed.text
    other = await make(me, "admin", "read", "read", expires_in_s=3600)
    assert other["scopes"] == ["read", "admin"]
    left = dt.datetime.fromisoformat(other["expires_at"]) - dt.datetime.now(dt.UTC)
    assert 3500 < left.total_seconds() <= 3600
    first = (await me.get("/auth/api-keys", params={"limit": 1})).json()
    rest = (await me.get("/auth/api-keys", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [k["id"] for k in first["items"] + rest["items"]] == [other["id"], made["id"]]


async def test_the_database_holds_a_hash_and_no_key(me: httpx.AsyncClient, env: dict[str, str]) -> None:
    made = await make(me)
    (row,) = await owner(env, "SELECT k::text AS all, secret_sha256 FROM trainyard.api_keys k")
    assert made["key"] not in row["all"]
    assert row["secret_sha256"] == hashlib.sha256(made["key"].encode()).digest()


async def test_a_key_acts_as_its_owner(api: Api, me: httpx.AsyncClient, user: uuid.UUID) -> None:
    mine = await api_client.upload(me)
    key = (await make(me, "train"))["key"]
    assert (await bearer(api, key).get("/files")).json()["items"] == [mine]
    uploaded = await api_client.upload(bearer(api, key), name="other.csv")
    assert (await me.get(f"/files/{uploaded['file_id']}")).status_code == 200
    assert (await bearer(api, key, **{"X-User-Id": str(user)}).get("/files")).status_code == 200
    for named in (str(uuid.uuid4()), "root", ""):
        assert (await bearer(api, key, **{"X-User-Id": named}).get("/files")).status_code == 403
    other = api.user()
    theirs = await api_client.upload(other)
    assert (await bearer(api, key).get(f"/files/{theirs['file_id']}")).status_code == 404


async def test_a_service_makes_a_key_for_the_user_it_names(api: Api, user: uuid.UUID) -> None:
    service = api.client({"Authorization": f"Bearer {service_token()}", "X-User-Id": str(user)})
    key = (await make(service, "read"))["key"]
    assert (await bearer(api, key).get("/files")).status_code == 200
    assert [k["name"] for k in (await api.user(user).get("/auth/api-keys")).json()["items"]] == ["a key"]


async def test_a_revoked_key_is_refused_at_once(api: Api, me: httpx.AsyncClient) -> None:
    made, stays = await make(me), await make(me)
    client = bearer(api, made["key"])
    assert (await client.get("/files")).status_code == 200
    path = f"/auth/api-keys/{made['id']}"
    assert (await me.delete(path)).status_code == 204
    refused = await client.get("/files")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (await me.delete(path)).status_code == 404
    assert [k["id"] for k in (await me.get("/auth/api-keys")).json()["items"]] == [stays["id"]]
    # a key may end itself
    last = bearer(api, stays["key"])
    assert (await last.delete(f"/auth/api-keys/{stays['id']}")).status_code == 204
    assert (await last.get("/files")).status_code == 401


async def test_other_processes_refuse_it_within_seconds(api: Api, me: httpx.AsyncClient) -> None:
    made, gone = await make(me), 0.0
    other = ApiKeys(clock=lambda: gone)
    assert (await other.check(api.context.db, made["key"])).key_id == uuid.UUID(made["id"])
    await me.delete(f"/auth/api-keys/{made['id']}")
    gone = keys.REMEMBERED_S - 0.1
    await other.check(api.context.db, made["key"])
    gone = keys.REMEMBERED_S + 0.1
    with pytest.raises(Unauthenticated):
        await other.check(api.context.db, made["key"])


async def test_a_lookup_that_a_revocation_overtakes_is_not_remembered(
    api: Api, me: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(me)
    checking, find = ApiKeys(), api_keys.find

    async def slow(c: Any, digest: bytes) -> Any:
        found = await find(c, digest)
        await me.delete(f"/auth/api-keys/{made['id']}")
        checking.forget(uuid.UUID(made["id"]))
        return found

    monkeypatch.setattr(api_keys, "find", slow)
    await checking.check(api.context.db, made["key"])  # it was there when this one asked
    monkeypatch.setattr(api_keys, "find", find)
    with pytest.raises(Unauthenticated):
        await checking.check(api.context.db, made["key"])


async def test_an_expired_key_is_refused_and_makes_room(
    api: Api, me: httpx.AsyncClient, env: dict[str, str]
) -> None:
    made = await make(me, expires_in_s=60)
    await owner(env, "UPDATE trainyard.api_keys SET expires_at = now() - interval '1 second'")
    assert (await bearer(api, made["key"]).get("/files")).status_code == 401
    assert len((await me.get("/auth/api-keys")).json()["items"]) == 1
    after = await make(me)
    assert [k["id"] for k in (await me.get("/auth/api-keys")).json()["items"]] == [after["id"]]


async def test_an_expiring_key_is_remembered_no_longer_than_it_lives(
    api: Api, me: httpx.AsyncClient, env: dict[str, str]
) -> None:
    made, gone = await make(me, expires_in_s=60), 0.0
    await owner(env, "UPDATE trainyard.api_keys SET expires_at = now() + interval '2 seconds'")
    checking = ApiKeys(clock=lambda: gone)
    await checking.check(api.context.db, made["key"])
    await owner(env, "UPDATE trainyard.api_keys SET expires_at = now()")
    gone = 2.5
    with pytest.raises(Unauthenticated):
        await checking.check(api.context.db, made["key"])


async def test_last_used_is_written_once_a_minute(
    api: Api, me: httpx.AsyncClient, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, gone, written = await make(me), 0.0, 0
    touch = api_keys.touch

    async def counted(*given: Any, **more: Any) -> None:
        nonlocal written
        written += 1
        await touch(*given, **more)

    monkeypatch.setattr(api_keys, "touch", counted)
    one, other = (ApiKeys(clock=lambda: gone) for _ in range(2))
    query = "SELECT last_used_at AS at, xmin::text AS version FROM trainyard.api_keys"
    await one.check(api.context.db, made["key"])
    (first,) = await owner(env, query)
    assert abs((dt.datetime.now(dt.UTC) - first["at"]).total_seconds()) < 60
    for second in (6.0, 12.0, 59.0):
        gone = second
        await one.check(api.context.db, made["key"])
    await other.check(api.context.db, made["key"])
    assert written == 2
    assert await owner(env, query) == [first]  # another process within the same minute
    await owner(env, "UPDATE trainyard.api_keys SET last_used_at = last_used_at - interval '2 minutes'")
    gone = 66.0
    await one.check(api.context.db, made["key"])
    (later,) = await owner(env, query)
    assert later["at"] >= first["at"]
    listed = (await me.get("/auth/api-keys")).json()["items"]
    assert dt.datetime.fromisoformat(listed[0]["last_used_at"]) == later["at"]


async def test_a_stream_of_a_revoked_key_ends(
    api: Api, me: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened again, and then refused."""
    monkeypatch.setattr(auth, "STREAMED_S", 1.0)
    file_id = (await api_client.upload(me))["file_id"]
    started = await me.post("/ml/train", json={"file_id": file_id, "target": "species"})
    made = await make(me, "read")
    client, path = bearer(api, made["key"]), f"/ml/events/{started.json()['task_id']}"
    told = await asyncio.wait_for(client.get(path), 20)
    assert "event: task" in told.text  # it ended, and the run has not
    assert (await me.get(f"/ml/status/{started.json()['task_id']}")).json()["status"] == "queued"
    await me.delete(f"/auth/api-keys/{made['id']}")
    assert (await client.get(path)).status_code == 401


async def test_keys_that_are_nearly_right(api: Api, me: httpx.AsyncClient) -> None:
    one, other = await make(me), await make(me)
    key, prefix = one["key"], one["prefix"]
    secret = key[len(prefix) + 1 :]
    wrong = [key[:n] for n in range(3, len(key))]
    wrong += [
        key[:n] + ("A" if key[n] != "A" else "B") + key[n + 1 :] for n in range(len(prefix) + 1, len(key))
    ]
    wrong += [f"{other['prefix']}_{secret}", f"{prefix}_{other['key'][12:]}", secret, f"{prefix}__{secret}"]
    wrong += [
        key.upper(),
        key.swapcase(),
        f"{key}=",
        f"{key}A",
        f" {key}x",
        key.replace("_", "-", 1),
        f"{key}\0",
    ]
    wrong += [
        hashlib.sha256(key.encode()).hexdigest(),
        f"{prefix}_{hashlib.sha256(key.encode()).hexdigest()[:43]}",
    ]
    for given in wrong:
        answer = await api.client({"Authorization": f"Bearer {given}".encode()}).get("/files")
        assert answer.status_code == 401, given
        assert secret not in answer.text
    assert (await bearer(api, key).get("/files")).status_code == 200


async def test_a_key_is_sent_as_the_bearer_and_in_no_other_way(api: Api, me: httpx.AsyncClient) -> None:
    key = (await make(me))["key"]
    begun = await bearer(api, key).post("/auth/session")
    assert (begun.status_code, "set-cookie" in begun.headers) == (403, False)
    for headers in (
        {"Cookie": f"{COOKIE}={key}"},
        {"X-API-Key": key},
        {"apikey": key},
        {"Authorization": key},
    ):
        assert (await api.client(headers).get("/files")).status_code == 401
    for name in ("key", "api_key", "access_token"):
        assert (await api.client().get("/files", params={name: key})).status_code == 401


async def test_the_same_post_twice_makes_one_key_and_shows_it_once(
    me: httpx.AsyncClient, env: dict[str, str]
) -> None:
    header = {"Idempotency-Key": "one"}
    first = await me.post("/auth/api-keys", json=NIGHTLY, headers=header)
    again = await me.post("/auth/api-keys", json=NIGHTLY, headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {k: v for k, v in first.json().items() if k != "key"}
    other = await me.post("/auth/api-keys", json=NIGHTLY | {"name": "x"}, headers=header)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")
    assert len((await me.get("/auth/api-keys")).json()["items"]) == 1
    secret = first.json()["key"][12:]
    (kept,) = await owner(env, "SELECT k::text AS all, body FROM trainyard.idempotency_keys k")
    assert secret not in kept["all"] + bytes(kept["body"]).decode()


async def test_secrets_are_nowhere_in_the_database(me: httpx.AsyncClient, env: dict[str, str]) -> None:
    """Whatever tables there are, now or later."""
    made = await me.post("/auth/api-keys", json=NIGHTLY, headers={"Idempotency-Key": "one"})
    secret = made.json()["key"][12:]
    tables = await owner(
        env,
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('trainyard', 'public', 'auth')",
    )
    assert len(tables) >= 10
    for table in tables:
        rows = await owner(env, f"SELECT t::text AS all FROM {table['name']} t")
        for row in rows:
            assert secret not in row["all"], table["name"]
            assert secret.encode().hex() not in row["all"], table["name"]


async def test_a_user_has_so_many_keys_and_no_more(
    env: dict[str, str], buckets: None, user: uuid.UUID
) -> None:
    async with api_client.running(env, MAX_API_KEYS="3") as api:
        me = api.user(user)
        asked = await asyncio.gather(*(me.post("/auth/api-keys", json=NIGHTLY) for _ in range(8)))
        assert sorted(answer.status_code for answer in asked) == [201] * 3 + [409] * 5
        refused = next(answer for answer in asked if answer.status_code == 409).json()
        assert (refused["type"], "revoke one first" in refused["detail"]) == ("conflict", True)
        first = (await me.get("/auth/api-keys")).json()["items"][0]
        await me.delete(f"/auth/api-keys/{first['id']}")
        await make(me)
        await make(api.user())  # another user's count is another


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/name", "/scopes"}),
        ({"name": "", "scopes": []}, {"/name", "/scopes"}),
        ({"name": " ", "scopes": ["write"]}, {"/name", "/scopes/0"}),
        ({"name": "x" * 101, "scopes": ["read", "READ", "*"]}, {"/name", "/scopes/1", "/scopes/2"}),
        ({"name": "x", "scopes": "admin"}, {"/scopes"}),
        ({"name": "x", "scopes": ["read"] * 4}, {"/scopes"}),
        ({"name": "x\0", "scopes": ["read"], "key": "mine"}, {"/name", "/key"}),
        ({"name": "x", "scopes": ["read"], "expires_in_s": 59}, {"/expires_in_s"}),
        ({"name": "x", "scopes": ["read"], "expires_in_s": 10**30}, {"/expires_in_s"}),
        ({"name": "x", "scopes": ["read"], "expires_in_s": 3600.5}, {"/expires_in_s"}),
        ({"name": "x", "scopes": ["read"], "expires_in_s": True}, {"/expires_in_s"}),
    ],
)
async def test_wrong_requests_are_told_all_that_is_wrong(
    me: httpx.AsyncClient, body: dict[str, Any], pointers: set[str]
) -> None:
    refused = await me.post("/auth/api-keys", content=json.dumps(body))
    assert refused.status_code == 422, refused.text
    assert {fault["pointer"] for fault in refused.json()["errors"]} == pointers


async def test_nobody_sees_or_ends_anothers_keys(api: Api, me: httpx.AsyncClient) -> None:
    made = await make(me)
    other = api.user()
    assert (await other.get("/auth/api-keys")).json()["items"] == []
    for key_id in (made["id"], made["id"].upper(), str(uuid.uuid4()), "x", made["prefix"]):
        missing = await other.delete(f"/auth/api-keys/{key_id}")
        assert (missing.status_code, missing.json()["type"]) == (404, "api-key-not-found")
    assert (await bearer(api, made["key"]).get("/files")).status_code == 200


async def test_the_database_shows_a_user_no_digest_and_nobody_elses_key(
    api: Api, me: httpx.AsyncClient, api_db: Database, worker_db: Database, user: uuid.UUID
) -> None:
    made = await make(me)
    digest = hashlib.sha256(made["key"].encode()).digest()
    for db in (api_db, worker_db):
        for query in ("SELECT secret_sha256 FROM trainyard.api_keys", "SELECT * FROM trainyard.api_keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with db.transaction(user) as c:
                    await c.fetch(query)
    for change in ("scopes = ARRAY['admin']", "user_id = user_id", "expires_at = NULL", "secret_sha256 = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with api_db.transaction(user) as c:
                await c.execute(f"UPDATE trainyard.api_keys SET {change}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with worker_db.transaction() as c:
            await api_keys.find(c, digest)
    async with api_db.transaction(uuid.uuid4()) as c:
        assert await c.fetch("SELECT id FROM trainyard.api_keys") == []
        assert not await api_keys.delete(c, user, uuid.UUID(made["id"]))
    async with api_db.connection() as c:  # as nobody: whose a key is comes of the lookup
        assert await c.fetch("SELECT id FROM trainyard.api_keys") == []
        assert (await api_keys.find(c, digest)).user_id == user  # type: ignore[union-attr]
        for wrong in (b"", digest[:-1], digest + b"\0", bytes(32)):
            assert await api_keys.find(c, wrong) is None
