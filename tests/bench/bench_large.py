"""A table of a million rows and thirty columns: decoded, profiled, planned, fitted by every family and put
together in ensembles, each in the child process that a trainer uses, under its memory guard.

`BENCH_ROWS` is the number of rows, `BENCH_SECONDS` what each fit may take. Peak memory is the kernel's
(`ru_maxrss`) and counts the libraries, which the children share with one another, and the pages of the
table's file that are read.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import structlog

from services.trainer import ensembling
from services.trainer.child import Children
from services.trainer.child_memory import guard_bytes
from services.trainer.ensembling import NotWorthwhile
from services.trainer.outcome import MODEL_FILE, PREDICTIONS_FILE, Choice, FitOutcome, Member
from services.trainer.steps import STEPS
from services.trainer.table_limits import TableLimits
from shared.contracts.catalogue import ENSEMBLES, MODELS
from shared.contracts.files import Profile
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import TrainyardError

TITLE = "A large table"
LONG = True

ROWS = int(os.environ.get("BENCH_ROWS") or 1_000_000)
SECONDS = float(os.environ.get("BENCH_SECONDS") or 120)
MIB = 2**20
SEED = 0


def table(rows: int) -> pd.DataFrame:
    """30 columns: 17 of floats, 4 of whole numbers, 6 of words (one of 2,000 kinds), one of dates, one of
    money written as text, and two classes that five of them decide."""
    rng = np.random.default_rng(SEED)
    made: dict[str, Any] = {f"measure_{i}": rng.normal(size=rows) for i in range(17)}
    made |= {f"count_{i}": rng.integers(0, 10**i, rows) for i in range(1, 5)}
    made |= {f"kind_{i}": rng.choice([f"kind {k}" for k in range(3 + i)], rows) for i in range(5)}
    made["shop"] = np.array([f"shop {k}" for k in range(2_000)])[rng.integers(0, 2_000, rows)]
    made["day"] = (
        pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1_500, rows), unit="D")
    ).astype(str)
    made["price"] = [f"${value:,.2f}" for value in rng.gamma(2, 900, rows)]
    logit = made["measure_0"] + made["measure_1"] * made["measure_2"] + 0.3 * (made["count_1"] - 4.5)
    logit += (made["kind_0"] == "kind 1") - 1
    made["bought"] = np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "yes", "no")
    return pd.DataFrame(made)


async def _measure() -> list[str]:
    lines = []
    guard = guard_bytes(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upload = folder / "upload.csv"
        table(ROWS).to_csv(upload, index=False)
        async with Children(STEPS, threads=os.cpu_count() or 1) as children:
            await children.ready()
            arrow = folder / "decoded" / "table.arrow"
            payload = {"source": str(upload), "name": upload.name, "limits": TableLimits()}
            seconds, peak, _ = await _step(children, "decode", payload, arrow.parent, [upload], guard)
            lines += [
                f"{ROWS:,} rows × 30 columns, {upload.stat().st_size / MIB:,.0f} MiB of CSV, "
                f"{arrow.stat().st_size / MIB:,.0f} MiB decoded (once a machine). Guard of one fit: "
                f"{guard / MIB:,.0f} MiB. Each fit may take {SECONDS:g} s, with every core.",
                "",
                "| step | seconds | peak MiB | of the guard | accuracy | rows fitted on |",
                "| --- | --- | --- | --- | --- | --- |",
                _line("decode", seconds, peak, guard),
            ]
            reads = [arrow]
            seconds, peak, answer = await _step(
                children, "profile", {"table": str(arrow)}, folder / "p", reads, guard
            )
            lines.append(_line("profile", seconds, peak, guard))
            profile = msgspec.json.decode(answer, type=Profile)
            request = TrainRequest(file_id=uuid.UUID(int=0), target="bought", task_type="classification")
            payload = {"table": str(arrow), "request": request, "profile": profile, "memory_bytes": guard}
            seconds, peak, answer = await _step(children, "plan", payload, folder / "q", reads, guard)
            lines.append(_line("plan", seconds, peak, guard))
            plan = msgspec.json.decode(answer, type=Plan)
            common = {"table": str(arrow), "plan": plan, "threads": os.cpu_count() or 1}
            made: dict[str, FitOutcome] = {}
            for model in plan.models:
                try:
                    if model in ENSEMBLES:
                        told = await _combined(children, common, model, made, folder, guard)
                    else:
                        payload = common | {"model_name": model, "soft_deadline_s": SECONDS}
                        told = await _step(children, "fit", payload, folder / model, reads, guard)
                except TrainyardError as error:
                    lines.append(f"| {_label(model)} | | | | {error.detail} | |")
                    continue
                seconds, peak, answer = told
                outcome = msgspec.json.decode(answer, type=FitOutcome)
                if model not in ENSEMBLES:
                    made[model] = outcome
                rows = f"{outcome.details['rows_fitted']:,}" if model in made else ""
                more = f"{outcome.metrics['accuracy']:.3f} | {rows}"
                lines.append(_line(_label(model), seconds, peak, guard, more))
                print(lines[-1], flush=True)
    return lines


async def _combined(
    children: Children,
    common: dict[str, Any],
    model: str,
    made: dict[str, FitOutcome],
    folder: Path,
    guard: int,
) -> tuple[float, int, bytes]:
    """Both steps of an ensemble of what was `made`: their seconds together, and the higher peak. Raises
    NotWorthwhile where there is nothing to gain."""
    scratch = folder / model
    scratch.mkdir()
    members = {slug: _member(slug, outcome, folder / slug, scratch) for slug, outcome in made.items()}
    payload = common | {"model_name": model, "members": list(members.values()), "seconds": SECONDS}
    del payload["threads"]
    reads = [Path(common["table"])]
    first, low, answer = await _step(children, "choose", payload, scratch, reads, guard)
    choice = msgspec.json.decode(answer, type=Choice)
    if choice.reason is not None:
        raise NotWorthwhile(choice.reason)
    for slug in choice.weights:
        shutil.copyfile(folder / slug / MODEL_FILE, members[slug].model)
    payload |= {"choice": choice, "threads": common["threads"]}
    second, high, answer = await _step(children, "combine", payload, scratch, reads, guard)
    return first + second, max(low, high), answer


def _member(slug: str, outcome: FitOutcome, fitted: Path, scratch: Path) -> Member:
    row = {
        "model_name": slug,
        "label": _label(slug),
        "sha256": hashlib.sha256((fitted / MODEL_FILE).read_bytes()).hexdigest(),
        "cv_mean": outcome.cv_mean,
        "outcome": msgspec.to_builtins(outcome),
    }
    member = ensembling.member(row, scratch)
    shutil.copyfile(fitted / PREDICTIONS_FILE, member.predictions)
    return member


def _label(model: str) -> str:
    return MODELS[TaskType.CLASSIFICATION][model].label


async def _step(
    children: Children, step: str, payload: dict[str, Any], scratch: Path, reads: list[Path], guard: int
) -> tuple[float, int, bytes]:
    """(seconds, peak bytes, answer) of one step in a child."""
    with structlog.testing.capture_logs() as logs:
        started = time.perf_counter()
        answer = await children.run(
            step, payload, scratch=scratch, reads=reads, timeout_s=1.05 * SECONDS + 600, memory_bytes=guard
        )
        seconds = time.perf_counter() - started
    peak = next(entry["max_rss_kib"] for entry in logs if entry["event"] == "child_ended")
    return seconds, peak * 1024, answer


def _line(what: str, seconds: float, peak: int, guard: int, more: str = " | ") -> str:
    return f"| {what} | {seconds:.1f} | {peak / MIB:,.0f} | {peak / guard:.0%} | {more} |"


def measure() -> list[str]:
    return asyncio.run(_measure())


if __name__ == "__main__":
    print("\n".join(measure()))
