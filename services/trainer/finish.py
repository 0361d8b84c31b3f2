"""The end of a run: its verdict, and its report assembled and stored. No table is read here."""

from __future__ import annotations

import datetime as dt
import platform
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from services.trainer.outcome import FitOutcome
from services.trainer.report import ReportContext, assemble
from shared import leaderboard, needs
from shared.contracts.catalogue import ENSEMBLES
from shared.contracts.files import Profile
from shared.contracts.problems import Notice, Problem
from shared.contracts.results import LeaderboardRow
from shared.contracts.states import CandidateStatus, TaskStatus
from shared.contracts.training import Plan
from shared.db.candidates import leaderboard_row
from shared.errors import CannotTrain
from shared.storage import Store, report_key

CONTENT_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".py": "text/x-python; charset=utf-8",
}


def board_of(plan: Plan, rows: Sequence[Any]) -> list[LeaderboardRow]:
    """Ranked, with what ties; `rows` are those of `candidates.of_task`."""
    board = leaderboard.rank(map(leaderboard_row, rows), plan.metric, plan.task_type)
    spreads = leaderboard.uncertainties({row["model_name"]: row["outcome"] for row in rows})
    return leaderboard.marked(board, spreads, plan.metric, plan.task_type)


def verdict(task: Any, rows: Sequence[Any]) -> tuple[TaskStatus, str, Problem | None]:
    """Status, message and error: failed only where no candidate is done. An ensemble that came to nothing is
    no model that is missing."""
    rows = [
        row for row in rows if row["model_name"] not in ENSEMBLES or row["status"] == CandidateStatus.DONE
    ]
    done = sum(row["status"] == CandidateStatus.DONE for row in rows)
    if task["cancel_requested"]:
        return TaskStatus.CANCELLED, f"Cancelled; {done} of {len(rows)} models are there", None
    if not done:
        reasons = "; ".join(f"{row['label']}: {row['reason']}" for row in rows)
        detail = f"No model could be trained. {reasons}"
        problem = Problem(type=CannotTrain.slug, title=CannotTrain.title(), status=422, detail=detail)
        return TaskStatus.FAILED, detail, problem
    if done < len(rows):
        return TaskStatus.COMPLETED, f"{done} of {len(rows)} models trained", None
    return TaskStatus.COMPLETED, f"All {done} models trained", None


def warnings_of(task: Any, rows: Sequence[Any]) -> list[Notice]:
    """What the plan warned of, then what single fits did, each naming its model; the same twice is one."""
    found = msgspec.convert(task["plan"], Plan).warnings
    for row in rows:
        for notice in msgspec.convert((row["outcome"] or {}).get("warnings", []), list[Notice]):
            found.append(msgspec.structs.replace(notice, message=f"{row['label']}: {notice.message}"))
    found += many_tie(board_of(msgspec.convert(task["plan"], Plan), rows))
    unique = {msgspec.json.encode(notice): notice for notice in found}
    return list(unique.values())


def many_tie(board: Sequence[LeaderboardRow]) -> list[Notice]:
    """Where at least half of the other models, two or more, tie with the best: the rank says little."""
    first = leaderboard.best(board)
    compared = [row for row in board if row.tied_with_best is not None]
    tied = [row.label for row in compared if row.tied_with_best]
    if first is None or len(tied) < max(2, len(compared) / 2):
        return []
    return [
        Notice(
            code="models-tied",
            message=f"{len(tied)} of {len(compared)} other models are as good as {first.label} as far as "
            "these rows can tell: the bootstrap interval of the difference contains zero.",
            action="They are ranked by cv_mean all the same; the fastest of them is as good a choice.",
            evidence=", ".join(tied),
        )
    ]


def report_of(task: Any, rows: Sequence[Any], file: Any | None) -> dict[str, bytes]:
    """File name → content. `file` is a row of `files.for_work`, or None where it was deleted."""
    plan = msgspec.convert(task["plan"], Plan)
    board = board_of(plan, rows)
    best = leaderboard.best(board)
    profile = (
        msgspec.convert(file["profile"], Profile)
        if file is not None and file["profile"] is not None
        else None
    )
    return assemble(
        ReportContext(
            task_id=str(task["id"]),
            name=task["name"],
            request=needs.stored(task["request"]),
            plan=plan,
            file_name=file["name"] if file is not None else "(deleted)",
            sha256=file["sha256"] if file is not None else "",
            rows=profile.rows if profile is not None else plan.rows,
            columns=len(profile.columns) if profile is not None else len(plan.roles) + 1,
            leaderboard=board,
            best=best.model_name if best is not None else None,
            outcomes={
                row["model_name"]: msgspec.convert(row["outcome"], FitOutcome)
                for row in rows
                if row["status"] == CandidateStatus.DONE
            },
            python_version=platform.python_version(),
            created_at=dt.datetime.now(dt.UTC),
            profile=profile,
            warnings=warnings_of(task, rows),
        )
    )


async def store_report(
    store: Store, user_id: uuid.UUID, task_id: uuid.UUID, attempt: int, report: dict[str, bytes]
) -> dict[str, dict[str, Any]]:
    """Put every file under this attempt's keys; name → `{size_bytes, sha256}` of what is there."""
    stored = {}
    for name, content in report.items():
        suffix = name[name.rindex(".") :]
        put = await store.put_bytes(
            store.artifacts,
            report_key(user_id, task_id, attempt, name),
            content,
            content_type=CONTENT_TYPES[suffix],
            filename=f"leaderboard_{task_id}.csv" if name == "leaderboard.csv" else name,
        )
        stored[name] = {"size_bytes": put.size_bytes, "sha256": put.sha256}
    return stored
