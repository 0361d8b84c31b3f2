"""Every competitor on every table, as far as that is not known yet; what is found is kept at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tests.bench.models import compete, competitors, environments, ours, results, splits, tables
from tests.bench.models.competitors import LABELS, OURS, PEERS, Peer
from tests.bench.models.processes import ROOT, StepFailed
from tests.bench.models.results import Result
from tests.bench.models.splits import Split
from tests.bench.models.tables import Table

CORES = 2
OVERHEAD_S = 10.0
"""Of one fit: starting, importing, reading, predicting."""


class Request(Struct, frozen=True, kw_only=True):
    """`again`: measure also what is known."""

    tables: list[Table]
    peers: list[Peer]
    seeds: list[int]
    budget: float
    again: bool
    only_report: bool
    file: Path


def requested(environ: Mapping[str, str]) -> Request:
    """From BENCH_TABLES, BENCH_PEERS (empty: none), BENCH_SEEDS, BENCH_BUDGET, BENCH_AGAIN, BENCH_ONLY_REPORT
    and BENCH_RESULTS. Raises SystemExit for a name that there is not."""
    try:
        return Request(
            tables=tables.chosen(environ.get("BENCH_TABLES", "")),
            peers=competitors.chosen(environ.get("BENCH_PEERS")),
            seeds=[int(seed) for seed in (environ.get("BENCH_SEEDS") or "0").replace(",", " ").split()],
            budget=float(environ.get("BENCH_BUDGET") or 60),
            again=bool(environ.get("BENCH_AGAIN")),
            only_report=bool(environ.get("BENCH_ONLY_REPORT")),
            file=Path(environ.get("BENCH_RESULTS") or results.FILE),
        )
    except KeyError as unknown:
        known = f"tables: {', '.join(tables.TABLES)}; peers: {', '.join(PEERS)}"
        raise SystemExit(f"There is no {unknown}. There are {known}") from None


class Step(Struct, frozen=True):
    split: Split
    competitor: str


def steps(request: Request, files: Sequence[Split], known: Sequence[Result], source: str) -> list[Step]:
    """What is to be measured, table by table, so that a table is complete early.

    A peer that was measured on the same rows stays as it was; ours is measured anew where its source was
    another.
    """
    done = {
        (r.train_sha256, r.table, r.competitor)
        for r in results.of_budget(known, request.budget)
        if r.competitor != OURS or r.versions.get("source") == source
    }
    names = [OURS, *(peer.name for peer in request.peers)]
    every = [Step(split, name) for split in files for name in names]
    return [
        step
        for step in every
        if request.again or (step.split.train_sha256, step.split.table, step.competitor) not in done
    ]


def seconds(todo: Sequence[Step], known: Sequence[Result], budget: float) -> float:
    """How long it may take: as long as it took before, else what is guessed."""
    before = {(r.table, r.competitor): r.seconds for r in results.of_budget(known, budget) if not r.failed}

    def of(step: Step) -> float:
        peer = PEERS.get(step.competitor)
        guess = budget if peer is None or peer.takes_budget else peer.seconds
        return before.get((step.split.table, step.competitor), guess) + OVERHEAD_S

    return sum(map(of, todo))


def made(table: Table, seed: int, say: Callable[[str], None]) -> Split | None:
    try:
        return splits.make(table, seed)
    except StepFailed as error:
        say(f"  {table.name} cannot be read, and is left out: {error}")
        return None


def without_unavailable(todo: Sequence[Step], say: Callable[[str], None]) -> list[Step]:
    """The steps whose peer can be installed here; what cannot is told once, and may come in a later run."""
    missing = set()
    for name in {step.competitor for step in todo} - {OURS}:
        try:
            environments.python_of(PEERS[name].environment, PEERS[name].requirements)
        except subprocess.CalledProcessError:
            say(f"  {LABELS[name]} cannot be installed here, and is left out")
            missing.add(name)
    return [step for step in todo if step.competitor not in missing]


def source() -> str:
    """A digest of what makes the models: measured again when it has changed."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]):
        digest.update(path.read_bytes())
    digest.update((ROOT / "requirements" / "trainer.txt").read_bytes())
    return digest.hexdigest()[:12]


def run(request: Request, say: Callable[[str], None] = print) -> None:
    """Measure what is missing. May be stopped at any time: the next call goes on after the last line kept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what was started is ended
    with contextlib.suppress(AttributeError):  # not on macOS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    known, digest = results.read(request.file), source()
    files = [split for table in request.tables for seed in request.seeds if (split := made(table, seed, say))]
    todo = without_unavailable(steps(request, files, known, digest), say)
    if not todo:
        say("  everything is known already")
        return
    say(f"  {len(todo)} fits, about {_long(seconds(todo, known, request.budget))}; results in {request.file}")
    with contextlib.ExitStack() as stack:
        trainyard = None
        if any(step.competitor == OURS for step in todo):
            trainyard = stack.enter_context(ours.running())
        for position, step in enumerate(todo):
            began = time.perf_counter()
            case = compete.Case(split=step.split, budget=request.budget, cores=CORES)
            if step.competitor == OURS:
                assert trainyard is not None
                result = compete.ours(case, trainyard, {"source": digest})
            else:
                result = compete.peer(case, PEERS[step.competitor])
            results.append(result, request.file)
            left = _long(seconds(todo[position + 1 :], known, request.budget))
            say(f"  {_told(result)}, {time.perf_counter() - began:.0f} s in all; about {left} left")


def _told(result: Result) -> str:
    found = (
        f"{result.metric} {result.score:.4f} in {result.seconds:.1f} s" if result.score is not None else ""
    )
    return f"{result.table}, seed {result.seed}, {LABELS[result.competitor]}: {found or result.failed}"


def _long(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
