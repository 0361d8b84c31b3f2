"""Which job is next, as `shared.db.jobs.claim` decides it, in memory.

`tests/integration/test_claim_order.py` has both serve the same random queues: neither changes alone.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable
from typing import Any, Protocol

from msgspec import Struct

from shared.contracts.states import JobKind

User = Hashable
NEVER = -math.inf


class Job(Struct, eq=False, kw_only=True):
    """A piece of work that waits. Times are seconds of any clock; `work` is the caller's."""

    kind: JobKind
    user: User
    queued_at: float
    """Its place among the same user's work."""
    created_at: float
    work: Any = None

    @property
    def place(self) -> tuple[bool, float, float]:
        return (self.kind is not JobKind.PROFILE, self.queued_at, self.created_at)


class Queue(Protocol):
    def add(self, job: Job) -> None: ...
    def claim(self, now: float, *, heavy: bool) -> Job | None: ...
    def release(self, user: User) -> None: ...
    def __len__(self) -> int: ...


class FairQueue:
    """Reports first. Then users: whoever has least running, then whoever was served longest ago, nobody above
    `user_cap`. Within a user profiles first, then by the time of the request.

    Each change of a user's standing puts one more entry into a heap; the ones before it are void, and dropped
    where they come up.
    """

    def __init__(self, user_cap: int = 64) -> None:
        self._cap = user_cap
        self._reports: dict[User, list[tuple[Any, int, Job]]] = {}
        self._heavy: dict[User, list[tuple[Any, int, Job]]] = {}
        self._standing: dict[int, list[tuple[Any, ...]]] = {id(self._reports): [], id(self._heavy): []}
        self._running: defaultdict[User, int] = defaultdict(int)
        self._served: dict[User, float] = {}
        self._count = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, job: Job) -> None:
        group = self._reports if job.kind is JobKind.FINISH else self._heavy
        jobs = group.setdefault(job.user, [])
        heapq.heappush(jobs, (job.place, next(self._count), job))
        self._size += 1
        if jobs[0][2] is job:
            self._stand(group, job.user)

    def claim(self, now: float, *, heavy: bool) -> Job | None:
        """Take the next job; it counts as running until `release`. `heavy`: not reports alone."""
        for group in (self._reports, self._heavy) if heavy else (self._reports,):
            user = self._next(group)
            if user is None:
                continue
            jobs = group[user]
            job = heapq.heappop(jobs)[2]
            if not jobs:
                del group[user]
            self._size -= 1
            self._running[user] += 1
            self._served[user] = now
            self._moved(user)
            return job
        return None

    def release(self, user: User) -> None:
        """One of the user's jobs has ended, or its lease has run out."""
        self._running[user] -= 1
        self._moved(user)

    def _moved(self, user: User) -> None:
        for group in (self._reports, self._heavy):
            if user in group:
                self._stand(group, user)

    def _stand(self, group: dict[User, list[Any]], user: User) -> None:
        if self._running[user] < self._cap:
            heapq.heappush(self._standing[id(group)], (*self._key(group, user), next(self._count), user))

    def _key(self, group: dict[User, list[Any]], user: User) -> tuple[Any, ...]:
        return (self._running[user], self._served.get(user, NEVER), group[user][0][:2])

    def _next(self, group: dict[User, list[Any]]) -> User | None:
        standing = self._standing[id(group)]
        while standing:
            *key, _, user = standing[0]
            if user in group and self._running[user] < self._cap and tuple(key) == self._key(group, user):
                return user
            heapq.heappop(standing)
        return None


class FifoQueue:
    """What the same fleet does without fairness: reports first, then whoever asked first."""

    def __init__(self) -> None:
        self._reports: list[tuple[Any, int, Job]] = []
        self._heavy: list[tuple[Any, int, Job]] = []
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._reports) + len(self._heavy)

    def add(self, job: Job) -> None:
        group = self._reports if job.kind is JobKind.FINISH else self._heavy
        heapq.heappush(group, ((job.queued_at, job.created_at), next(self._count), job))

    def claim(self, now: float, *, heavy: bool) -> Job | None:
        for group in (self._reports, self._heavy) if heavy else (self._reports,):
            if group:
                return heapq.heappop(group)[2]
        return None

    def release(self, user: User) -> None:
        """Who has how much running makes no difference."""
