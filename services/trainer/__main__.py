"""`python -m services.trainer`: the process that profiles tables and fits models."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from services.trainer import cluster, sandbox, sandbox_choice, sandbox_disk, step_record
from services.trainer.cache import TableCache
from services.trainer.child import PRELOAD, Children
from services.trainer.child_memory import fits_and_guard
from services.trainer.jobs import TrainerJobs
from services.trainer.scratch import Scratch
from services.trainer.steps import STEPS
from services.trainer.sweep import Sweep
from services.trainer.workbench import Workbench
from shared import needs
from shared.errors import ConfigurationError
from shared.logging import configure
from shared.metrics import serve
from shared.queue import TRAINER_QUEUE
from shared.resources import open_resources
from shared.settings import (
    S3,
    Cluster,
    Logging,
    Postgres,
    Redis,
    Signing,
    Tables,
    Tracing,
    Trainer,
    Worker,
    load,
    require,
    secrets_of,
)
from shared.signing import KeyRing
from shared.tracing import Exporting
from shared.worker import Slots, run_worker, stop_on_signals, worker_name

CLUSTER_PRELOAD = ("services.trainer.cluster_preload",)

LIGHT_LANES = 2
"""Reports are written beside the fits: they need no core, and somebody waits for them."""


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def main(steps: Mapping[str, str] = STEPS, preload: Sequence[str] = PRELOAD) -> None:
    """Run until a signal. `steps`: what runs in children, by name; `preload`: what those import."""
    worker, logging = load(Worker, os.environ), load(Logging, os.environ)
    name = worker_name(worker)
    configure(logging, service="trainer", instance=name, secrets=secrets_of(os.environ))
    with Exporting(load(Tracing, os.environ), service="trainer", instance=name):
        await run(worker, logging, steps, preload)


async def run(worker: Worker, logging: Logging, steps: Mapping[str, str], preload: Sequence[str]) -> None:
    stop = stop_on_signals()
    postgres, trainer = load(Postgres, os.environ), load(Trainer, os.environ)
    keys = KeyRing.parse(load(Signing, os.environ).artifact_hmac_keys)
    require(postgres, "worker_database_url")
    where = cluster.configured(load(Cluster, os.environ))
    layers = sandbox_choice.chosen(trainer.trainer_sandbox)
    sandbox_choice.announce(layers)
    step_record.begin_at_zero(steps)
    if layers.privileges:
        sandbox.hide()  # the credentials are in this process's memory
    most = max(1, usable_cores() // trainer.trainer_threads)
    slots, memory = fits_and_guard(trainer.trainer_slots, trainer.trainer_memory_bytes, most)
    cluster.room(memory, where)  # or it says so now, and not at the first run
    cache_dir = Path(trainer.trainer_cache_dir or Path(tempfile.gettempdir(), "trainyard-tables"))
    with Scratch(cache_dir) as scratch:
        async with (
            Children(
                steps,
                preload=[*preload, *(CLUSTER_PRELOAD if where is not None else ())],
                threads=trainer.trainer_threads,
                layers=layers,
                log_level=logging.log_level,
                disk_bytes=trainer.trainer_scratch_bytes or sandbox_disk.half_of_free(cache_dir),
            ) as children,
            open_resources(
                postgres.worker_database_url,
                postgres=postgres,
                redis=load(Redis, os.environ),
                s3=load(S3, os.environ),
                application="trainyard-trainer",
                patient=True,
            ) as resources,
        ):
            cache = TableCache(cache_dir, trainer.trainer_cache_bytes, resources.store, scratch)
            bench = Workbench(
                resources,
                children,
                cache,
                scratch,
                slots=slots,
                threads=trainer.trainer_threads,
                memory=memory,
                keys=keys,
                tables=load(Tables, os.environ),
                cluster=where,
            )
            work = Slots(
                resources,
                worker,
                TrainerJobs(bench).handlers(),
                lanes=slots + LIGHT_LANES,
                heavy_slots=slots,
                knows=[*needs.known(), *([needs.CLUSTER] if where is not None else [])],
            )
            async with serve(worker.metrics_host, worker.metrics_port, ready=work.ready):
                await children.ready()  # a deadline counts from the call: nothing is claimed before
                await run_worker(work, stop, queue=TRAINER_QUEUE, also=Sweep(bench))


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except ConfigurationError as error:
        sys.exit(f"trainer: {error.detail}")
