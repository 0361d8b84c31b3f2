"""The same arrivals on the product itself: real Postgres, Valkey and store, trainers whose fits take a known
time (`tests.bench.work.lengths`), and what the database saw of every job."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import httpx
from msgspec import Struct, field

from shared.contracts.states import JobKind
from tests.bench.product import Product
from tests.bench.queueing.workload import Run
from tests.bench.runs import BUDGET_S
from tests.bench.work import fits, lengths
from tests.e2e.person import Person
from tests.e2e.tables import Table

MODELS = fits.EQUAL[:3]
"""Of each run."""
ROWS = 200
LOOK_EVERY_S = 0.25
AGAIN = (409, 503)
"""The same request is still under way; the database has no time for it. Both say when to come again."""
KINDS = (JobKind.PLAN, JobKind.FIT, JobKind.FINISH)
"""Of the jobs of a run."""

SEEN = """
CREATE SCHEMA bench;
CREATE TABLE bench.jobs (
    kind text, subject_id uuid, attempt int, what text, ready_at timestamptz,
    at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION bench.saw_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO bench.jobs VALUES (NEW.kind, NEW.subject_id, NEW.attempt, 'claimed', NEW.created_at);
    RETURN NULL;
END $$;
CREATE FUNCTION bench.saw_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO bench.jobs VALUES (OLD.kind, OLD.subject_id, OLD.attempt, 'ended', OLD.created_at);
    RETURN NULL;
END $$;
CREATE TRIGGER saw_claim AFTER UPDATE ON trainyard.jobs FOR EACH ROW
    WHEN (NEW.attempt > OLD.attempt) EXECUTE FUNCTION bench.saw_claim();
CREATE TRIGGER saw_end AFTER DELETE ON trainyard.jobs FOR EACH ROW EXECUTE FUNCTION bench.saw_end();
"""

JOBS = """
SELECT b.kind, coalesce(c.task_id, b.subject_id) AS task_id, c.position, b.subject_id,
    extract(epoch FROM min(b.ready_at))::float8 AS ready_at,
    extract(epoch FROM min(b.at) FILTER (WHERE what = 'claimed'))::float8 AS claimed_at,
    extract(epoch FROM max(b.at) FILTER (WHERE what = 'claimed'))::float8 AS last_claimed_at,
    extract(epoch FROM max(b.at) FILTER (WHERE what = 'ended'))::float8 AS ended_at
FROM bench.jobs b LEFT JOIN trainyard.candidates c ON c.id = b.subject_id
WHERE b.kind IN ('plan', 'fit', 'finish') GROUP BY b.kind, 2, c.position, b.subject_id
"""
RUNS = """
SELECT t.id, t.user_id, (t.request ->> 'seed')::int AS seed, t.status,
    ARRAY(SELECT c.model_name FROM trainyard.candidates c WHERE c.task_id = t.id ORDER BY c.position)
        AS models,
    ARRAY(SELECT c.status FROM trainyard.candidates c WHERE c.task_id = t.id) AS ended
FROM trainyard.tasks t
"""
OPEN = "SELECT count(*) FROM trainyard.tasks WHERE status IN ('queued', 'running')"


class Arrival(Struct, frozen=True):
    """`user`: which of the people; `seed`: what the lengths of its fits come of."""

    at: float
    user: int
    seed: int


class Seen(Struct, kw_only=True):
    """One real run, in seconds of the database's clock."""

    user: uuid.UUID
    seed: int
    models: list[str]
    jobs: dict[JobKind, list[Any]] = field(default_factory=lambda: defaultdict(list))

    @property
    def at(self) -> float:
        """When its plan was asked for, in the request's transaction."""
        return float(self.jobs[JobKind.PLAN][0]["ready_at"])

    @property
    def wait_s(self) -> float:
        """Until its plan was claimed."""
        return self._waits(JobKind.PLAN)[0]

    @property
    def whole_s(self) -> float:
        """Until its report was written."""
        return float(self.jobs[JobKind.FINISH][0]["ended_at"]) - self.at

    @property
    def waits_s(self) -> list[float]:
        """Of its fits."""
        return self._waits(JobKind.FIT)

    def beside_s(self, kind: JobKind) -> list[float]:
        """What each job of this kind took from its claim to its end, less the fit's own length; those apart
        that were claimed more than once."""
        return [
            job["ended_at"] - job["claimed_at"] - self._length(kind, job)
            for job in self.jobs[kind]
            if job["claimed_at"] == job["last_claimed_at"]
        ]

    def as_it_was(self, began: float) -> Run:
        """With what each of its jobs took, for a simulation that begins at `began`; a fit that was taken over
        as its others, for nobody knows what it would have taken."""
        beside = statistics.median(self.beside_s(JobKind.FIT) or [0.0])
        return Run(
            at=self.at - began,
            user=self.user,
            plan_s=self._took(JobKind.PLAN)[0],
            fits_s=tuple(
                job["ended_at"] - job["claimed_at"]
                if job["claimed_at"] == job["last_claimed_at"]
                else self._length(JobKind.FIT, job) + beside
                for job in self.jobs[JobKind.FIT]
            ),
            finish_s=self._took(JobKind.FINISH)[0],
        )

    def all_waits_s(self) -> list[float]:
        return [wait for kind in KINDS for wait in self._waits(kind)]

    def _took(self, kind: JobKind) -> list[float]:
        return [job["ended_at"] - job["last_claimed_at"] for job in self.jobs[kind]]

    def _waits(self, kind: JobKind) -> list[float]:
        return [job["claimed_at"] - job["ready_at"] for job in self.jobs[kind]]

    def _length(self, kind: JobKind, job: Any) -> float:
        return lengths.of(self.seed, self.models[job["position"]]) if kind is JobKind.FIT else 0.0


class Overheads(Struct, frozen=True):
    """What jobs take besides the fits' own lengths, and how long a free slot takes to claim, one figure for
    each that was seen on an idle fleet."""

    plan_s: list[float]
    fit_s: list[float]
    finish_s: list[float]
    wake_s: list[float]

    def drawn(self, seen: Seen, began: float, chance: random.Random) -> Run:
        """This run, for a simulation that begins at `began`."""
        return Run(
            at=seen.at - began,
            user=seen.user,
            plan_s=chance.choice(self.plan_s),
            fits_s=tuple(lengths.of(seen.seed, m) + chance.choice(self.fit_s) for m in seen.models),
            finish_s=chance.choice(self.finish_s),
        )


class Replay:
    """People of a running product, each of whom has a table."""

    def __init__(
        self, stack: Product, owner: asyncpg.Connection, people: Sequence[tuple[Person, str]]
    ) -> None:
        self.stack, self.owner, self.people = stack, owner, people
        self._http = httpx.AsyncClient(base_url=stack.url, timeout=60)

    async def of(
        self, arrivals: Sequence[Arrival], meanwhile: Callable[[], None] | None = None, after_s: float = 0.0
    ) -> list[Seen]:
        """Ask for every run at its time, whatever has become of the others; all of them at their ends.
        `meanwhile` is called once, `after_s` after the first."""
        await self.owner.execute("TRUNCATE bench.jobs")
        known = {row["id"] for row in await self.owner.fetch("SELECT id FROM trainyard.tasks")}
        loop = asyncio.get_running_loop()
        began = loop.time()
        handle = loop.call_later(after_s, meanwhile) if meanwhile else None
        async with asyncio.TaskGroup() as posts:
            for arrival in arrivals:
                await asyncio.sleep(max(began + arrival.at - loop.time(), 0))
                posts.create_task(self._post(arrival))
        while await self.owner.fetchval(OPEN):
            await asyncio.sleep(LOOK_EVERY_S)
        if handle is not None:
            handle.cancel()
        return await self._seen(known)

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, arrival: Arrival) -> None:
        person, file_id = self.people[arrival.user]
        body = {
            "file_id": file_id,
            "target": fits.TARGET,
            "models": list(MODELS),
            "seed": arrival.seed,
            "time_budget_s": BUDGET_S,
        }
        who = {
            "Authorization": person.http.headers["Authorization"],
            # asked again after a 503 it is the same run
            "Idempotency-Key": f"queue-{arrival.seed}",
        }
        # a machine that is busy otherwise may not take many at once, and says when to come again
        while (answer := await self._http.post("/ml/train", json=body, headers=who)).status_code in AGAIN:
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        answer.raise_for_status()

    async def _seen(self, known: set[uuid.UUID]) -> list[Seen]:
        runs: dict[uuid.UUID, Seen] = {}
        for row in await self.owner.fetch(RUNS):
            if row["id"] in known:
                continue
            if row["status"] != "completed" or set(row["ended"]) != {"done"}:
                raise RuntimeError(f"a run is {row['status']}, its models {row['ended']}")
            runs[row["id"]] = Seen(user=row["user_id"], seed=row["seed"], models=row["models"])
        for row in await self.owner.fetch(JOBS):
            runs[row["task_id"]].jobs[JobKind(row["kind"])].append(row)
        for seen in runs.values():
            seen.jobs[JobKind.FIT].sort(key=lambda job: job["position"])
        return sorted(runs.values(), key=lambda seen: seen.at)


@contextlib.asynccontextmanager
async def replaying(stack: Product, people: int) -> AsyncIterator[Replay]:
    """`people` users with a profiled table each, and triggers that note when a job is claimed and ends."""
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    await owner.execute(SEEN)
    content = fits.table(ROWS).to_csv(index=False).encode()
    known = []
    for number in range(people):
        person = Person(stack.url, f"queue-{number}@example.org")
        file_id = person.upload(Table("table.csv", content))["file_id"]
        assert person.profile(file_id).status_code == 200
        known.append((person, file_id))
    replay = Replay(stack, owner, known)
    try:
        yield replay
    finally:
        await replay.close()
        for person, _ in known:
            person.close()
        await owner.close()


async def overheads(replay: Replay, runs: int) -> Overheads:
    """One run after another on an idle fleet, the first one left out: it brings the table to the trainers."""
    alone = [seen for number in range(runs + 1) for seen in await replay.of([Arrival(0.0, 0, number)])][1:]
    held = {kind: [took for seen in alone for took in seen.beside_s(kind)] for kind in KINDS}
    woken = [wait for seen in alone for wait in seen.all_waits_s()]
    return Overheads(held[JobKind.PLAN], held[JobKind.FIT], held[JobKind.FINISH], woken)
