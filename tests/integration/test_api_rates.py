"""Two processes' worth of API over one Valkey: what a user may ask of both together."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import Counter

import httpx
import pytest

from services.api.rates import PART, PREFIX
from tests.integration import api_client, api_runs
from tests.integration.api_client import Api, token
from tests.integration.tcp_proxy import tcp_proxy

MOST = 64
LIMITS = {"RATE_LIMIT_READS_PER_MIN": str(MOST), "RATE_LIMIT_WRITES_PER_MIN": "3"}


class Clock:
    """The middle of a minute that nothing else in the tests counts in."""

    def __init__(self) -> None:
        self.now = (time.time() // 60 + 10_000_000 + uuid.uuid4().int % 10**9) * 60 + 30.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def by(clock: Clock, *apis: Api) -> None:
    for api in apis:
        api.context.rates._clock = clock


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "too-many-requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    return True


async def test_two_processes_let_through_a_limit_together(
    env: dict[str, str], buckets: None, clock: Clock
) -> None:
    async with api_client.running(env, **LIMITS) as one, api_client.running(env, **LIMITS) as two:
        by(clock, one, two)
        user = uuid.uuid4()
        clients = [one.user(user), two.user(user)]
        answers = await asyncio.gather(*(client.get("/files") for client in clients for _ in range(MOST)))
        through = Counter(answer.status_code for answer in answers)
        assert set(through) == {200, 429}
        assert MOST <= through[200] <= MOST + 2 * (MOST // PART)
        assert sum(map(refused, answers)) == through[429]
        assert (await one.user().get("/files")).status_code == 200  # another user has limits of its own
        kept = [key async for key in one.context.redis.scan_iter(f"{PREFIX}:reads:{user}:*")]
        assert len(kept) == 1
        assert 0 < await one.context.redis.ttl(kept[0]) <= 150
        wait = max(int(answer.headers["retry-after"]) for answer in answers if answer.status_code == 429)
        clock.now += wait + 2  # one process may not have known what the other let through last
        assert (await clients[0].get("/files")).status_code == 200


async def test_reads_and_writes_are_counted_apart(env: dict[str, str], buckets: None, clock: Clock) -> None:
    async with api_client.running(env, **LIMITS) as api:
        by(clock, api)
        me = api.user()
        gone = [await me.delete(f"/files/{uuid.uuid4()}") for _ in range(5)]
        assert [answer.status_code for answer in gone] == [404, 404, 404, 429, 429]
        assert gone[0].headers["ratelimit-policy"] == '"writes";q=3;w=60'
        assert [answer.headers["ratelimit"] for answer in gone[:3]] == [
            f'"writes";r={left};t=30' for left in (2, 1, 0)
        ]
        assert re.fullmatch(r'"writes";r=0;t=\d+', gone[3].headers["ratelimit"])
        assert refused(gone[3])
        read = await me.get("/files")
        assert (read.status_code, read.headers["ratelimit"]) == (200, f'"reads";r={MOST - 1};t=30')
        assert "ratelimit" not in (await api.client().get("/health/live")).headers


async def test_whatever_a_user_asks_with_is_one_account(
    env: dict[str, str], buckets: None, clock: Clock
) -> None:
    async with api_client.running(env, **LIMITS) as api:
        by(clock, api)
        user = uuid.uuid4()
        service = api.client(
            {"Authorization": f"Bearer {api_client.service_token()}", "X-User-Id": str(user)}
        )
        codes = [
            (await client.delete(f"/files/{uuid.uuid4()}")).status_code
            for client in (
                api.user(user),
                service,
                api.client({"Authorization": f"Bearer {token(user)}"}),
                service,
            )
        ]
        assert codes == [404, 404, 404, 429]


async def test_without_redis_nobody_is_refused_for_it(
    env: dict[str, str], buckets: None, clock: Clock
) -> None:
    async with (
        tcp_proxy(env["REDIS_URL"]) as proxy,
        api_client.running(env, REDIS_URL=proxy.in_front_of(env["REDIS_URL"]), **LIMITS) as api,
    ):
        by(clock, api)
        for break_it in (proxy.hang, proxy.cut):
            break_it()
            me = api.user()
            answers = [await me.get("/files") for _ in range(MOST + 5)]
            assert [a.status_code for a in answers] == [200] * MOST + [429] * 5
            proxy.heal()
            clock.now += 180


async def test_whoever_guesses_tokens_is_refused_before_they_are_checked(
    env: dict[str, str], buckets: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_client.running(env, RATE_LIMIT_FAILED_LOGINS_PER_MIN="5") as api:
        by(clock, api)
        user = uuid.uuid4()
        known = api.user(user)
        assert (await known.get("/files")).status_code == 200
        guesses = [
            f"Bearer {token(user, secret=f'guess {n} of a secret, thirty-two bytes')}" for n in range(8)
        ]
        codes = [(await api.client({"Authorization": guess}).get("/files")).status_code for guess in guesses]
        assert codes == [401] * 5 + [429] * 3
        checked = api.context.tokens.check
        asked: list[str] = []

        async def watched(given: str) -> object:
            asked.append(given)
            return await checked(given)

        monkeypatch.setattr(type(api.context.tokens), "check", lambda _self, given: watched(given))
        last = await api.client({"Authorization": guesses[0]}).get("/files")
        assert refused(last)
        assert asked == []
        assert (await known.get("/files")).status_code == 200  # what was accepted before still is
        assert (await api.client().get("/files")).status_code == 401  # no token at all: nothing to check
        assert (await api.client().get("/health/live")).status_code == 200
        elsewhere = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=api.app, client=("192.0.2.7", 1)),  # type: ignore[arg-type]
            base_url="http://127.0.0.1",
            headers={"Authorization": guesses[0]},
        )
        async with elsewhere:
            assert (await elsewhere.get("/files")).status_code == 401
        clock.now += 180
        assert (await api.client({"Authorization": guesses[0]}).get("/files")).status_code == 401


async def test_addresses_of_one_network_are_one_guesser(
    env: dict[str, str], buckets: None, clock: Clock
) -> None:
    async with api_client.running(env, RATE_LIMIT_FAILED_LOGINS_PER_MIN="3") as api:
        by(clock, api)
        codes = []
        for n in range(5):
            transport = httpx.ASGITransport(app=api.app, client=(f"2001:db8:1:2::{n}", 1))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                codes.append(
                    (await http.get("/files", headers={"Authorization": f"Bearer x{n}"})).status_code
                )
        assert codes == [401] * 3 + [429] * 2


async def test_a_run_is_watched_within_the_limits_of_everyday(env: dict[str, str], buckets: None) -> None:
    """The defaults leave room for a page that looks twice a second at ten runs."""
    defaults = dict.fromkeys(LIMITS, "") | {"RATE_LIMIT_FAILED_LOGINS_PER_MIN": ""}
    async with api_client.running(env, **defaults) as api:
        me = api.user()
        task = await api_runs.queued(api, me)
        polls = await asyncio.gather(*(me.get(f"/ml/status/{task['task_id']}") for _ in range(600)))
        assert {poll.status_code for poll in polls} == {200}
