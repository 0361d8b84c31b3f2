"""Rates, with a clock in hand: windows that slide, processes that share, a Redis that is away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.api import rates
from services.api.rates import EXCHANGE_S, MOST_TALLIES, WINDOW_S, Exceeded, Limit, Rate, Rates


class Clock:
    """A minute begins at 0."""

    def __init__(self) -> None:
        self.now = 60_000.0

    def __call__(self) -> float:
        return self.now


class Redis:
    """What the script does, without a server; `away` makes every call fail, `calls` counts them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.away = False
        self.calls = 0

    def register_script(self, _script: str) -> Callable[..., Any]:
        async def call(keys: list[str], args: list[int]) -> list[int]:
            self.calls += 1
            await asyncio.sleep(0)
            if self.away:
                raise RedisConnectionError("away")
            out = []
            for key, earlier, count in zip(keys[::2], keys[1::2], args, strict=True):
                self.counts[key] = self.counts.get(key, 0) + count
                out += [self.counts[key], self.counts.get(earlier, 0)]
            return out

        return call


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def redis() -> Redis:
    return Redis()


def process(redis: Redis, clock: Clock) -> Rates:
    return Rates(redis, clock)  # type: ignore[arg-type]


async def let_through(where: Rates, limit: Limit, who: object, times: int) -> int:
    return sum([isinstance(await where.admit(limit, who), Rate) for _ in range(times)])


@pytest.mark.parametrize("most", [1, 2, 3, 10, 300, 3000])
async def test_one_process_lets_through_exactly_the_limit(redis: Redis, clock: Clock, most: int) -> None:
    one, limit = process(redis, clock), Limit("reads", most)
    assert await let_through(one, limit, "ada", most + 50) == most
    assert await let_through(one, limit, "bob", 1) == 1  # another's are counted apart
    assert await let_through(one, Limit("writes", most), "ada", 1) == 1


async def test_the_window_slides(redis: Redis, clock: Clock) -> None:
    one, limit = process(redis, clock), Limit("reads", 100)
    clock.now += 30
    assert await let_through(one, limit, "ada", 200) == 100
    clock.now += WINDOW_S - 30  # the next minute has begun: all of it counts still
    assert await let_through(one, limit, "ada", 200) == 0
    clock.now += 30
    assert await let_through(one, limit, "ada", 200) == 50
    clock.now += 2 * WINDOW_S
    assert await let_through(one, limit, "ada", 200) == 100


@pytest.mark.parametrize("most", [1, 2, 7, 100])
@pytest.mark.parametrize("into", [0, 17.5, 59.9])
@pytest.mark.parametrize("earlier", [0, 1])
async def test_whoever_comes_back_when_told_gets_in(
    redis: Redis, clock: Clock, most: int, into: float, earlier: int
) -> None:
    one, limit = process(redis, clock), Limit("reads", most)
    clock.now += into
    await let_through(one, limit, "ada", earlier * most)
    clock.now += earlier * 45
    while isinstance(refused := await one.admit(limit, "ada"), Rate):
        pass
    assert 1 <= refused.retry_after_s <= 2 * WINDOW_S
    clock.now += refused.retry_after_s
    assert isinstance(await one.admit(limit, "ada"), Rate)


async def test_what_is_left_is_told(redis: Redis, clock: Clock) -> None:
    one, limit = process(redis, clock), Limit("reads", 10)
    clock.now += 18
    assert await one.admit(limit, "ada") == Rate(limit, 9, 42)
    assert await one.admit(limit, "ada") == Rate(limit, 8, 42)


