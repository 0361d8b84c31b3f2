"""How often something may be done a minute, counted over all API processes without waiting for Redis.

Each process counts what it lets through, and every quarter of a second tells Redis and learns from it
what the others did. In between it lets through a small part of what was left, and one that needs more
asks Redis at once; so together they go over a limit by a few percent at most (decision 0010). While Redis
is away each process counts for itself.

The window slides: of the minute before, the part counts that is still within the last sixty seconds.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import structlog
from arq.connections import ArqRedis
from msgspec import Struct
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

WINDOW_S = 60
EXCHANGE_S = 0.25
PATIENCE_S = 0.25
"""How long an exchange may take, and so how long a request may wait for one."""
AWAY_S = 2.0
"""How long Redis is not asked again after it did not answer."""
PART = 64
"""What a process lets through between two exchanges: the 64th part of what was left at the last one, or of
the limit where that was too long ago to know; so N processes are at most N/64 over it."""
MOST_TALLIES = 100_000
A_CALL = 500

PREFIX = "trainyard:rate"
_EXCHANGE = """
local out = {}
for i = 1, #KEYS, 2 do
    out[i] = redis.call('INCRBY', KEYS[i], ARGV[(i + 1) / 2])
    redis.call('EXPIRE', KEYS[i], 150)
    out[i + 1] = tonumber(redis.call('GET', KEYS[i + 1]) or 0)
