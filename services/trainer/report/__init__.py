"""The texts of a finished run: what its ZIP holds beside the models and the plots.

Pure: everything comes in with the context, nothing but bytes goes out. No table is read here, and neither
pandas nor scikit-learn is imported.
"""

from __future__ import annotations

import datetime as dt
import json
from importlib import resources
from typing import Any

import msgspec
from msgspec import Struct

from services.trainer.outcome import FitOutcome
from services.trainer.report import card, requirements
from shared import leaderboard
from shared.contracts.files import Profile
from shared.contracts.problems import Notice
from shared.contracts.results import LeaderboardRow
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest


class ReportContext(Struct, kw_only=True):
    """All that is known of a run.

    `sha256`, `rows`, `columns`: of the table as uploaded. `leaderboard`: ranked. `best`: the slug of the
    model at rank 1, None where no model is done. `outcomes`: slug → outcome of every done model.
    `python_version`: of the fits ("3.11.7"). `created_at`: of this report.
    """

    task_id: str
    name: str
    request: TrainRequest
    plan: Plan
    file_name: str
    sha256: str
    rows: int
    columns: int
    leaderboard: list[LeaderboardRow]
    best: str | None
    outcomes: dict[str, FitOutcome]
    python_version: str
    created_at: dt.datetime
    profile: Profile | None = None
    warnings: list[Notice] = []


def assemble(context: ReportContext) -> dict[str, bytes]:
    """File name → content: `leaderboard.csv` and `README.md`; and, where a model is done,
    `requirements.txt`, `schema.json`, `example.json`, `predict.py` and, of a table, `predict_onnx.py`.

    Raises KeyError where `best` has no outcome.
    """
    files = {
        "leaderboard.csv": leaderboard.to_csv(context.leaderboard, context.plan.task_type),
        "README.md": card.text(context),
    }
    if context.best is not None:
        packages = {slug: outcome.packages for slug, outcome in context.outcomes.items()}
        files |= {
            "requirements.txt": requirements.text(packages, context.best, context.python_version),
            "schema.json": _json(
                schema(context.plan, context.profile) | {"model": context.best} | intervals(context.outcomes)
            ),
            "example.json": _json(example(context.outcomes, context.best)),
            "predict.py": _script("predict.py"),
        }
        if context.plan.task_type is not TaskType.TIME_SERIES:
            files["predict_onnx.py"] = _script("predict_onnx.py")
    return {name: content.encode() for name, content in files.items()}


def model_file(slug: str) -> str:
    return f"{slug}.pkl"


def schema(plan: Plan, profile: Profile | None = None) -> dict[str, Any]:
    """What the models expect and answer: the feature columns (in the table's order where the profile is
    known), the target and, for a classification, its labels; for a time series how it goes on."""
    described = {} if profile is None else {column.name: column for column in profile.columns}
    names = [name for name in described if name in plan.roles] or list(plan.roles)
    columns = [
        {"name": name, "role": plan.roles[name]}
        | ({"dtype": described[name].dtype} if name in described else {})
        for name in names
    ]
    made: dict[str, Any] = {
        "task_type": plan.task_type,
        "target": plan.target,
        "metric": plan.metric,
        "labels": plan.labels,
        "columns": columns,
    }
    if plan.task_type is TaskType.TIME_SERIES:
        made |= {
            "time_column": plan.time_column,
            "series_column": plan.series_column,
            "horizon": plan.horizon,
            "frequency": plan.frequency,
            "season_length": plan.season_length,
            # what some models are to be given for the steps to come
            "future_columns": list(plan.details.get("known", [])),
        }
    return made


def intervals(outcomes: dict[str, FitOutcome]) -> dict[str, Any]:
    """What `predict.py --interval` needs: slug → conformal intervals, of a regression's models."""
    known = {slug: each.intervals for slug, each in sorted(outcomes.items()) if each.intervals is not None}
    return {"intervals": known} if known else {}


def example(outcomes: dict[str, FitOutcome], best: str) -> dict[str, Any]:
    """The best model's example, and what the other models predict where theirs has the same rows."""
    shown = outcomes[best].example
    others = {
        slug: outcome.example.predictions
        for slug, outcome in sorted(outcomes.items())
        if slug != best and outcome.example.rows == shown.rows
    }
    return {
        "model": best,
        "rows": shown.rows,
        "predictions": shown.predictions,
        "other_models": others,
    }


def _script(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
