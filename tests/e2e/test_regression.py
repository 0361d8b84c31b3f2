"""Regression on a real table, from the upload to a model in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests.e2e import checks, tables
from tests.e2e.person import Person

REGRESSORS = {
    "ridge",
    "elastic_net",
    "random_forest",
    "extra_trees",
    "hist_gradient_boosting",
    "xgboost",
    "lightgbm",
    "catboost",
    "k_nearest_neighbors",
    "mlp",
}


def test_every_regressor(ann: Person, diabetes_run: dict[str, Any], tmp_path: Path) -> None:
    checks.completed(diabetes_run, models=len(REGRESSORS))
    assert {c["model_name"] for c in diabetes_run["candidates"]} == REGRESSORS | checks.ENSEMBLES
    assert (diabetes_run["task_type"], diabetes_run["metric"]) == ("regression", "r2")
    rows = checks.leaderboard(ann, diabetes_run)
    assert all(0.25 < row["cv_mean"] < 0.6 for row in rows), "what this table is known to give"
    assert "forecast" not in ann.get(f"/ml/results/{diabetes_run['task_id']}")
    checks.plots(ann, diabetes_run, {"prediction_error", "residuals"})
    unpacked = checks.files(ann, diabetes_run, tmp_path)
    checks.registry(ann, diabetes_run, tmp_path)

    frame = tables.diabetes().frame
    model = joblib.load(unpacked / "best_model.pkl")
    predicted = np.asarray(model.predict(frame.drop(columns="progression")), dtype=float)
    assert np.corrcoef(predicted, frame["progression"])[0, 1] > 0.6


def test_a_metric_where_less_is_better_and_what_is_left_out(ann: Person) -> None:
    task = ann.run(
        tables.diabetes(),
        "progression",
        task_type="regression",
        metric="mae",
        models=["ridge", "k_nearest_neighbors"],
        exclude_columns=["sex", "age"],
        test_size=0.25,
        cv_folds=3,
        refit=False,
        seed=7,
        time_budget_s=60,
    )
    checks.completed(task, models=2)
    rows = checks.leaderboard(ann, task)
    assert task["metric"] == "mae"
    assert rows[0]["cv_mean"] < rows[1]["cv_mean"]
    schema = ann.get(f"/ml/results/{task['task_id']}")["schema"]
    assert {"sex", "age"}.isdisjoint(column["name"] for column in schema["columns"])
