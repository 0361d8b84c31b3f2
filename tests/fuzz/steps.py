"""The step that reads many tables in one child, each as far as a plan: what became of each."""

from __future__ import annotations

import json
import random
import re
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.trainer import table
from services.trainer.outcome import Progress
from services.trainer.plan import plan
from services.trainer.profile import profile
from services.trainer.table_limits import TableLimits
from shared.contracts.files import Profile
from shared.contracts.training import TrainRequest
from shared.errors import TrainyardError

STEPS = {"read_all": "tests.fuzz.steps:read_all"}

LIMITS = TableLimits(max_bytes=64 * 2**20, max_rows=1_000_000, max_record_bytes=2**20)
LONGEST_REASON = 4_000
INSIDE = re.compile(r"Traceback|\.py\b|site-packages|\w+(Error|Exception)\b|object at 0x")
"""What nobody should have to read."""


class Read(Struct):
    """`outcome`: planned | profiled | refused | broken, the last with `reason` saying how."""

    outcome: str
    seconds: float
    reason: str = ""


def read_all(*, folder: Path, names: list[str], first: int, scratch: Path, progress: Progress) -> list[Read]:
    """Read the tables `folder`/0, 1, … from `first` on. Progress tells which one is being read."""
    found = []
    for i in range(first, len(names)):
        progress(0.0, str(i))
        started = time.monotonic()
        outcome, reason = read(folder / str(i), names[i], scratch / "table.arrow", seed=i)
        found.append(Read(outcome, time.monotonic() - started, reason))
    return found


def read(source: Path, name: str, out: Path, seed: int) -> tuple[str, str]:
    outcome = "refused"
    try:
        table.decode(source, name, out, limits=LIMITS)
        made = profile(out)
        outcome = "profiled"
        _storable(made)
        for request in requests(made, random.Random(seed)):
            try:
                _storable(plan(out, request, made))
                outcome = "planned"
            except TrainyardError as error:
                _sayable(error)
    except TrainyardError as error:
        try:
            _sayable(error)
        except AssertionError as fault:
            return "broken", str(fault)
        return outcome, error.detail
    except Exception:  # noqa: BLE001 - whatever it is, it is what this looks for
        return "broken", traceback.format_exc()[-3_000:]
    return outcome, ""


def requests(made: Profile, rng: random.Random) -> list[TrainRequest]:
    """What was suggested, and requests about any columns."""
    names = [column.name for column in made.columns if len(column.name) <= 1_000]
    asked: list[dict[str, Any]] = []
    if made.suggested_target is not None:
        asked.append({"target": made.suggested_target})
    for _ in range(3):
        kind = rng.choice(["auto", "classification", "regression", "time_series"])
        request: dict[str, Any] = {"target": rng.choice(names), "task_type": kind}
        if kind == "time_series" or rng.random() < 0.3:
            request["time_column"] = rng.choice(names)
            if rng.random() < 0.4:
                request["series_column"] = rng.choice(names)
            if rng.random() < 0.4:
                request["horizon"] = rng.choice([1, 5, 100_000])
        elif rng.random() < 0.3:
            request["group_column"] = rng.choice(names)
        asked.append(request)
    return [TrainRequest(file_id=uuid.UUID(int=1), **request) for request in asked]


def _storable(made: Any) -> None:
    """As JSON without NaN, and as text that Postgres takes."""
    written = json.dumps(msgspec.to_builtins(made), allow_nan=False)
    assert "\\u0000" not in written, "NUL in what is stored"
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) is not None


def _sayable(error: TrainyardError) -> None:
    assert error.detail, "no reason given"
    assert len(error.detail) <= LONGEST_REASON, f"a reason of {len(error.detail)} characters"
    assert INSIDE.search(error.detail) is None, f"not in people's words: {error.detail}"
    assert "\0" not in error.detail
    error.detail.encode()
