"""What a run, a second of a fit, a worker that waits, a poll and an upload ask of each server, and what they
leave behind: what docs/scaling.md is worked out from (`make simulate`).

Counted by the servers (pg_stat_statements, INFO commandstats, processor time by the kernel), less what the
fleet asks for anyway. Fits are empty where it is orchestration that counts, and real where bytes are.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any

import asyncpg
from arq.connections import ArqRedis, RedisSettings, create_pool
from msgspec import Struct

from tests.bench import product, report
from tests.bench.bench_cost import COUNTED
from tests.bench.http_load import per_second, request
from tests.bench.product import Product
from tests.bench.runs import BUDGET_S, ended
from tests.bench.scaling import depth, footprint, stored
from tests.bench.scaling.footprint import Footprint, Use
from tests.bench.scaling.metering import Meter
from tests.bench.work import fits, steps
from tests.e2e import tables
from tests.e2e.person import Person
from tests.e2e.tables import Table

TITLE = "What a run asks for and leaves behind"
LONG = True
RUNS = int(os.environ.get("BENCH_ROUNDS") or 12)
SIZES = (1, 8)
FLEET = 4
"""Trainers, of which all but the first are only told of the work."""
IDLE_S = 30.0
POLLED = 8000
"""Runs that are polled in turn: so many that none is asked for again while what was read of it is fresh."""
OTHERS = """
INSERT INTO trainyard.tasks (id, user_id, name, request, status, stage)
SELECT uuidv7(), $1, 'another', '{"target": "any"}', 'completed', 'done' FROM generate_series(1, $2::int)
"""
POLLED_S = 3.0
KINDS = ("api", "trainer", "packager")
CONNECTIONS = 16
UPLOAD_MIB = 64
BUDGET_OF_REAL_S = 60.0
COPIES = int(os.environ.get("BENCH_ROWS") or 3000)
REAL: tuple[tuple[Any, str], ...] = (
    (tables.wine(), "cultivar"),
    (tables.diabetes(), "progression"),
    (tables.flats(2000), "rent"),
)


class Fleet(Struct):
    """The product under measurement, and who asks it."""

    stack: Product
    owner: asyncpg.Connection
    meter: Meter
    person: Person
    file_id: str

    def trainers(self, *numbers: int, kind: str = "quick") -> None:
        """Start these, their fits a step of `work/steps.py`."""
        for number in numbers:
            self.stack.start(f"trainer-{number}", module=["tests.bench.work.trainer", kind])

    async def runs(self, models: int, idle: Use, runs: int = RUNS) -> Use:
        """What one run of so many models asks for, beyond what is asked for anyway."""
        await asyncio.to_thread(self._run, models)  # connections and tables are there then
        async with self.meter.metered() as found:
            for _ in range(runs):
                await asyncio.to_thread(self._run, models)
        return found.use.beyond(idle) / runs

    def _run(self, models: int) -> None:
        asked = list(fits.EQUAL[:models])
        task = self.person.train(self.file_id, fits.TARGET, models=asked, time_budget_s=BUDGET_S)
        ended(self.person, task["task_id"])


def measure() -> list[str]:
    measured = f"{report.today()}, {report.machine()}"
    with product.running("api", postgres=COUNTED) as stack:
        found = asyncio.run(_measure(stack, measured))
    footprint.save(found)
    return _lines(found)


async def _measure(stack: Product, measured: str) -> Footprint:
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    await owner.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    redis = await create_pool(RedisSettings.from_dsn(stack.env["REDIS_URL"]))
    meter = Meter(stack, owner, redis)
    person = Person(stack.url, "footprint@example.org")
    try:
        asked = await _asked(stack, owner, redis, meter, person)
        left = await _left(stack, owner, meter, person)
        return Footprint(measured=measured, **asked, **left)
    finally:
        person.close()
        await redis.aclose()
        await owner.close()


# --- what is asked for ------------------------------------------------------------------------------


async def _asked(
    stack: Product, owner: asyncpg.Connection, redis: ArqRedis, meter: Meter, person: Person
) -> dict[str, Any]:
    """Everything of a `Footprint` that empty fits tell."""
    api = await meter.idle(IDLE_S)
    upload = await _upload(meter, person, api)
    stack.start("packager-1")
    with_packager = await meter.idle(IDLE_S)
    content = fits.table(200).to_csv(index=False).encode()
    fleet = Fleet(stack, owner, meter, person, person.upload(Table("table.csv", content))["file_id"])
    fleet.trainers(1)
    assert person.profile(fleet.file_id).status_code == 200
    one = await meter.idle(IDLE_S)
    few, many = SIZES
    least, keys = await fleet.runs(few, one), await redis.dbsize()
    most = await fleet.runs(many, one)
    keys, busy = await redis.dbsize() - keys, most + one * most.seconds
    model = (most - least) / (many - few)
    fleet.trainers(*range(2, FLEET + 1))
    all_idle = await meter.idle(IDLE_S)
    told = await fleet.runs(many, all_idle)
    poll, polls_per_s = await _polls(fleet, all_idle)
    connections = {f"connections_{kind}": await meter.connections(f"trainyard-{kind}") for kind in KINDS}
    connections["connections_trainer"] = -(-connections["connections_trainer"] // FLEET)
    stack.stop(*(f"trainer-{number}" for number in range(1, FLEET + 1)))
    fleet.trainers(1, kind="waiting")
    lasting = await fleet.runs(many, one, runs=2)
    stack.stop("trainer-1")
    return {
        "run": least - model * few,
        "model": model,
        "fit_second": (lasting - most) / (many * steps.WAITING_S),
        "job_and_trainer": (told - most) / ((many + 2) * (FLEET - 1)),
        "idle_api": api,
        "idle_packager": with_packager - api,
        "idle_trainer": (all_idle - one) / (FLEET - 1),
        "poll": poll,
        "polls_per_s": polls_per_s,
        "upload_mib": upload,
        "redis_command_s": busy.redis_s / busy.redis_commands,
        "redis_keys": keys / (RUNS + 1),
        **connections,
    }


async def _upload(meter: Meter, person: Person, idle: Use) -> Use:
    """For each MiB of a table that goes through the API."""
    content = b"a,b\n" + os.urandom(UPLOAD_MIB * 2**19).hex().encode()
    async with meter.metered() as found:
        await asyncio.to_thread(person.upload, Table("large.csv", content))
    return found.use.beyond(idle) / UPLOAD_MIB


async def _polls(fleet: Fleet, idle: Use) -> tuple[Use, float]:
    """A status poll that is answered 304, each of another run, and how many one process answers a second."""
    await fleet.owner.execute(OTHERS, uuid.UUID(fleet.person.id), POLLED)
    known = await fleet.owner.fetch("SELECT id, version FROM trainyard.tasks")
    who = {"Authorization": str(fleet.person.http.headers["Authorization"])}
    requests = [
        request(f"{fleet.stack.url}/ml/status/{row['id']}", who | {"If-None-Match": f'W/"{row["version"]}"'})
        for row in known
    ]
    async with fleet.meter.metered() as found:
        rate = await per_second(
            fleet.stack.url, requests, status=304, connections=CONNECTIONS, seconds=POLLED_S
        )
    return found.use.beyond(idle) / (rate * POLLED_S), rate


# --- what is left -----------------------------------------------------------------------------------


async def _left(stack: Product, owner: asyncpg.Connection, meter: Meter, person: Person) -> dict[str, Any]:
    """Everything of a `Footprint` that real fits tell, and what is made of copies of them."""
    stack.start("trainer-1")
    idle, uses, runs, models = await meter.idle(IDLE_S), [], [], 0
    for table, target in REAL:
        file_id = (await asyncio.to_thread(person.upload, table))["file_id"]
        assert (await asyncio.to_thread(person.profile, file_id)).status_code == 200
        async with meter.metered() as found:
            task = person.train(file_id, target, time_budget_s=BUDGET_OF_REAL_S)
            task = await asyncio.to_thread(person.ended, task["task_id"])
        assert task["status"] == "completed", task
        uses.append(found.use.beyond(idle))
        runs.append(uuid.UUID(task["task_id"]))
        models += len(task["candidates"])
    stack.stop("trainer-1", "packager-1")
    objects, store_bytes = await stored.objects(stack, [f"{person.id}/{run}/" for run in runs])
    await owner.execute("DELETE FROM trainyard.tasks WHERE id <> ALL ($1)", runs)
    worker = await _worker(stack)
    nets = [await depth.net(owner, worker)]
    before = await stored.sizes(owner)
    await stored.copied(owner, runs, COPIES)
    after = await stored.sizes(owner)
    nets.append(await depth.net(owner, worker))
    user_bytes = await stored.of_a_user(owner)
    depths = await depth.depths(owner, worker)
    await worker.close()
    return {
        "table_bytes": {t: round((after[t][0] - before[t][0]) / COPIES) for t in after},
        "row_bytes": {t: round((after[t][1] - before[t][1]) / COPIES) for t in after},
        "user_bytes": user_bytes,
        "store_bytes": round(store_bytes / len(runs)),
        "store_objects": round(objects / len(runs)),
        "real_runs": len(runs),
        "real_models": round(models / len(runs)),
        "store_requests": sum(use.store_requests for use in uses) / len(uses),
        "wal_bytes": round(sum(use.wal_bytes for use in uses) / len(uses)),
        "nets": nets,
        "depths": depths,
    }


async def _worker(stack: Product) -> asyncpg.Connection:
    """As the workers log in, and as they read and write JSON."""
    return await asyncpg.connect(stack.env["WORKER_DATABASE_URL"])


# --- what it says -----------------------------------------------------------------------------------

SHOWN = (
    ("a run, without its models", "run"),
    ("each model of it, fitted in no time", "model"),
    ("each second of a fit", "fit_second"),
    ("each job, for each further trainer", "job_and_trainer"),
    ("a status poll, 304", "poll"),
    ("a MiB uploaded", "upload_mib"),
    ("an idle API process, a second", "idle_api"),
    ("an idle trainer, a second", "idle_trainer"),
    ("an idle packager, a second", "idle_packager"),
)


def _lines(found: Footprint) -> list[str]:
    rows = []
    for what, name in SHOWN:
        use: Use = getattr(found, name)
        rows.append(
            (
                what,
                # less than nothing is what the noise of the idle fleet leaves of nothing
                *(f"{max(value, 0.0):.2f}" for value in (use.statements, use.commits, use.postgres_s * 1e3)),
                *(f"{max(value, 0.0):.2f}" for value in (use.redis_commands, use.redis_s * 1e3)),
                *(f"{max(value, 0.0):.2f}" for value in (use.api_s * 1e3, use.workers_s * 1e3)),
                f"{max(use.store_requests, 0.0):.2f}",
            )
        )
    head = ("for", "statements", "of which COMMIT", "Postgres, ms of a core")
    head += ("Redis commands", "Redis, ms", "API, ms", "workers, ms", "store requests")
    whole, alone = sum(found.table_bytes.values()), sum(found.row_bytes.values())
    each = ", ".join(f"`{name}` {size / 1e3:,.1f} kB" for name, size in found.table_bytes.items())
    return [
        f"Means of {RUNS} runs; processor time is that of the servers' processes.",
        "",
        *report.table(head, rows),
        "",
        f"A run of {found.real_models} real models leaves {whole / 1e3:,.1f} kB in Postgres ({each}; rows"
        f" without indexes {alone / 1e3:,.1f} kB), {found.store_objects} objects of"
        f" {found.store_bytes / 1e6:,.2f} MB together in the store ({found.store_requests:.0f} requests), and"
        f" {max(found.redis_keys, 0):.1f} keys in Redis. It writes {found.wal_bytes / 1e6:,.2f} MB of WAL."
        f" Means of {found.real_runs} runs, whose rows were copied {COPIES:,} times. A user with one file:"
        f" {found.user_bytes / 1e3:,.1f} kB. A command takes Redis {found.redis_command_s * 1e6:.0f} µs."
        f" Connections to Postgres meanwhile: {found.connections_api} of the API's process,"
        f" {found.connections_trainer} of a trainer's, {found.connections_packager} of a packager's.",
        "",
        *report.table(
            ("jobs that wait", "a claim, ms of a core", "a look at the backlog, ms of a core"),
            [(f"{d.waiting:,}", f"{d.claim_ms:.2f}", f"{d.backlog_ms:.2f}") for d in found.depths],
        ),
        "",
        *report.table(
            ("runs in the database", "the look for work without a job, ms of a core"),
            [(f"{n.runs:,}", f"{n.ms:.2f}") for n in found.nets],
        ),
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
