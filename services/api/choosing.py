"""Which model of a run is meant: by slug, by label, or as the best one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from shared import leaderboard
from shared.contracts.results import LeaderboardRow
from shared.contracts.states import BEST_MODEL, CandidateStatus
from shared.contracts.training import Plan
from shared.errors import ModelNotFound


class Chosen(Struct, frozen=True, kw_only=True):
    """A model that is done, and the attempt that stored its artifact."""

    slug: str
    attempt: int
    size_bytes: int
    sha256: str


def plan_of(raw: Any) -> Plan | None:
    """A task's plan; None where it has not been planned."""
    return None if raw is None else msgspec.convert(raw, Plan)


def ranked(rows: Iterable[Any], plan: Plan | None) -> list[LeaderboardRow]:
    """The leaderboard of a task's candidates; empty before it is planned."""
    if plan is None:
        return []
    return leaderboard.rank([_row(row) for row in rows], plan.metric, plan.task_type)


def choose(rows: Iterable[Any], plan: Plan | None, asked: str) -> Chosen:
    """The model asked for by slug or label, whatever the case, or `best_model`.

    Raises ModelNotFound for one that is not there or not done.
    """
    rows = list(rows)
    wanted = asked.strip().casefold()
    if wanted == BEST_MODEL:
        best = leaderboard.best(ranked(rows, plan))
        wanted = best.model_name if best is not None else ""
    for row in rows:
        if wanted in (row["model_name"].casefold(), row["label"].casefold()):
            if row["status"] != CandidateStatus.DONE:
                break
            return Chosen(
                slug=row["model_name"],
                attempt=row["attempt"],
                size_bytes=row["size_bytes"],
                sha256=row["sha256"],
            )
    raise ModelNotFound


def _row(row: Any) -> LeaderboardRow:
    return LeaderboardRow(
        rank=None,
        model_name=row["model_name"],
        label=row["label"],
        algorithm=row["algorithm"],
        metrics=row["metrics"] or {},
        cv_mean=row["cv_mean"],
        cv_std=row["cv_std"],
        fit_seconds=row["fit_seconds"],
        predict_ms_per_row=row["predict_ms_per_row"],
        size_bytes=row["size_bytes"],
        status=CandidateStatus(row["status"]),
        reason=row["reason"],
    )
