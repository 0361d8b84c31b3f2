"""Who gets in, and what every answer carries."""

from __future__ import annotations

import time
import uuid

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from services.api.auth import COOKIE
from tests.integration import api_client, forge
from tests.integration.api_client import SECRET, Api, service_token, token


async def status_of(api: Api, given: str, **headers: str) -> int:
    answer = await api.client({"Authorization": f"Bearer {given}", **headers}).get("/files")
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code


async def test_a_service_acts_for_the_user_it_names(api: Api) -> None:
    user = uuid.uuid4()
    mine = await api_client.upload(api.user(user))
    service = api.client({"Authorization": f"Bearer {service_token()}", "X-User-Id": str(user)})
    assert (await service.get("/files")).json()["items"] == [mine]
    assert await status_of(api, service_token()) == 403
    assert await status_of(api, service_token(), **{"X-User-Id": "root"}) == 403
    assert await status_of(api, token(user), **{"X-User-Id": str(user)}) == 200
    assert await status_of(api, token(user), **{"X-User-Id": str(uuid.uuid4())}) == 403
    assert (await service.post("/auth/session")).status_code == 403


async def test_a_session_reads_and_changes_nothing(api: Api) -> None:
    user = uuid.uuid4()
    begun = await api.user(user).post("/auth/session")
    assert begun.status_code == 204
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    browser = api.client({"Cookie": cookie.split(";")[0]})
    assert (await browser.get("/files")).status_code == 200
    assert (await browser.post("/files", files={"file": ("t.csv", b"a\n1\n")})).status_code == 401
    assert (await browser.delete(f"/ml/tasks/{uuid.uuid4()}")).status_code == 401
    assert (await browser.post("/auth/session")).status_code == 401  # a session makes no session
    secure = await api.user(user).post("https://example.org/auth/session")
    assert "Secure" in secure.headers["set-cookie"]


async def test_a_session_is_ended_by_whoever_has_it(api: Api) -> None:
    """With the cookie alone, one that has expired or is none too, and without any: nothing is kept here."""
    given = token(uuid.uuid4())
    now = int(time.time())
    expired = token(uuid.uuid4(), exp=now - 3600)
    for headers in (
        {"Cookie": f"{COOKIE}={given}"},
        {"Cookie": f"{COOKIE}={expired}"},
        {"Cookie": f"{COOKIE}=x"},
        {"Authorization": f"Bearer {given}"},
        {},
    ):
        ended = await api.client(headers).delete("/auth/session")
        assert (ended.status_code, ended.content) == (204, b"")
        cookie = ended.headers["set-cookie"]
        assert f'{COOKIE}=""' in cookie or f"{COOKIE}=;" in cookie
        assert "Max-Age=0" in cookie
        assert "Path=/" in cookie
    browser = api.client()
    begun = await browser.post("/auth/session", headers={"Authorization": f"Bearer {given}"})
    assert begun.status_code == 204
    assert (await browser.get("/files")).status_code == 200
    await browser.delete("/auth/session")
    assert (await browser.get("/files")).status_code == 401


async def test_signing_in_without_a_password_is_for_this_machine_only(
    api: Api, env: dict[str, str], buckets: None
) -> None:
    stranger = api.client()
    first = (await stranger.post("/auth/dev-login", json={"email": "Ada@Example.org"})).json()
    again = (await stranger.post("/auth/dev-login", json={"email": "ada@example.org"})).json()
    assert first["user"] == again["user"]
    assert first["token_type"] == "bearer"
    assert await status_of(api, first["access_token"]) == 200
    for host in ("evil.example:8000", "127.0.0.1.evil.example", "localhost.", ""):
        answer = await stranger.post(
            "/auth/dev-login", json={"email": "a@b"}, headers={"Host": host} if host else {"Host": "_"}
        )
        assert answer.status_code in (400, 403), host
    assert (await stranger.post("/auth/dev-login", json={"email": "nobody"})).status_code == 422
    async with api_client.running(env, AUTH_DEV_LOGIN="false") as closed:
        answer = await closed.client().post("/auth/dev-login", json={"email": "a@b"})
        assert answer.status_code in (404, 405)
    async with api_client.running(env, ALLOWED_HOSTS="yard.example, other") as open_to_one:
        answer = await open_to_one.client({"Host": "yard.example"}).post(
            "/auth/dev-login", json={"email": "a@b"}
        )
        assert answer.status_code == 200


async def test_keys_that_cannot_be_fetched_are_no_refusal(env: dict[str, str], buckets: None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with api_client.running(
        env, AUTH_JWKS_URL="http://127.0.0.1:9/jwks", AUTH_JWT_SECRET=SECRET
    ) as api:
        given = forge.token({"alg": "ES256", "kid": "k"}, forge.claims(), forge.es(key))
        answer = await api.client({"Authorization": f"Bearer {given}"}).get("/files")
        assert (answer.status_code, answer.json()["type"]) == (503, "sign-in-unavailable")
        assert "retry-after" in answer.headers
        assert await status_of(api, token(uuid.uuid4())) == 200


async def test_every_answer_has_an_id_and_the_security_headers(api: Api) -> None:
    me = api.user()
    for path in ("/files", "/nowhere", "/health/live", "/ml/status/x", "/schema/openapi.json", "/metrics"):
        answer = await me.get(path, headers={"X-Request-Id": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    made = (await me.get("/files", headers={"X-Request-Id": "a b\tc"})).headers["x-request-id"]
    assert uuid.UUID(made)


async def test_problems_for_what_there_is_not(api: Api) -> None:
    me = api.user()
    assert (await me.get("/schema/nowhere")).headers["content-type"] == "application/problem+json"
    nowhere = await me.get("/nowhere")
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (404, "application/problem+json")
    assert nowhere.json() == {
        "type": "not-found",
        "title": "Not found",
        "status": 404,
        "detail": "Not found",
        "instance": "/nowhere",
    }
    wrong = await me.put("/files")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "method-not-allowed")
    assert {"GET", "POST"} <= set(wrong.headers["allow"].split(", "))
    missing: httpx.Response = await me.get("/ml/status/nope")
    assert missing.json()["detail"] == "Task not found"
