"""What was measured, a JSON line each, so that a run that is stopped goes on where it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

FILE = Path(__file__).parents[3] / "docs" / "benchmarks" / "models.jsonl"


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One competitor on one split of one table.

    `score`: the table's metric on the held-out rows, None where `failed` says why; `scores`: further ones;
    `seconds`: what the fit took; `versions`: of what fitted, for ours the digest of its source;
    `rows`, `columns`: of the whole table, the target not counted; `train_sha256`: of the file fitted on.
    """

    table: str
    seed: int
    budget: float
    competitor: str
    task: str
    metric: str
    rows: int
    columns: int
    score: float | None
    seconds: float
    versions: dict[str, str]
    machine: str
    date: str
    train_sha256: str = ""
    scores: dict[str, float] = {}
    size_bytes: int = 0
    predict_ms_per_row: float = 0.0
    note: str = ""
    failed: str = ""

    @property
    def case(self) -> tuple[str, int]:
        return self.table, self.seed


def read(path: Path = FILE) -> list[Result]:
    """What is known, of what was measured more than once the last. A line cut off by a kill is left out."""
    if not path.exists():
        return []
    found: dict[tuple[str, int, float, str], Result] = {}
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            r = msgspec.json.decode(line, type=Result)
            found.pop(key := (r.table, r.seed, r.budget, r.competitor), None)
            found[key] = r  # at the end: in the order in which they were measured
    return list(found.values())


def append(result: Result, path: Path = FILE) -> None:
    """Add a line. What a run that was killed in mid-line left is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        size = file.tell()
        file.seek(max(0, size - 1))
        cut_off = size > 0 and file.read(1) != b"\n"
        file.write((b"\n" if cut_off else b"") + msgspec.json.encode(result) + b"\n")


def of_budget(results: Iterable[Result], budget: float) -> list[Result]:
    return [result for result in results if result.budget == budget]