end
return out
"""
"""For each pair of keys, this minute's and the one's before: add to the first, answer both."""


class Limit(Struct, frozen=True):
    """`most` times a minute; 0: no limit."""

    name: str
    most: int


class Rate(Struct, frozen=True):
    """Where somebody stands: how often more, and seconds until there is more again."""

    limit: Limit
    remaining: int
    reset_s: int


class Exceeded(Struct, frozen=True):
    limit: Limit
    retry_after_s: int


class _Tally:
    __slots__ = ("before", "fresh_until", "key", "left", "limit", "shared", "unsent", "window")

    def __init__(self, limit: Limit, key: str, window: int) -> None:
        self.limit = limit
        self.key = key
        self.window = window
        self.before = 0
        """What everybody did in the minute before."""
        self.shared = 0
        """What everybody did in this one, as far as is known."""
        self.unsent = 0
        """What was done here and not told yet."""
        self.left = limit.most
        """How much was left at the last exchange."""
        self.fresh_until = -math.inf

    def roll(self, window: int) -> None:
        self.before = self.shared + self.unsent if window == self.window + 1 else 0
        self.window, self.shared, self.unsent = window, 0, 0
        self.fresh_until = -math.inf

    def used(self, now: float) -> float:
        return self.before * (1 - now / WINDOW_S % 1) + self.shared + self.unsent

    def allowance(self, now: float) -> int:
        """How much may be let through between two exchanges."""
        return max(1, (self.left if now < self.fresh_until else self.limit.most) // PART)

    def wait_s(self, now: float) -> int:
        """Seconds until once more is possible. The part of the minute before shrinks evenly; in the next
        minute what was done in this one does."""
        window, most = WINDOW_S, self.limit.most
        into = now % window
        done = self.shared + self.unsent
        if done < most:
            until = window * (1 - (most - 1 - done) / self.before) - into if self.before else 0.0
        else:
            until = window - into + window * (1 - (most - 1) / done)
        return max(1, math.ceil(until))


class Rates:
    """One a process. `run` has to run beside it; `clock` gives seconds, the same for all processes."""

    def __init__(self, redis: ArqRedis, clock: Callable[[], float] = time.time) -> None:
        self._exchange_script = redis.register_script(_EXCHANGE)
        self._clock = clock
        self._tallies: dict[tuple[str, object], _Tally] = {}
        self._unsent: dict[str, _Tally] = {}
        self._under_way: asyncio.Task[None] | None = None
        self._away_until = -math.inf

    async def admit(self, limit: Limit, who: object) -> Rate | Exceeded:
        """Count one more time, if it is within the limit."""
        now = self._clock()
        tally = self._tally(limit, who, now)
        while tally.used(now) + 1 <= limit.most:
            if tally.unsent < tally.allowance(now) or now < self._away_until:
                break
            await self._exchange_soon()  # which lets somebody through at least
            now = self._clock()
            tally = self._tally(limit, who, now)
        else:
            return Exceeded(limit, tally.wait_s(now))
        self._add(tally)
        reset_s = WINDOW_S - int(now) % WINDOW_S
        return Rate(limit, int(limit.most - tally.used(now)), reset_s)

    def exceeded(self, limit: Limit, who: object) -> Exceeded | None:
        """Whether it was done too often, without counting."""
        now = self._clock()
        tally = self._tallies.get((limit.name, who))
        if tally is None or tally.window + 1 < now // WINDOW_S:
            return None
        tally = self._tally(limit, who, now)
        return Exceeded(limit, tally.wait_s(now)) if tally.used(now) + 1 > limit.most else None

    def count(self, limit: Limit, who: object) -> None:
        """Once more, whatever the limit."""
        self._add(self._tally(limit, who, self._clock()))

    def _add(self, tally: _Tally) -> None:
        tally.unsent += 1
        self._unsent[tally.key] = tally

    def _tally(self, limit: Limit, who: object, now: float) -> _Tally:
        window = int(now // WINDOW_S)
        tally = self._tallies.get((limit.name, who))
        if tally is None:
            if len(self._tallies) >= MOST_TALLIES:
                self._forget(window)
            tally = _Tally(limit, f"{limit.name}:{who}", window)
            self._tallies[limit.name, who] = tally
        elif tally.window != window:
            tally.roll(window)
        return tally

    def _forget(self, window: int) -> None:
        """Those that no limit depends on any more; where there are none, the oldest tenth."""
        self._tallies = {k: t for k, t in self._tallies.items() if t.window >= window - 1}
        if len(self._tallies) >= MOST_TALLIES:
            for key in list(islice(self._tallies, MOST_TALLIES // 10)):
                del self._tallies[key]

    async def run(self) -> None:
        """Exchange with Redis for ever."""
        pruned = 0
        try:
            while True:
                await asyncio.sleep(EXCHANGE_S)
                if self._unsent and self._clock() >= self._away_until:
                    await self._exchange_soon()
                if (window := int(self._clock() // WINDOW_S)) != pruned:
                    pruned = window
                    self._forget(window)
        finally:
            if self._under_way is not None:
                await asyncio.wait([self._under_way], timeout=2 * PATIENCE_S)

    async def _exchange_soon(self) -> None:
        """Wait for an exchange, the one under way or a new one. Never raises."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._exchange())
        await asyncio.shield(self._under_way)

    async def _exchange(self) -> None:
        told, self._unsent = self._unsent, {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                tallies = list(told.values())
                for begin in range(0, len(tallies), A_CALL):
                    await self._exchange_part(tallies[begin : begin + A_CALL])
        except (RedisError, OSError, TimeoutError) as error:
            # perhaps it was counted there, perhaps not: kept, as it counts here in any case
            self._unsent = {key: t for key, t in told.items() if t.unsent} | self._unsent
            if self._away_until == -math.inf:
                log.warning("rates are counted here alone", reason=f"{type(error).__name__}: {error}")
            self._away_until = self._clock() + AWAY_S
        else:
            self._away_until = -math.inf

    async def _exchange_part(self, part: list[_Tally]) -> None:
        sent = [(tally, tally.window, tally.unsent) for tally in part]
        keys = [f"{PREFIX}:{t.key}:{w}" for t, window, _ in sent for w in (window, window - 1)]
        answer: list[Any] = await self._exchange_script(keys=keys, args=[n for _, _, n in sent])
        now = self._clock()
        for (tally, window, count), shared, before in zip(sent, answer[::2], answer[1::2], strict=True):
            if tally.window != window:
                continue  # the minute is over: it was told, and counts in `before`
            tally.unsent -= count
            tally.shared = int(shared)
            # what was done here at the end of that minute may not have been told
            tally.before = max(tally.before, int(before))
            tally.left = max(0, int(tally.limit.most - tally.used(now)))
            tally.fresh_until = now + 2 * EXCHANGE_S