@pytest.mark.parametrize("most", [10, 300, 3000])
@pytest.mark.parametrize("processes", [2, 4, 16])
async def test_processes_share_a_limit(redis: Redis, clock: Clock, most: int, processes: int) -> None:
    limit = Limit("writes", most)
    all_of_them = [process(redis, clock) for _ in range(processes)]
    through = sum(await asyncio.gather(*(let_through(one, limit, "ada", most) for one in all_of_them)))
    assert most <= through <= most + processes * (most // rates.PART + 1)
    clock.now += 2 * WINDOW_S
    assert await let_through(all_of_them[0], limit, "ada", 1) == 1


async def test_whoever_was_quiet_learns_before_it_lets_much_through(redis: Redis, clock: Clock) -> None:
    one, other, limit = process(redis, clock), process(redis, clock), Limit("reads", 640)
    assert await let_through(other, limit, "ada", 1) == 1
    clock.now += 10
    assert await let_through(one, limit, "ada", 1000) >= 639
    assert await let_through(other, limit, "ada", 1000) <= 640 // rates.PART


async def test_an_exchange_costs_a_request_nothing_most_of_the_time(redis: Redis, clock: Clock) -> None:
    one, limit = process(redis, clock), Limit("reads", 3000)
    assert await let_through(one, limit, "ada", 46) == 46
    assert redis.calls == 0


async def test_what_was_counted_is_told_in_the_background(
    redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "EXCHANGE_S", 0.001)
    one, limit, users = process(redis, clock), Limit("reads", 10), [uuid.uuid4() for _ in range(1200)]
    for user in users:
        await one.admit(limit, user)
    running = asyncio.create_task(one.run())
    async with asyncio.timeout(10):
        while len(redis.counts) < len(users):
            await asyncio.sleep(0.001)
    running.cancel()
    assert set(redis.counts.values()) == {1}
    assert redis.calls == 3  # of five hundred each at most


async def test_redis_away_leaves_a_limit_a_process(redis: Redis, clock: Clock) -> None:
    redis.away = True
    one, other, limit = process(redis, clock), process(redis, clock), Limit("writes", 300)
    assert await let_through(one, limit, "ada", 500) == 300
    assert await let_through(other, limit, "ada", 500) == 300
    assert redis.calls == 2  # whoever does not answer is not asked by every request
    redis.away = False
    clock.now += rates.AWAY_S
    assert await let_through(one, limit, "ada", 1) == 0  # what was counted meanwhile is not forgotten
    await one._exchange_soon()
    assert sum(redis.counts.values()) == 300


async def test_a_redis_that_hangs_is_waited_for_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "PATIENCE_S", 0.01)
    calls = 0

    class Hanging(Redis):
        def register_script(self, _script: str) -> Callable[..., Any]:
            async def call(**_arguments: object) -> list[int]:
                nonlocal calls
                calls += 1
                await asyncio.Event().wait()
                return []

            return call

    one = process(Hanging(), clock)
    through = await asyncio.gather(*(one.admit(Limit("reads", 100), "ada") for _ in range(150)))
    assert sum(isinstance(rate, Rate) for rate in through) == 100
    assert calls == 1


async def test_memory_is_bounded(redis: Redis, clock: Clock) -> None:
    one, limit = process(redis, clock), Limit("failed", 60)
    for n in range(MOST_TALLIES + 10):
        one.count(limit, n)
    assert len(one._tallies) <= MOST_TALLIES
    clock.now += 3 * WINDOW_S
    one._forget(int(clock.now // WINDOW_S))
    assert one._tallies == {}


async def test_counting_apart_from_asking(redis: Redis, clock: Clock) -> None:
    one, other, limit = process(redis, clock), process(redis, clock), Limit("failed", 3)
    assert one.exceeded(limit, "10.0.0.1") is None
    for _ in range(3):
        assert one.exceeded(limit, "10.0.0.1") is None
        one.count(limit, "10.0.0.1")
    assert isinstance(one.exceeded(limit, "10.0.0.1"), Exceeded)
    assert one.exceeded(limit, "10.0.0.2") is None
    other.count(limit, "10.0.0.1")
    await one._exchange_soon()
    await other._exchange_soon()
    assert isinstance(other.exceeded(limit, "10.0.0.1"), Exceeded)
    clock.now += 3 * WINDOW_S
    assert one.exceeded(limit, "10.0.0.1") is None
    assert EXCHANGE_S < WINDOW_S
