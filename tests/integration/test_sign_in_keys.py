"""Keys from a JWKS as they come, change and go, on a real server; and secrets that are replaced."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.api import jwks
from services.api.tokens import Tokens, check_settings
from shared.errors import ConfigurationError, SignInUnavailable, Unauthenticated
from shared.settings import Auth, load
from tests.integration.api_client import SECRET
from tests.integration.forge import USER, Keys, KeyServer, claims, es, hs, jwk, key_server, rs, token

OLD = "the secret that was in use before, 32 bytes or more"


class Clock:
    """Both of a process's clocks, turned by hand."""

    def __init__(self) -> None:
        self.gone = 0.0

    def __call__(self) -> float:
        return time.time() + self.gone


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def provider(keys: Keys) -> Iterator[KeyServer]:
    with key_server() as server:
        server.serve(jwk(keys.rsa, kid="rsa"), jwk(keys.curve, kid="curve"))
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(provider: KeyServer, clock: Clock) -> Tokens:
    return checker(clock, auth_jwks_url=provider.url)


def checker(clock: Clock | None = None, **settings: str) -> Tokens:
    given = load(Auth, {name.upper(): value for name, value in settings.items()})
    check_settings(given)
    return Tokens(given, now=clock or time.time, clock=clock or time.monotonic)


def by_rsa(keys: Keys, kid: str = "rsa", **changed: Any) -> str:
    return token({"alg": "RS256", "kid": kid}, claims(exp=int(time.time()) + 10**6, **changed), rs(keys.rsa))


def by_curve(keys: Keys, kid: str = "curve", **changed: Any) -> str:
    return token(
        {"alg": "ES256", "kid": kid}, claims(exp=int(time.time()) + 10**6, **changed), es(keys.curve)
    )


async def refused(tokens: Tokens, given: str) -> str:
    with pytest.raises(Unauthenticated) as why:
        await tokens.check(given)
    return why.value.detail


async def test_one_fetch_serves_all(tokens: Tokens, keys: Keys, provider: KeyServer) -> None:
    for given in (by_rsa(keys), by_curve(keys), by_rsa(keys, jti="2")):
        assert (await tokens.check(given)).user_id == USER
    assert len(provider.asked) == 1


async def test_an_unknown_key_is_looked_for_once_a_minute(
    tokens: Tokens, keys: Keys, provider: KeyServer, clock: Clock
) -> None:
    await tokens.check(by_rsa(keys))
    provider.serve(jwk(keys.curve, kid="new"))
    clock.gone = 59
    for _ in range(20):
        assert "not known" in await refused(tokens, by_curve(keys, kid="new"))
    assert len(provider.asked) == 1
    clock.gone = 61
    assert (await tokens.check(by_curve(keys, kid="new"))).user_id == USER
    for n in range(20):
        assert "not known" in await refused(tokens, by_curve(keys, kid=f"made up {n}"))
    assert len(provider.asked) == 2


async def test_a_key_taken_out_is_honoured_no_more(
    tokens: Tokens, keys: Keys, provider: KeyServer, clock: Clock
) -> None:
    given = by_rsa(keys)
    await tokens.check(given)
    provider.serve(jwk(keys.curve, kid="curve"))
    clock.gone = jwks.STALE_S - 1
    await tokens.check(given)  # checked anew, and remembered for a minute unless the keys change
    clock.gone = jwks.STALE_S + 1
    assert "not known" in await refused(tokens, given)
    assert (await tokens.check(by_curve(keys))).user_id == USER


async def test_what_was_checked_before_a_fetch_is_checked_again(
    tokens: Tokens, keys: Keys, provider: KeyServer, clock: Clock
) -> None:
    given = by_rsa(keys)
    clock.gone = 5
    await tokens.check(given)
    provider.serve(jwk(keys.curve, kid="curve"))
    clock.gone = 66
    await tokens.check(given)
    await refused(tokens, by_curve(keys, kid="unknown"))  # the fetch
    assert "not known" in await refused(tokens, given)


async def test_a_provider_that_is_away_is_done_without_for_an_hour(
    tokens: Tokens, keys: Keys, provider: KeyServer, clock: Clock
) -> None:
    await tokens.check(by_rsa(keys))
    provider.status = 500
    for gone in (jwks.STALE_S + 1, jwks.STALE_S + 30, jwks.DEAD_S - 10):
        clock.gone = gone
        assert (await tokens.check(by_rsa(keys))).user_id == USER
    assert len(provider.asked) == 3
    clock.gone = jwks.DEAD_S + 100
    with pytest.raises(SignInUnavailable):
        await tokens.check(by_rsa(keys))
    provider.status = 200
    clock.gone += jwks.RETRY_S + 1
    assert (await tokens.check(by_rsa(keys))).user_id == USER


async def test_no_keys_yet_is_no_refusal_and_none_at_all_is(
    tokens: Tokens, keys: Keys, provider: KeyServer, clock: Clock
) -> None:
    provider.status = 503
    for _ in range(5):
        with pytest.raises(SignInUnavailable):
            await tokens.check(by_rsa(keys))
    assert len(provider.asked) == 1
    clock.gone = jwks.RETRY_S + 1
    provider.serve()  # as a project that still signs with its secret answers
    assert "not known" in await refused(tokens, by_rsa(keys))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": "/other.json"}, b""),
        (307, {"Location": "http://127.0.0.1:1/"}, b""),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (200, {}, b'{"keys": {}}'),
        (200, {}, b'{"keys": [' + b" " * (jwks.MOST_BYTES + 1) + b"]}"),
        (200, {}, b"[" * 100_000),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"keys": []}' + b" " * 10**7)),
        (204, {}, b""),
    ],
    ids=["redirect", "elsewhere", "a page", "a list", "no list", "long", "deep", "packed", "nothing"],
)
async def test_answers_that_are_no_key_set(
    tokens: Tokens, keys: Keys, provider: KeyServer, status: int, headers: dict[str, str], body: bytes
) -> None:
    provider.status, provider.headers, provider.body = status, headers, body
    with pytest.raises(SignInUnavailable):
        await tokens.check(by_rsa(keys))
    assert provider.asked == ["/jwks.json"]


