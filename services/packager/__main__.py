"""`python -m services.packager`: the process that packs ZIPs, saves models and purges."""

from __future__ import annotations

import os
import sys

import uvloop

from services.packager.jobs import PackagerJobs
from services.packager.sweep import Sweep
from shared.errors import ConfigurationError
from shared.logging import configure
from shared.metrics import serve
from shared.queue import PACKAGER_QUEUE
from shared.resources import open_resources
from shared.settings import (
    S3,
    Logging,
    Postgres,
    Redis,
    Retention,
    Signing,
    Tracing,
    Worker,
    load,
    require,
    secrets_of,
)
from shared.signing import KeyRing
from shared.tracing import Exporting
from shared.worker import Slots, run_worker, stop_on_signals, worker_name

LANES = 4
"""Jobs at a time: they wait for the store, not for the processor."""


async def main() -> None:
    worker, retention = load(Worker, os.environ), load(Retention, os.environ)
    name = worker_name(worker)
    configure(load(Logging, os.environ), service="packager", instance=name, secrets=secrets_of(os.environ))
    with Exporting(load(Tracing, os.environ), service="packager", instance=name):
        await run(worker, retention)


async def run(worker: Worker, retention: Retention) -> None:
    stop = stop_on_signals()
    postgres, s3 = load(Postgres, os.environ), load(S3, os.environ)
    keys = KeyRing.parse(load(Signing, os.environ).artifact_hmac_keys)
    require(postgres, "worker_database_url")
    async with open_resources(
        postgres.worker_database_url,
        postgres=postgres,
        redis=load(Redis, os.environ),
        s3=s3,
        application="trainyard-packager",
        patient=True,
    ) as resources:
        slots = Slots(resources, worker, PackagerJobs(resources, s3, retention, keys).handlers(), lanes=LANES)
        async with serve(worker.metrics_host, worker.metrics_port, ready=slots.ready):
            await run_worker(slots, stop, queue=PACKAGER_QUEUE, also=Sweep(resources, retention))


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except ConfigurationError as error:
        sys.exit(f"packager: {error.detail}")
