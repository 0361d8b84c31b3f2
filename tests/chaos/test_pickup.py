"""How long an idle fleet takes to pick a request up, beside arq's own polling in the same run.

A measurement, not a timed test: in a short run it only shows that there is something to measure.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from arq.connections import ArqRedis, RedisSettings, create_pool

from deploy.processes import PROJECT
from tests.chaos.arq_default import QUEUE, TOOK
from tests.chaos.fleet import TRAINERS, Fleet
from tests.chaos.ledger import Ledger
from tests.chaos.rounds import LONG, rounds
from tests.chaos.runs import Runs

SAMPLES = 60 if LONG else 3


def test_pick_up_of_an_idle_fleet(fleet: Fleet, runs: Runs, ledger: Ledger) -> None:
    if LONG:  # the product itself, which takes longer to start
        fleet.stop_and_start(*TRAINERS, module="services.trainer")
    ours: list[float] = []
    polled: list[float] = []
    chance = next(rounds("pick-up", 1))
    try:
        with bare_arq(fleet):
            runs.begin(["naive_bayes"])
            runs.person.ended(runs.tasks.pop())
            for _ in range(SAMPLES):
                time.sleep(chance.uniform(0, 0.5))  # anywhere between two polls
                ours.append(picked_up(fleet, runs))
                polled.append(fleet.back.run(arq_picked_up(fleet.env["REDIS_URL"])))
    finally:
        if LONG:
            fleet.stop_and_start(*TRAINERS)
    ledger.paragraphs.append(
        f"Pick-up on an idle fleet, {SAMPLES} requests each, in turn. From `POST /ml/train` to its `plan`"
        f" claimed: p50 {said(ours, 0.5)}, p95 {said(ours, 0.95)}. A bare arq worker (`poll_delay=0.5`) on"
        f" the same Valkey, from `enqueue_job` to the job's first line: p50 {said(polled, 0.5)},"
        f" p95 {said(polled, 0.95)}."
    )
    assert len(ours) == len(polled) == SAMPLES
    assert statistics.median(ours) < statistics.median(polled)


def picked_up(fleet: Fleet, runs: Runs) -> float:
    """Seconds from before the request until the database has the claim; the run is over then."""
    began = time.time()
    task_id = runs.begin(["naive_bayes"])
    assert runs.person.ended(task_id)["status"] == "completed"
    claimed = fleet.back.value(
        "SELECT extract(epoch FROM at)::float8 FROM chaos.claims WHERE kind = 'plan' AND subject_id = $1",
        uuid.UUID(task_id),
    )
    return float(claimed - began)


@contextmanager
def bare_arq(fleet: Fleet) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.arq_default"],
        env={"PATH": os.environ["PATH"], "REDIS_URL": fleet.env["REDIS_URL"]},
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        fleet.back.run(arq_picked_up(fleet.env["REDIS_URL"]))  # it has started
        yield
    finally:
        process.kill()
        process.wait()


async def arq_picked_up(url: str) -> float:
    redis: ArqRedis = await create_pool(RedisSettings.from_dsn(url), default_queue_name=QUEUE)
    try:
        async with asyncio.timeout(30):
            await redis.enqueue_job("note", time.time())
            _, took = await redis.blpop([TOOK])
            return float(took)
    finally:
        await redis.aclose()


def said(samples: list[float], share: float) -> str:
    """A percentile (nearest rank) in milliseconds."""
    rank = math.ceil(share * len(samples))
    return f"{sorted(samples)[rank - 1] * 1000:.0f} ms"
