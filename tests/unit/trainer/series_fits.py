"""Tables of time series, their plans and fits, for the tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
from statsforecast.utils import AirPassengersDF
from statsmodels.datasets import macrodata

from services.trainer import fit_series, series
from services.trainer.outcome import FitOutcome
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.states import TaskType
from shared.contracts.training import Plan

SLUGS = [
    slug for slug, choice in MODELS[TaskType.TIME_SERIES].items() if choice.default and slug not in ENSEMBLES
]


def air() -> pd.DataFrame:
    """144 months, with dates as text, as they are uploaded."""
    return pd.DataFrame({"month": AirPassengersDF["ds"].astype(str), "passengers": AirPassengersDF["y"]})


def macro() -> pd.DataFrame:
    """Quarters of three series, one that starts late, one that ends early, one with a gap."""
    data = macrodata.load_pandas().data
    wide = pd.DataFrame({"q": [f"{int(y)}Q{int(q)}" for y, q in zip(data.year, data.quarter, strict=True)]})
    long = wide.assign(cpi=data.cpi, gdp=data.realgdp, unemp=data.unemp).melt("q", var_name="what")
    late = (long["what"] == "unemp") & (long["q"] < "1985")
    early = (long["what"] == "gdp") & (long["q"] >= "2008")
    gap = (long["what"] == "cpi") & (long["q"] == "2009Q1")
    return long[~(late | early | gap)].sample(frac=1, random_state=0)


def plan_for(
    frame: pd.DataFrame,
    time: str,
    target: str,
    by: str | None = None,
    horizon: int | None = None,
    **more: object,
) -> Plan:
    facts = series.describe(frame, time, by, target, horizon)
    details = facts.details()
    if "details_windows" in more:
        details["windows"] = more.pop("details_windows")
    chosen = {
        "task_type": TaskType.TIME_SERIES,
        "target": target,
        "metric": "mase",
        "roles": facts.roles,
        "models": SLUGS,
        "rows": len(frame),
        "test_size": 0.2,
        "cv_folds": 5,
        "seed": 0,
        "refit": True,
        "split_digest": facts.split_digest,
        "deadline_s": 60,
        "time_column": time,
        "series_column": by,
        "horizon": facts.horizon,
        "frequency": facts.frequency,
        "season_length": facts.season_length,
        "warnings": facts.warnings,
        "details": details,
    }
    return Plan(**(chosen | more))


def fitted(
    frame: pd.DataFrame, plan: Plan, model_name: str, folder: Path, *, seconds: float = 1_000
) -> FitOutcome:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.OSFile(str(folder / "table.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    said: list[float] = []
    outcome = fit_series.fit(
        folder / "table.arrow", plan, model_name, folder, seconds, 1, lambda done, _: said.append(done)
    )
    assert said == sorted(said) and said[0] == 0 and said[-1] == 1
    # what the trainer reads back is what the child wrote
    return msgspec.json.decode(msgspec.json.encode(outcome), type=FitOutcome)
