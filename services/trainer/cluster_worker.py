"""What a Dask worker does besides: `dask worker … --preload services.trainer.cluster_worker`.

It refuses to start with a credential in its environment: fits send it programs, and nothing may be found
there. And it ends what nobody waits for any more. A fit that is cancelled, or whose time is over, is killed
with its connection, and Dask forgets what it had asked for; but a thread that computes cannot be stopped. So
where one goes on after its task was given up, the worker hands its data to others and ends, and its nanny
starts it anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from shared.errors import ConfigurationError
from shared.settings import secret_names

log = logging.getLogger("distributed.worker")

LOOK_EVERY_S = 0.5
GRACE_S = 3.0
"""How long a task that was given up may go on: most pieces of a fit are over before."""

HANDING_OVER_S = 5.0
ENDED = 75
"""The exit code of a worker that ended itself, for its nanny to start it anew (sysexits.h, EX_TEMPFAIL)."""


def dask_setup(worker: Worker) -> None:
    """Called by Dask when the worker starts. Raises ConfigurationError where there are credentials."""
    refuse_credentials(os.environ)
    worker.loop.add_callback(worker.plugin_add, Overseer(), name=Overseer.name)


def refuse_credentials(environ: Any) -> None:
    """Raise ConfigurationError naming every secret of the services that this environment holds."""
    names = {suffixed for name in secret_names() for suffixed in (name, f"{name}_FILE")}
    if found := sorted(name for name in names if environ.get(name)):
        raise ConfigurationError(
            f"a Dask worker runs programs of every fit and may have no credentials: take {', '.join(found)} "
            "away from it"
        )


def given_up(dask_worker: Worker) -> list[str]:
    """Tasks that were cancelled while a thread of this worker computed them, and that it still computes."""
    return [
        str(key)
        for key, task in dask_worker.state.tasks.items()
        if task.state in ("cancelled", "resumed") and task.previous in ("executing", "long-running")
    ]


class Overseer(WorkerPlugin):
    """Ends the worker where a thread of it computes what was given up."""

    name = "trainyard-overseer"

    def setup(self, worker: Worker) -> None:
        self._worker = worker
        self._since: dict[str, float] = {}
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def teardown(self, worker: Worker) -> None:
        self._looking.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            self._since = {key: self._since.get(key, now) for key in given_up(self._worker)}
            if any(now - since > GRACE_S for since in self._since.values()):
                await self._end()

    async def _end(self) -> None:
        log.warning("given up and still computing: %s; starting anew", ", ".join(self._since))
        try:
            async with asyncio.timeout(HANDING_OVER_S):
                await self._worker.scheduler.retire_workers(
                    workers=[self._worker.address], close_workers=False, remove=True
                )
        except Exception:
            log.warning("its data could not be handed over", exc_info=True)
        os._exit(ENDED)