async def test_a_provider_that_never_answers_is_waited_for_seconds(
    tokens: Tokens, keys: Keys, provider: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_S", 0.2)
    provider.answering.clear()
    with pytest.raises(SignInUnavailable):
        await tokens.check(by_rsa(keys))


def test_listed_keys_that_are_not_taken(keys: Keys) -> None:
    taken = jwks.public_keys(json.dumps({"keys": keys.listed()}).encode())
    assert set(taken) == {("rsa", "RS256"), ("curve", "ES256")}
    many = [jwk(keys.curve, kid=str(n)) for n in range(3 * jwks.MOST_KEYS)]
    assert len(jwks.public_keys(json.dumps({"keys": many}).encode())) == jwks.MOST_KEYS
    # the first of one name: a later one cannot take its place
    twice = [jwk(keys.curve, kid="k"), jwk(keys.other_curve, kid="k")]
    (key,) = jwks.public_keys(json.dumps({"keys": twice}).encode()).values()
    assert key.key.public_numbers() == keys.curve.public_key().public_numbers()


async def test_a_secret_is_replaced_while_people_are_signed_in() -> None:
    header = {"alg": "HS256"}
    old, new = token(header, claims(), hs(OLD)), token(header, claims(), hs(SECRET))
    before = checker(auth_jwt_secret=OLD)
    during = checker(auth_jwt_secret=SECRET, auth_jwt_previous_secret=OLD)
    after = checker(auth_jwt_secret=SECRET)
    for tokens, given in ((before, old), (during, old), (during, new), (after, new)):
        assert (await tokens.check(given)).user_id == USER
    for tokens, given in ((before, new), (after, old)):
        assert "signature" in await refused(tokens, given)
    # new ones are signed with the new secret alone
    issued, _ = during.issue(USER, "a@example.org")
    assert (await after.check(issued)).email == "a@example.org"
    await refused(before, issued)


async def test_a_previous_secret_while_moving_to_keys(keys: Keys, provider: KeyServer) -> None:
    tokens = checker(auth_jwks_url=provider.url, auth_jwt_previous_secret=OLD)
    assert (await tokens.check(token({"alg": "HS256"}, claims(), hs(OLD)))).user_id == USER
    assert (await tokens.check(by_curve(keys))).user_id == USER
    await refused(tokens, token({"alg": "HS256"}, claims(), hs("")))


async def test_an_issuer_is_asked_for_where_it_is_set() -> None:
    tokens = checker(auth_jwt_secret=SECRET, auth_issuer="https://p.example/auth/v1, supabase")
    header = {"alg": "HS256"}
    for iss in ("https://p.example/auth/v1", "supabase"):
        assert (await tokens.check(token(header, claims(iss=iss), hs(SECRET)))).user_id == USER
    service = claims(role="service_role", iss="supabase", aud=..., sub=...)
    assert (await tokens.check(token(header, service, hs(SECRET)))).user_id is None
    for iss in (..., None, "", "https://q.example/auth/v1", "SUPABASE", ["supabase"], "https://p.example"):
        for role in ("authenticated", "service_role"):
            await refused(tokens, token(header, claims(iss=iss, role=role), hs(SECRET)))
    issued, _ = tokens.issue(USER, "a@example.org")
    assert (await tokens.check(issued)).user_id == USER


async def test_a_token_is_remembered_as_long_as_it_is_valid(clock: Clock) -> None:
    tokens = checker(clock, auth_jwt_secret=SECRET)
    given = token({"alg": "HS256"}, claims(exp=int(time.time()) + 10), hs(SECRET))
    for gone in (0, 9, 35):  # the leeway
        clock.gone = gone
        assert (await tokens.check(given)).user_id == USER
    clock.gone = 41
    assert "expired" in await refused(tokens, given)


async def test_tokens_themselves_are_not_kept(tokens: Tokens, keys: Keys) -> None:
    """Only digests: a dump of the process's memory opens no door."""
    for given in (by_rsa(keys), by_curve(keys)):
        await tokens.check(given)
        held = repr(vars(tokens))
        assert str(USER) in held
        assert not any(part in held for part in given.split("."))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"auth_jwt_secret": "short"},
        {"auth_jwt_secret": SECRET, "auth_jwt_previous_secret": "short"},
        {"auth_jwt_previous_secret": OLD},
        {"auth_jwks_url": "file:///etc/passwd"},
        {"auth_jwks_url": "jwks.json"},
        {"auth_jwks_url": "https://"},
        {"auth_jwks_url": "https://[::1", "auth_jwt_secret": SECRET},
        {"auth_jwks_url": "https://p.example/jwks", "auth_dev_login": "true"},
    ],
)
def test_settings_by_which_nobody_could_be_told_from_anybody(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="AUTH_"):
        checker(**wrong)
