"""`fit` of an ensemble: once all other candidates of a run have ended, a model is made of them.

What they predicted for rows that they had not seen lies beside their models in the store. From that a child
decides whether there is anything to gain and from whom; only the pickles of those are fetched, each after its
signature and with its SHA-256 checked, and a second child puts them together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from services.trainer.child import ChildFailed
from services.trainer.outcome import Choice, FitOutcome, Member
from services.trainer.workbench import Workbench, too_few_members
from shared.check_request import LEAST_MEMBERS
from shared.contracts.catalogue import ENSEMBLES
from shared.contracts.states import CandidateStatus, PlotKind
from shared.contracts.training import Plan
from shared.db import candidates
from shared.db.jobs import Job
from shared.errors import TrainyardError
from shared.storage import model_key, predictions_key

log = structlog.get_logger(__name__)


class NotWorthwhile(TrainyardError):
    """An ensemble of these models would be no better than one of them"""

    slug = "not-worthwhile"


class Combining:
    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    async def combine(
        self,
        job: Job,
        candidate: Any,
        plan: Plan,
        table: Path,
        scratch: Path,
        ends: float,
        options: dict[str, Any],
    ) -> FitOutcome:
        """The ensemble's pickle is left in `scratch`. `ends`: when the time for it is over, of the loop's
        clock; `options`: of the steps. Raises NotWorthwhile where there is nothing to gain."""
        bench = self.bench
        async with bench.db.transaction() as c:
            rows = await candidates.of_task(c, candidate["task_id"], job.user_id)
        members = {row["model_name"]: (member(row, scratch), row) for row in rows if usable(row)}
        if len(members) < LEAST_MEMBERS:
            raise NotWorthwhile(too_few_members(len(members)))
        payload = {
            "table": str(table),
            "plan": plan,
            "model_name": candidate["model_name"],
            "members": [each for each, _ in members.values()],
        }
        async with in_time(ends):
            for each, row in members.values():
                await self._fetch_predictions(each, row)
        choice = msgspec.json.decode(await self._step("choose", payload, scratch, ends, options), type=Choice)
        if choice.reason is not None:
            raise NotWorthwhile(choice.reason)
        async with in_time(ends):
            for slug in choice.weights:
                await self._fetch_model(*members[slug])
        payload |= {"choice": choice, "threads": bench.threads}
        answer = await self._step("combine", payload, scratch, ends, options)
        log.info("combined", model_name=candidate["model_name"], members=len(choice.weights))
        return msgspec.json.decode(answer, type=FitOutcome)

    async def _step(
        self, step: str, payload: dict[str, Any], scratch: Path, ends: float, options: dict[str, Any]
    ) -> bytes:
        left = max(ends - asyncio.get_running_loop().time(), 0.1)
        return await self.bench.step(step, payload | {"seconds": left}, scratch, timeout_s=left, **options)

    async def _fetch_predictions(self, each: Member, row: Any) -> None:
        store = self.bench.store
        key = predictions_key(row["user_id"], row["task_id"], each.slug, row["attempt"])
        await store.get_file(
            store.artifacts, key, each.predictions, sha256=row["outcome"]["predictions"]["sha256"]
        )

    async def _fetch_model(self, each: Member, row: Any) -> None:
        """Raises ArtifactRefused where its signature is not a trainer's, StorageCorrupt for another file."""
        store = self.bench.store
        self.bench.keys.verify(*candidates.artifact(row))
        key = model_key(row["user_id"], row["task_id"], each.slug, row["attempt"])
        await store.get_file(store.artifacts, key, each.model, sha256=each.sha256)


@contextlib.asynccontextmanager
async def in_time(ends: float) -> AsyncIterator[None]:
    """Raises ChildFailed (deadline) where the block is not done at a time of the loop's clock."""
    try:
        async with asyncio.timeout_at(ends):
            yield
    except TimeoutError:
        raise ChildFailed("not done when the time budget ended", kind="deadline") from None


def usable(row: Any) -> bool:
    """Whether a row of `candidates.of_task` is of a model that has a score and has left its predictions."""
    if row["status"] != CandidateStatus.DONE or row["model_name"] in ENSEMBLES or row["cv_mean"] is None:
        return False
    return (row["outcome"] or {}).get("predictions") is not None


def member(row: Any, scratch: Path) -> Member:
    outcome = msgspec.convert(row["outcome"], FitOutcome)
    slug = row["model_name"]
    curves = [plot.data for plot in outcome.plots if plot.kind == PlotKind.LEARNING_CURVE]
    return Member(
        slug=slug,
        label=row["label"],
        predictions=scratch / f"{slug}.npz",
        model=scratch / f"{slug}.pkl",
        sha256=row["sha256"],
        cv_mean=row["cv_mean"],
        fit_seconds=outcome.fit_seconds,
        refit=bool(outcome.details.get("refit", False)),
        packages=outcome.packages,
        importance=outcome.importance,
        behind=int(outcome.details.get("behind", 0)),
        learning_curve=next(iter(curves), None),
    )
