"""What was measured, in one place: docs/benchmarks/footprint.json, from which docs/scaling.md is made."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

PATH = Path(__file__).parents[3] / "docs" / "benchmarks" / "footprint.json"


class Use(Struct, frozen=True, kw_only=True):
    """What something asks of the servers. `…_s`: processor time of all processes of that kind, seconds."""

    seconds: float = 0.0
    statements: float = 0.0
    commits: float = 0.0
    postgres_s: float = 0.0
    wal_bytes: float = 0.0
    redis_commands: float = 0.0
    redis_s: float = 0.0
    api_s: float = 0.0
    workers_s: float = 0.0
    store_requests: float = 0.0

    def _with(self, other: Use | float, do: Callable[[float, float], float]) -> Use:
        values = {}
        for name in self.__struct_fields__:
            by = getattr(other, name) if isinstance(other, Use) else other
            values[name] = do(getattr(self, name), by)
        return Use(**values)

    def __sub__(self, other: Use) -> Use:
        return self._with(other, operator.sub)

    def __add__(self, other: Use) -> Use:
        return self._with(other, operator.add)

    def __mul__(self, times: float) -> Use:
        return self._with(times, operator.mul)

    def __truediv__(self, by: float) -> Use:
        return self._with(by, operator.truediv)

    def beyond(self, rate: Use) -> Use:
        """Without what comes anyway, `rate` a second."""
        return msgspec.structs.replace(self - rate * self.seconds, seconds=self.seconds)


class Depth(Struct, frozen=True):
    """Processor milliseconds of Postgres, with so many jobs waiting."""

    waiting: int
    claim_ms: float
    backlog_ms: float


class Net(Struct, frozen=True):
    """`shared.db.jobs.restore_missing` with so many runs in the database, milliseconds of Postgres."""

    runs: int
    ms: float


class Footprint(Struct, frozen=True, kw_only=True):
    """Everything that docs/scaling.md is worked out from; sizes in bytes."""

    measured: str
    """When, and on which machine."""
    run: Use
    """A run with no model at all: its POST, plan, report, and who watches it."""
    model: Use
    """Each model more, its fit taking no time."""
    fit_second: Use
    """Each second of a fit."""
    job_and_trainer: Use
    """Each job, for every further trainer that is told of it."""
    idle_api: Use
    """A second of a process that has nothing to do."""
    idle_trainer: Use
    idle_packager: Use
    poll: Use
    """A status poll, 304, each of another run."""
    polls_per_s: float
    """Of one API process."""
    upload_mib: Use
    """A MiB uploaded."""
    connections_api: int
    """To Postgres, while it is asked for all it can do."""
    connections_trainer: int
    connections_packager: int
    table_bytes: dict[str, int]
    """Of each table with its indexes, a run."""
    row_bytes: dict[str, int]
    """Of that, the rows alone."""
    user_bytes: int
    """Of a user who has one file and one turn, indexes and all."""
    store_bytes: int
    """Of a run's models, plots and report."""
    store_objects: int
    store_requests: float
    """Of a run of real fits."""
    real_runs: int
    """Runs of real fits that bytes were measured of."""
    real_models: int
    """Candidates of each of them."""
    wal_bytes: int
    """Of a real run."""
    redis_command_s: float
    """Processor time of Redis for a command, whatever it is."""
    redis_keys: float
    """That a run leaves in Redis."""
    depths: list[Depth]
    nets: list[Net]


def load(path: Path = PATH) -> Footprint:
    return msgspec.json.decode(path.read_bytes(), type=Footprint)


def save(found: Footprint, path: Path = PATH) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(found)), indent=1) + b"\n")


def _rounded(found: Footprint) -> object:
    """Four digits: the rest is noise, and would change the file without changing what it says."""
    text = msgspec.json.encode(found)

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: short(inner) for key, inner in value.items()}
        return [short(inner) for inner in value] if isinstance(value, list) else value

    return short(msgspec.json.decode(text))
