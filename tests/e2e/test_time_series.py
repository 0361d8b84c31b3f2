"""Forecasts of real series, from the upload to a model in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tests.e2e import checks, tables
from tests.e2e.person import Person

FORECASTERS = {*("seasonal_naive", "dynamic_optimized_theta", "auto_ets", "auto_ces", "lightgbm", "ridge")}


def test_one_series(ann: Person, series_run: dict[str, Any], tmp_path: Path) -> None:
    checks.completed(series_run, models=len(FORECASTERS))
    assert {c["model_name"] for c in series_run["candidates"]} == {*FORECASTERS, "weighted_ensemble"}
    assert (series_run["task_type"], series_run["metric"]) == ("time_series", "mase")
    rows = checks.leaderboard(ann, series_run)
    by_name = {row["model_name"]: row for row in rows}
    assert series_run["best"]["model_name"] != "seasonal_naive", "it knows no trend, and there is one"
    assert series_run["best"]["score"] < by_name["seasonal_naive"]["cv_mean"]

    results = ann.get(f"/ml/results/{series_run['task_id']}")
    schema = results["schema"]
    assert (schema["frequency"], schema["horizon"], schema["time_column"]) == ("MS", 12, "month")
    forecast = results["forecast"]
    expected = pd.date_range("1979-01-01", periods=12, freq="MS", tz="UTC")
    assert list(pd.to_datetime([point["time"] for point in forecast])) == list(expected)
    assert all(330 < point["mean"] < 342 for point in forecast), "what was measured then: 333 to 339"
    for point in forecast:
        assert "series" not in point
        assert point["lower_95"] <= point["lower_80"] <= point["mean"] <= point["upper_80"]
        assert point["upper_80"] <= point["upper_95"]
    checks.plots(ann, series_run, {"forecast"})
    checks.files(ann, series_run, tmp_path)
    checks.registry(ann, series_run, tmp_path)


def test_several_series(ann: Person, panel_run: dict[str, Any], tmp_path: Path) -> None:
    checks.completed(panel_run, models=3)
    assert panel_run["task_type"] == "time_series", "a time column says so"
    checks.leaderboard(ann, panel_run)
    frame = tables.investment().frame
    forecast = pd.DataFrame(ann.get(f"/ml/results/{panel_run['task_id']}")["forecast"])
    assert set(forecast["series"]) == set(frame["firm"])
    for _, points in forecast.groupby("series"):
        assert list(points["time"]) == ["1955", "1956", "1957"]
    checks.files(ann, panel_run, tmp_path)
