"""A fit whose parts are computed on a cluster: its door there, and the rows that it is to learn from.

The rows go to the store under keys of their own and are read by signed links, so that a worker of the cluster
needs no credentials; they leave the store when the fit ends, however it does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from services.trainer import cluster
from services.trainer.child import ChildFailed
from services.trainer.cluster import Asked, Link
from services.trainer.cluster_door import Door
from services.trainer.steps import Laid
from services.trainer.workbench import Patience, Workbench, unless
from shared.contracts.training import Plan
from shared.db.jobs import Job
from shared.errors import ClusterFailed, ClusterUnavailable, StorageUnavailable
from shared.storage import spread_key, spread_prefix

log = structlog.get_logger(__name__)

LINK_SPARE_S = 300.0
"""How much longer a link lives than the fit may take."""


class Elsewhere:
    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    def takes(self, plan: Plan, model_name: str) -> bool:
        """Whether parts of this fit are computed on the cluster."""
        return self.bench.cluster is not None and (
            cluster.spreads(plan.details, model_name)
            or cluster.worthwhile(plan.task_type, plan.rows, len(plan.roles))
        )

    async def fit(
        self,
        job: Job,
        candidate: Any,
        plan: Plan,
        payload: dict[str, Any],
        scratch: Path,
        ends: float,
        options: dict[str, Any],
    ) -> bytes:
        """The step `fit` with a door to the scheduler; `ends`: when its time does, by the loop's clock.

        Raises ClusterUnavailable where the scheduler is not reached, ClusterFailed where the cluster did not
        do its part, and what the step raises.
        """
        where = self.bench.cluster
        assert where is not None
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            links: list[Link] = []
            if cluster.spreads(plan.details, candidate["model_name"]):
                links = await stack.enter_async_context(
                    self._spread(job, candidate, plan, payload["table"], scratch / "rows", ends, options)
                )
            door = await stack.enter_async_context(Door(where.host, where.port))
            asked = payload | {"cluster": Asked(scheduler=where.address, links=links)}
            left = ends - loop.time()
            asked["soft_deadline_s"] = min(asked["soft_deadline_s"], left)
            try:
                return await self.bench.step("fit", asked, scratch, timeout_s=left, door=door, **options)
            except ClusterFailed as error:
                if door.away is not None:
                    raise ClusterUnavailable(
                        f"The Dask scheduler at {where.address} is not reached; fits wait for it",
                        reason=door.away,
                    ) from error
                raise

    @contextlib.asynccontextmanager
    async def _spread(
        self,
        job: Job,
        candidate: Any,
        plan: Plan,
        table: str,
        folder: Path,
        ends: float,
        options: dict[str, Any],
    ) -> AsyncIterator[list[Link]]:
        """The rows that the fit's machine does not hold, in the store for as long as the block lasts."""
        bench, store, loop = self.bench, self.bench.store, asyncio.get_running_loop()
        of = (job.user_id, candidate["task_id"], candidate["model_name"])
        stop = options["cancelled"]
        patience = Patience(until=ends, stop=stop)
        # what an attempt left that was killed
        await patience(store.delete_prefix, store.artifacts, spread_prefix(*of))
        left = ends - loop.time()
        telling = {name: value for name, value in options.items() if name != "on_progress"}
        answer = await bench.step("spread", {"table": table, "plan": plan}, folder, timeout_s=left, **telling)
        links: list[Link] = []
        try:
            for number, laid in enumerate(msgspec.json.decode(answer, type=list[Laid])):
                path = folder / f"{number}.parquet"
                key = spread_key(*of, job.attempt, number)
                stored = await unless(
                    stop,
                    patience(
                        store.put_file,
                        store.artifacts,
                        key,
                        path,
                        content_type="application/octet-stream",
                        filename=path.name,
                    ),
                )
                path.unlink()
                url, _ = await store.presign(
                    store.artifacts,
                    key,
                    filename=path.name,
                    content_type="application/octet-stream",
                    ttl_s=int(ends - loop.time() + LINK_SPARE_S),
                    within=True,
                )
                links.append(Link(url=url, sha256=stored.sha256, rows=laid.rows))
                if loop.time() > ends:
                    raise ChildFailed("the rows were not laid out in time", kind="deadline")
            log.info("rows laid out for the cluster", files=len(links))
            yield links
        finally:
            # what cannot be removed now goes with the next attempt, or with the run
            with contextlib.suppress(StorageUnavailable):
                await store.delete_prefix(store.artifacts, spread_prefix(*of))
