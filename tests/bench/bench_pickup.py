"""How long an idle fleet takes to pick a request up, beside arq's own polling in the same run and in turn.

Ours is the whole way: from before `POST /ml/train` is sent until Postgres has the claim of its `plan`, both
by the clock of one machine. The anchor is from `enqueue_job` to the first line of a bare arq worker's job
(`tests/chaos/arq_default.py`), on the same Valkey.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Sequence

import asyncpg
from arq.connections import RedisSettings, create_pool
from msgspec import Struct

from tests.bench import product, report
from tests.bench.arq import bare_worker, picked_up
from tests.bench.product import Product
from tests.bench.report import percentile
from tests.chaos.arq_default import QUEUE
from tests.e2e import tables
from tests.e2e.person import Person

TITLE = "Pick-up"
SAMPLES = int(os.environ.get("BENCH_ROUNDS") or 60)
BETWEEN_POLLS_S = 0.5
"""A request comes anywhere between two of arq's polls."""
SEED = 0
MODEL = "naive_bayes"

CLAIMS = """
CREATE SCHEMA bench;
CREATE TABLE bench.claims (subject_id uuid, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION bench.claimed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO bench.claims VALUES (NEW.subject_id);
    RETURN NULL;
END $$;
CREATE TRIGGER claimed AFTER UPDATE ON trainyard.jobs FOR EACH ROW
    WHEN (NEW.kind = 'plan' AND NEW.attempt > OLD.attempt) EXECUTE FUNCTION bench.claimed();
"""

PICKED_UP = """
SELECT extract(epoch FROM min(b.at))::float8 AS claimed,
    extract(epoch FROM min(c.started_at))::float8 AS fitted
FROM bench.claims b JOIN trainyard.candidates c ON c.task_id = b.subject_id WHERE b.subject_id = $1
"""


class Sample(Struct):
    """Seconds: from the POST to the claim, to its answer, to the first fit; arq's."""

    claimed: float
    answered: float
    fitted: float
    arq: float


def measure() -> list[str]:
    with product.running("api", "trainer-1") as stack, bare_worker(stack.env["REDIS_URL"]):
        return _lines(asyncio.run(_samples(stack)))


async def _samples(stack: Product) -> list[Sample]:
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    await owner.execute(CLAIMS)
    redis = await create_pool(RedisSettings.from_dsn(stack.env["REDIS_URL"]), default_queue_name=QUEUE)
    person = Person(stack.url, "pick-up@example.org")
    chance = random.Random(SEED)
    try:
        file_id = person.upload(tables.wine())["file_id"]
        assert person.profile(file_id).status_code == 200
        samples = []
        for _ in range(SAMPLES + 1):
            await asyncio.sleep(chance.uniform(0, BETWEEN_POLLS_S))
            claimed, answered, fitted = await _picked_up(owner, person, file_id)
            await asyncio.sleep(chance.uniform(0, BETWEEN_POLLS_S))
            samples.append(Sample(claimed, answered, fitted, await picked_up(redis)))
        return samples[1:]  # the first one warms up
    finally:
        person.close()
        await redis.aclose()
        await owner.close()


async def _picked_up(owner: asyncpg.Connection, person: Person, file_id: str) -> tuple[float, float, float]:
    """When the run was claimed, answered and first fitted, in seconds from the request; it is over then."""
    began = time.time()
    task_id = person.train(file_id, "cultivar", models=[MODEL], time_budget_s=60)["task_id"]
    answered = time.time()
    assert person.ended(task_id)["status"] == "completed"
    row = await owner.fetchrow(PICKED_UP, uuid.UUID(task_id))
    return row["claimed"] - began, answered - began, row["fitted"] - began


def _lines(samples: Sequence[Sample]) -> list[str]:
    arq = [sample.arq for sample in samples]
    shown = [
        ("POST sent → `plan` claimed", [s.claimed for s in samples], ("<= 25 ms", "<= 75 ms")),
        ("POST sent → its 202", [s.answered for s in samples], ("", "")),
        ("POST sent → first fit begun, profile known", [s.fitted for s in samples], ("", "")),
    ]
    rows = []
    for what, ours, goals in shown:
        for share, goal in zip((0.5, 0.95), goals, strict=True):
            mine, polled = percentile(ours, share), percentile(arq, share)
            cells = (f"{mine * 1e3:,.1f} ms", f"{polled * 1e3:,.0f} ms", f"{mine / polled:.3f}", goal)
            rows.append((f"{what}, p{share * 100:.0f}", *cells))
    return [
        f"{len(samples)} requests each to an idle fleet of one trainer, in turn, at random moments.",
        "",
        *report.table(("what", "ours", "arq, poll_delay=0.5", "ratio", "goal"), rows),
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
