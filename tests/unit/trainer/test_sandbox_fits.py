"""What is fitted every day, from the upload to the pickle, within the sandbox."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from statsforecast.utils import AirPassengersDF

from services.trainer.child import Children
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, Choice, FitOutcome, Member
from services.trainer.steps import STEPS
from services.trainer.table_limits import TableLimits
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from tests.unit.trainer import mixed_table

SECONDS, MEMORY = 200, 2 * 2**30
OUT_OF_REACH = 2.0
"""The best `cv_mean` of the run as yet: what does not reach it has no learning curve, which takes a dozen
fits more."""


def mixed() -> tuple[pd.DataFrame, dict[str, Any]]:
    table = mixed_table.features(120)
    models = ["logistic_regression", "lightgbm", "xgboost", "catboost"]
    asked = {"target": "target", "task_type": "classification", "models": models, "cv_folds": 2}
    return table.assign(target=mixed_table.classes(table, "words")), asked


def air() -> tuple[pd.DataFrame, dict[str, Any]]:
    table = pd.DataFrame({"month": AirPassengersDF["ds"].astype(str), "passengers": AirPassengersDF["y"]})
    models = ["seasonal_naive", "auto_ets", "lightgbm"]
    asked = {"target": "passengers", "task_type": "time_series", "time_column": "month", "models": models}
    return table, asked


async def test_every_library_is_read_planned_and_fitted(tmp_path: Path) -> None:
    async with Children(STEPS) as children:

        async def run(step: str, folder: Path, payload: dict[str, Any], *reads: Path) -> bytes:
            return await children.run(
                step, payload, scratch=folder, reads=reads, timeout_s=SECONDS, memory_bytes=MEMORY
            )

        for task_type, (frame, asked) in {
            TaskType.CLASSIFICATION: mixed(),
            TaskType.TIME_SERIES: air(),
        }.items():
            own = tmp_path / task_type.value
            (own / "decode").mkdir(parents=True)
            upload = own / "decode" / "upload"
            frame.to_csv(upload, index=False)
            limits = TableLimits()
            await run("decode", own / "decode", {"source": str(upload), "name": "t.csv", "limits": limits})
            table = own / "decode" / "table.arrow"
            given = {"table": str(table)}
            profile = msgspec.Raw(await run("profile", own / "profile", given, table))
            shown = msgspec.json.decode(await run("preview", own / "preview", given, table))
            assert shown["columns"] == list(frame)
            request = {"file_id": "01890000-0000-7000-8000-000000000000", **asked}
            told = given | {"request": request, "profile": profile}
            plan = msgspec.json.decode(await run("plan", own / "plan", told, table), type=Plan)
            assert plan.models == asked["models"]
            members = []
            for slug in plan.models:
                fit = given | {"plan": plan, "model_name": slug, "soft_deadline_s": SECONDS, "threads": 1}
                fit |= {"best_so_far": OUT_OF_REACH}
                answer = await run("fit", own / slug, fit, table)
                outcome = msgspec.json.decode(answer, type=FitOutcome)
                assert outcome.cv_mean is not None
                assert (own / slug / MODEL_FILE).stat().st_size > 0
                members.append(member(slug, outcome, own / slug))
                said = (own / slug / "output.txt").read_text()
                assert "Permission" not in said and "not permitted" not in said, said
            told = given | {
                "plan": plan,
                "model_name": "weighted_ensemble",
                "members": members,
                "seconds": 60,
            }
            files = [path for each in members for path in (each.predictions, each.model)]
            choice = msgspec.json.decode(
                await run("choose", own / "chosen", told, table, *files), type=Choice
            )
            assert choice.reason is None or "no average is better" in choice.reason
            if choice.reason is None:
                told |= {"choice": choice, "threads": 1}
                answer = await run("combine", own / "combined", told, table, *files)
                assert msgspec.json.decode(answer, type=FitOutcome).details["members"] == choice.weights
                assert (own / "combined" / MODEL_FILE).stat().st_size > 0


def member(slug: str, outcome: FitOutcome, folder: Path) -> Member:
    assert outcome.cv_mean is not None
    return Member(
        slug=slug,
        label=slug,
        predictions=folder / PREDICTIONS_FILE,
        model=folder / MODEL_FILE,
        sha256=hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest(),
        cv_mean=outcome.cv_mean,
        fit_seconds=outcome.fit_seconds,
        refit=True,
        packages=outcome.packages,
        importance=outcome.importance,
    )
