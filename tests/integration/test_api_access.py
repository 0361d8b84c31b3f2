"""Who gets in, and what every answer carries."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.integration import api_client
from tests.integration.api_client import SECRET, Api, service_token, token


async def status_of(api: Api, given: str, **headers: str) -> int:
    answer = await api.client({"Authorization": f"Bearer {given}", **headers}).get("/files")
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code


async def test_tokens_that_are_not_a_users_are_refused(api: Api) -> None:
    user = uuid.uuid4()
    now = int(time.time())
    assert await status_of(api, token(user)) == 200
    assert await status_of(api, token(user, aud=["authenticated", "other"])) == 200
    assert await status_of(api, token(user, exp=now - 20)) == 200  # clocks differ by seconds
    refused = {
        "expired": token(user, exp=now - 60),
        "no end": token(user, exp=None),
        "not yet": token(user, nbf=now + 600),
        "another audience": token(user, aud="other"),
        "no audience": token(user, aud=None),
        "anon": token(user, role="anon"),
        "no role": token(user, role=None),
        "no user": token(user, sub=None),
        "a user that is no id": token(user, sub="admin"),
        "another secret": token(user, secret="another secret that is long enough as well"),
        "another algorithm": token(user, algorithm="HS384"),
        "unsigned": jwt.encode({"sub": str(user)}, None, algorithm="none"),
        "cut": token(user)[:-3],
        "not a token": "x.y.z",
        "long": "a" * 20_000,
    }
    got = {name: await status_of(api, bad) for name, bad in refused.items()}
    assert got == dict.fromkeys(refused, 401)
    assert (await api.client({"Authorization": b"Bearer \xff\xfe"}).get("/files")).status_code == 401
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", token(user)):
        assert (await api.client({"Authorization": header}).get("/files")).status_code == 401
    assert (await api.client().get("/files")).status_code == 401


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
    ended = await api.user(user).delete("/auth/session")
    assert ended.status_code == 204
    assert "Max-Age=0" in ended.headers["set-cookie"]
    secure = await api.user(user).post("https://example.org/auth/session")
    assert "Secure" in secure.headers["set-cookie"]


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


class KeyServer:
    """Serves a JWKS, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.keys: list[dict[str, object]] = []
        self.asked = 0
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": self.keys})


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    app = web.Application()
    app.router.add_get("/jwks.json", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    server.url = f"http://127.0.0.1:{port}/jwks.json"
    yield server
    await runner.cleanup()


def signed(key: object, user: uuid.UUID, algorithm: str, kid: str | None) -> str:
    payload = jwt.decode(token(user), options={"verify_signature": False})
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid} if kid else {})  # type: ignore[arg-type]


async def test_keys_from_a_jwks(env: dict[str, str], buckets: None, key_server: KeyServer) -> None:
    user = uuid.uuid4()
    curve, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    of_curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(curve.public_key()))
    of_rsa = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key()))
    key_server.keys = [
        {**of_curve, "kid": "curve", "use": "sig"},
        {**of_rsa, "kid": "rsa", "alg": "RS256"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXM", "alg": "HS256"},
        {"kty": "nonsense"},
    ]
    public_pem = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    async with api_client.running(
        env, AUTH_JWKS_URL=key_server.url, AUTH_JWT_SECRET="", AUTH_DEV_LOGIN=""
    ) as api:
        assert await status_of(api, signed(curve, user, "ES256", "curve")) == 200
        assert await status_of(api, signed(rsa_key, user, "RS256", "rsa")) == 200
        assert await status_of(api, signed(other, user, "ES256", "curve")) == 401
        assert await status_of(api, signed(rsa_key, user, "RS256", "curve")) == 401
        assert await status_of(api, signed(rsa_key, user, "RS512", "rsa")) == 401
        assert await status_of(api, signed(curve, user, "ES256", None)) == 401
        assert await status_of(api, token(user)) == 401
        # the public key as an HMAC secret: PyJWT will not sign so, hence by hand
        confused = _hs256({"alg": "HS256", "kid": "rsa"}, token(user).split(".")[1], public_pem)
        assert await status_of(api, confused) == 401
        assert (
            await status_of(
                api,
                _hs256(
                    {"alg": "HS256", "kid": "shared"},
                    token(user).split(".")[1],
                    b"secret-secret-secret-secret-s",
                ),
            )
            == 401
        )
        assert key_server.asked == 1
        for _ in range(3):
            assert await status_of(api, signed(other, user, "ES256", "new")) == 401
        assert key_server.asked == 1  # within a minute of the last fetch


def _hs256(header: dict[str, str], payload: str, secret: bytes) -> str:
    import base64
    import hashlib
    import hmac

    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    mac = hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
    return f"{head}.{payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


async def test_keys_that_cannot_be_fetched_are_no_refusal(env: dict[str, str], buckets: None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with api_client.running(
        env, AUTH_JWKS_URL="http://127.0.0.1:9/jwks", AUTH_JWT_SECRET=SECRET
    ) as api:
        answer = await api.client({"Authorization": f"Bearer {signed(key, uuid.uuid4(), 'ES256', 'k')}"}).get(
            "/files"
        )
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
