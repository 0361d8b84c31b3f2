"""What is fitted every day, from the upload to the pickle, within the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from statsforecast.utils import AirPassengersDF

from services.trainer.child import Children
from services.trainer.outcome import MODEL_FILE, FitOutcome
from services.trainer.steps import STEPS
from services.trainer.table_limits import TableLimits
from shared.contracts import Plan, TaskType
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
            for slug in plan.models:
                fit = given | {"plan": plan, "model_name": slug, "soft_deadline_s": SECONDS, "threads": 1}
                fit |= {"best_so_far": OUT_OF_REACH}
                answer = await run("fit", own / slug, fit, table)
                outcome = msgspec.json.decode(answer, type=FitOutcome)
                assert outcome.cv_mean is not None
                assert (own / slug / MODEL_FILE).stat().st_size > 0
                said = (own / slug / "output.txt").read_text()
                assert "Permission" not in said and "not permitted" not in said, said
