"""Every kind of forged token is refused, as the Bearer and as a session's cookie, and leaves no trace.

`make test ARGS="tests/integration/test_forged_tokens.py -s"` shows how many of each kind are tried.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest

from services.api.auth import COOKIE
from tests.integration import api_client
from tests.integration.api_client import SECRET
from tests.integration.forge import (
    HS256,
    USER,
    Keys,
    KeyServer,
    claims,
    hs,
    key_server,
    token,
    with_claims,
    with_header,
)
from tests.integration.forgeries import KINDS


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture(scope="module")
def provider(keys: Keys) -> Iterator[KeyServer]:
    """The identity provider."""
    with key_server() as server:
        server.serve(*keys.listed())
        yield server


@pytest.fixture(scope="module")
def attacker(keys: Keys) -> Iterator[KeyServer]:
    """Lists keys of the attacker's own: whoever asks here was talked into it."""
    with key_server() as server:
        server.serve(*({**entry, "kid": "mine"} for entry in keys.listed()))
        yield server


@pytest.fixture(scope="module")
def tried() -> Iterator[dict[str, int]]:
    counts: dict[str, int] = {}
    yield counts
    for kind, count in sorted(counts.items()):
        print(f"\n{count:6,} {kind}", end="")
    print(f"\n{sum(counts.values()):6,} of {len(counts)} kinds")


@pytest.fixture
async def client(env: dict[str, str], buckets: None, provider: KeyServer) -> AsyncIterator[httpx.AsyncClient]:
    async with api_client.running(env, AUTH_JWKS_URL=provider.url) as api:
        yield api.client()


async def users(env: dict[str, str]) -> int:
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        return int(await connection.fetchval("SELECT count(*) FROM auth.users"))
    finally:
        await connection.close()


async def answer(client: httpx.AsyncClient, given: str, **headers: str) -> httpx.Response:
    return await client.get("/files", headers={"Authorization": b"Bearer " + given.encode(), **headers})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", KINDS)
async def test_forged_tokens_are_refused(
    kind: str,
    keys: Keys,
    attacker: KeyServer,
    client: httpx.AsyncClient,
    env: dict[str, str],
    tried: dict[str, int],
) -> None:
    forged = list(dict.fromkeys(KINDS[kind](keys, attacker.url)))
    assert len(forged) >= 10
    for given in forged:
        ways = [{"Authorization": f"Bearer {given}"}, {"Cookie": f"{COOKIE}={given}"}]
        # a cookie's own quoting and escapes are undone before it is read: there some of them are right
        for shown in ways[:1] if kind == "laid out in another way" else ways:
            headers = {name: value.encode() for name, value in shown.items()}
            refused = await client.get("/files", headers=headers)  # type: ignore[arg-type]
            assert refused.status_code == 401, (given, refused.text)
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["www-authenticate"] == "Bearer"
            assert len(given) < 40 or given[:40] not in refused.text
            tried[kind] = tried.get(kind, 0) + 1
    assert await users(env) == 0
    assert attacker.asked == []


async def test_the_right_ones_are_taken(keys: Keys, client: httpx.AsyncClient) -> None:
    """Made by the same hands: what is refused above is refused for what is wrong with it."""
    now = int(time.time())
    right = [
        *with_claims(keys, claims()),
        *with_claims(keys, claims(aud=["other", "authenticated"])),
        *with_claims(keys, claims(exp=now - 20)),  # clocks differ by seconds
        *with_claims(keys, claims(exp=now + 60.5, nbf=now + 20, iat=now + 20)),
        *with_claims(keys, claims(app_metadata={"provider": "email"}, email=1, jti=2, is_anonymous=False)),
        *with_header(keys, typ="JWT"),
        *with_header(keys, typ="at+jwt"),
        # not looked at, so no reason to refuse what is signed rightly either
        *with_header(
            keys, jku="http://127.0.0.1:9/", x5u="http://127.0.0.1:9/", jwk={"kty": "oct", "k": "AA"}
        ),
        token(HS256 | {"kid": "whatever"}, claims(), hs(SECRET)),
    ]
    for given in right:
        assert (await answer(client, given)).status_code == 200, given


async def test_nobody_acts_for_another(
    keys: Keys, client: httpx.AsyncClient, tried: dict[str, int], env: dict[str, str]
) -> None:
    other = str(uuid.uuid4())
    wrong = [other, "", " ", "root", "*", f"{USER},{other}", f"{other},{USER}", str(USER)[:-1], "null", "é"]
    services = list(with_claims(keys, claims(role="service_role", sub=..., aud=...)))
    services += with_claims(keys, claims(role="service_role", sub=str(USER)))
    for given in services:
        for named in (None, *wrong[1:]):
            headers = {} if named is None else {"X-User-Id": named.encode()}
            refused = await answer(client, given, **headers)  # type: ignore[arg-type]
            assert refused.status_code == 403, named
            tried["a service that names nobody"] = tried.get("a service that names nobody", 0) + 1
    for given in with_claims(keys, claims()):
        for named in wrong:
            refused = await answer(client, given, **{"X-User-Id": named.encode()})  # type: ignore[arg-type]
            assert refused.status_code == 403, named
            tried["a user that names another"] = tried.get("a user that names another", 0) + 1
        assert (await answer(client, given, **{"X-User-Id": str(USER)})).status_code == 200
    assert await users(env) == 1
    for given in services:
        assert (await answer(client, given, **{"X-User-Id": other})).status_code == 200
        cookie = {"Cookie": f"{COOKIE}={given}", "X-User-Id": other}
        assert (await client.get("/files", headers=cookie)).status_code == 401


async def test_headers_that_are_there_twice_or_say_something_else(
    keys: Keys, client: httpx.AsyncClient
) -> None:
    given = next(with_claims(keys, claims()))
    bearer = ("Authorization", f"Bearer {given}")
    for twice in ([bearer, bearer], [bearer, ("Authorization", "Bearer x")], [("Authorization", ""), bearer]):
        assert (await client.get("/files", headers=twice)).status_code == 401
    named = [bearer, ("X-User-Id", str(USER)), ("X-User-Id", str(uuid.uuid4()))]
    assert (await client.get("/files", headers=named)).status_code == 401
    for value in (
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        given,
        f"Token {given}",
        f"Bearer{given}",
        f"JWT {given}",
    ):
        assert (await client.get("/files", headers={"Authorization": value})).status_code == 401
        # a header that is wrong is not made up for by a cookie that is right
        both = {"Authorization": value, "Cookie": f"{COOKIE}={given}"}
        assert (await client.get("/files", headers=both)).status_code == 401
    for name in ("access_token", "token", "jwt", "apikey"):
        assert (await client.get("/files", params={name: given})).status_code == 401
    assert (await client.get("/files", headers={"apikey": given})).status_code == 401
    assert (await client.get("/files", headers={"authorization": f"bEaReR  {given} "})).status_code == 200
