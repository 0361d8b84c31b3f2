"""The leakage guard on clean tables, which it should be silent about, and on the same tables spoiled.

    make bench NAME=leaks

`LEAKS_HALF=tuned|held-back` runs one half only: what is changed in the guard is tried on the tuned half, and
the other is for the report.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
import warnings
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct

from services.trainer import plan, table
from services.trainer.profile import profile
from shared.contracts.problems import Notice
from shared.contracts.training import TrainRequest
from shared.errors import TrainyardError
from tests.bench import report
from tests.bench.leak_kinds import KINDS, Kind
from tests.bench.leak_tables import CLEAN, NATURAL, Clean, install

TITLE = "Leakage: what is found, and what is said of clean tables"
SEEDS = (0,)
"""More of them change little: kinds and tables are what differs."""
GUARD = {
    *("leaked-target", "suspiciously-strong", "future-information", "informative-row-number"),
    *("groups-split-apart", "duplicate-rows-across-split", "conflicting-labels", "time-ordered-rows"),
}
LARGE = ((1_000_000, 30), (20_000, 2_000))
"""Rows and columns of the tables that the guard is timed on."""


class Tally(Struct):
    planted: int = 0
    found: int = 0


def measure() -> list[str]:
    half = os.environ.get("LEAKS_HALF")
    site = install()
    chosen = [clean for clean in CLEAN if half is None or clean.held_back == (half == "held-back")]
    tallies: dict[tuple[str, bool], Tally] = defaultdict(Tally)
    alarms: list[tuple[Clean, list[Notice]]] = []
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for clean in chosen:
            frame = clean.table(site)
            before = _warned(frame, clean, Path(folder))
            alarms.append((clean, before))
            for kind in KINDS:
                for seed in SEEDS:
                    _spoil(frame, clean, kind, seed, Path(folder), tallies, missed, before)
        natural = [_natural(clean, column, site, Path(folder)) for clean, column in NATURAL]
        seconds = [] if half else [_timed(rows, columns, Path(folder)) for rows, columns in LARGE]
    for line in missed:
        print("  missed:", line)
    return _told(tallies, alarms, natural, seconds)


def _spoil(
    frame: pd.DataFrame,
    clean: Clean,
    kind: Kind,
    seed: int,
    folder: Path,
    tallies: dict[tuple[str, bool], Tally],
    missed: list[str],
    before: list[Notice],
) -> None:
    asked = f"{clean.name}/{kind.name}/{seed}"
    rng = np.random.default_rng(zlib.crc32(asked.encode()))
    known = frame.dropna(subset=[clean.target]).reset_index(drop=True)
    spoiled = kind.spoil(known, clean.target, _of_classes(known, clean, folder), rng)
    if spoiled is None:
        return
    made, planted = spoiled
    told = _warned(made, clean, folder, seed)
    named = [n for n in told if n.code in kind.codes and (planted is None or _names(n, planted))]
    tally = tallies[kind.name, clean.held_back]
    tally.planted += 1
    tally.found += bool(named)
    if not named:
        missed.append(f"{asked} ({', '.join(n.code for n in told) or 'nothing said'})")


def _names(notice: Notice, column: str) -> bool:
    return notice.column == column or repr(column) in notice.message


def _of_classes(frame: pd.DataFrame, clean: Clean, folder: Path) -> bool:
    """Whether the target is taken as classes, as the profile decides."""
    _, described = _decoded(frame[[clean.target]].assign(a=np.arange(len(frame)) % 7), folder)
    from shared.check_request import task_type_of

    request = TrainRequest(file_id=uuid.UUID(int=0), target=clean.target, task_type=clean.task)
    return task_type_of(request, described) == "classification"


def _decoded(frame: pd.DataFrame, folder: Path) -> tuple[Path, object]:
    path = folder / "table.arrow"
    (folder / "upload.csv").write_bytes(frame.to_csv(index=False).encode())
    table.decode(folder / "upload.csv", "upload.csv", path)
    return path, profile(path)


def _warned(frame: pd.DataFrame, clean: Clean, folder: Path, seed: int = 0) -> list[Notice]:
    """What the plan of a default request says of leaks; identifiers, which the profile names, included."""
    path, described = _decoded(frame, folder)
    request = TrainRequest(
        file_id=uuid.UUID(int=0),
        target=clean.target,
        task_type=clean.task,
        group_column=clean.group,
        seed=seed,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = plan.plan(path, request, described)
    except TrainyardError as error:
        print(f"  {clean.name}: cannot be planned: {error}")
        return []
    return [notice for notice in made.warnings if notice.code in GUARD | {"identifier-column"}]


def _natural(clean: Clean, column: str, site: Path, folder: Path) -> tuple[str, str, str]:
    told = [n for n in _warned(clean.table(site), clean, folder) if _names(n, column)]
    what = "; ".join(f"{n.code}: {n.evidence}" for n in told) or "nothing"
    return clean.name, column, what


def _timed(rows: int, columns: int, folder: Path) -> tuple[str, str, str]:
    """Seconds that planning takes with the guard and without, on numbers and a few categories."""
    rng = np.random.default_rng(0)
    path = folder / "large.arrow"
    names = [f"x{i}" for i in range(columns)]
    step = max(1_000, 2_000_000 // columns)
    kinds = pa.schema(
        [(name, pa.float32()) for name in names] + [("kind", pa.large_string()), ("target", pa.int64())]
    )
    with pa.ipc.new_file(str(path), kinds) as file:
        for begin in range(0, rows, step):
            x = rng.normal(size=(min(step, rows - begin), columns)).astype(np.float32)
            kind = pa.array([f"k{v}" for v in rng.integers(0, 50, len(x))], pa.large_string())
            y = (x[:, 0] + x[:, 1] + rng.normal(size=len(x)) > 0).astype(np.int64)
            file.write_batch(pa.record_batch([*map(pa.array, x.T), kind, pa.array(y)], schema=kinds))
    described = profile(path)
    request = TrainRequest(file_id=uuid.UUID(int=0), target="target")
    taken = {}
    for guarded in (True, False):
        started = time.perf_counter()
        with _unguarded(not guarded):
            plan.plan(path, request, described)
        taken[guarded] = time.perf_counter() - started
    path.unlink()
    return f"{rows:,} × {columns:,}", f"{taken[True] - taken[False]:.1f} s", f"{taken[True]:.1f} s"


class _unguarded:
    """Within it the plan is made without the guard, if `wanted`."""

    def __init__(self, wanted: bool) -> None:
        self.wanted, self.guard = wanted, plan.leakage.guard

    def __enter__(self) -> None:
        if self.wanted:
            plan.leakage.guard = lambda path, request, profile, roles, *rest: plan.leakage.settle(
                [], request, roles
            )

    def __exit__(self, *error: object) -> None:
        plan.leakage.guard = self.guard


def _told(
    tallies: dict[tuple[str, bool], Tally],
    alarms: list[tuple[Clean, list[Notice]]],
    natural: list[tuple[str, str, str]],
    seconds: list[tuple[str, str, str]],
) -> list[str]:
    loud = [(clean, [n for n in told if n.code in GUARD]) for clean, told in alarms]
    loud = [(clean, told) for clean, told in loud if told]
    counts = {half: sum(clean.held_back == half for clean, _ in alarms) for half in (False, True)}
    lines = [
        f"{len(alarms)} clean tables ({counts[False]} that the guard's limits were chosen on, {counts[True]} "
        f"that were held back), each also spoiled in up to {len(KINDS)} ways, seed "
        f"{', '.join(map(str, SEEDS))}. The halves are by the digest of a table's name.",
        "",
        f"Clean tables with an alarm: {sum(not c.held_back for c, _ in loud)} of {counts[False]}, and "
        f"{sum(c.held_back for c, _ in loud)} of {counts[True]} held back.",
        "",
    ]
    if loud:
        rows = [
            (c.name, "held back" if c.held_back else "tuned", n.message, str(n.evidence))
            for c, t in loud
            for n in t
        ]
        lines += [*report.table(("clean table", "half", "said", "evidence"), rows), ""]
    rows = [(kind.name, *(_recall([tallies[kind.name, half]]) for half in (False, True))) for kind in KINDS]
    every = [_recall([t for (_, h), t in tallies.items() if h == half]) for half in (False, True)]
    lines += [*report.table(("spoiled by", "found", "found, held back"), [*rows, ("all", *every)]), ""]
    lines += ["Leaks that are in published tables as they come:", ""]
    lines += [*report.table(("table", "column", "said"), natural), ""]
    if seconds:
        lines += ["What the guard costs, rows × columns (the table is on disk, decoded and profiled):", ""]
        lines += report.table(("table", "the guard", "the whole plan"), seconds)
    return lines


def _recall(tallies: list[Tally]) -> str:
    planted, found = sum(t.planted for t in tallies), sum(t.found for t in tallies)
    return f"{found} of {planted} ({found / planted:.1%})" if planted else "–"
