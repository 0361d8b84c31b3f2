"""The cluster that fits may run on: where it is, what goes there, and what a step is told of it. No I/O.

Two things are done there. The folds, trials and trees of a fit are pieces of work for joblib's Dask backend
(`cluster_client`, `side_by_side`). And where a plan had to draw rows of a table because a fit's memory does
not hold them, boosters that are distributed themselves learn from all rows, in Parquet files that the
workers read from the store (`cluster_rows`, `cluster_fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from services.trainer.child_memory import LEAST_BYTES
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.errors import ConfigurationError
from shared.settings import Cluster as Settings
from shared.settings import require

SPREAD = frozenset({"lightgbm", "xgboost"})
"""Models whose libraries fit them on many machines at once."""

DETAIL = "cluster"
"""Under which a plan's details say that these learn from all rows."""

WORTHWHILE_CELLS = 50_000
"""A fit on a smaller table is over before a cluster has been told of it."""

CLIENT_BYTES = 128 * 2**20
"""What a fit that has a cluster holds besides: Dask's client, and what is on its way through it."""

FREE, TEST = -1, 0
"""What a row that was not drawn goes with: nothing, or the held-out rows; above, a fold's, counted from 1."""


class Link(Struct, frozen=True, kw_only=True):
    """A file of rows in the store: a signed link to it, its SHA-256, and how many rows of each kind it has
    (`FREE` and on, as text)."""

    url: str
    sha256: str
    rows: dict[str, int]


class Asked(Struct, frozen=True, kw_only=True):
    """What a step is told: the scheduler's address, and the table's other rows where it is to learn from
    all of them."""

    scheduler: str
    links: list[Link] = []


class Cluster(Struct, frozen=True, kw_only=True):
    """Where the scheduler is."""

    host: str
    port: int

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def configured(settings: Settings) -> Cluster | None:
    """The cluster that the settings name, None where fits are local. Raises ConfigurationError."""
    if settings.trainer_joblib_backend == "local":
        return None
    require(settings, "dask_scheduler")
    try:
        parts = urlsplit(settings.dask_scheduler)
        port = parts.port
    except ValueError:
        port = None
    if port is None or parts.scheme != "tcp" or not parts.hostname or parts.path.strip("/"):
        raise ConfigurationError(
            f"environment variable DASK_SCHEDULER: {settings.dask_scheduler!r} is not tcp://host:port"
        )
    return Cluster(host=parts.hostname, port=port)


def room(memory_bytes: int, where: Cluster | None) -> int:
    """What is left of a fit's guard for all but the client. Raises ConfigurationError where that is less than
    any fit needs."""
    if where is None:
        return memory_bytes
    left = memory_bytes - CLIENT_BYTES
    if left < LEAST_BYTES:
        raise ConfigurationError(
            f"with TRAINER_JOBLIB_BACKEND=dask a fit needs {(LEAST_BYTES + CLIENT_BYTES) // 2**20} MiB, and "
            f"has {memory_bytes // 2**20} here; TRAINER_SLOTS and TRAINER_MEMORY_BYTES say otherwise"
        )
    return left


def spreads(details: Mapping[str, Any], model_name: str) -> bool:
    """Whether a plan's details say that this model learns from all rows on the cluster."""
    return DETAIL in details and model_name in SPREAD


def worthwhile(task_type: TaskType, rows: int, columns: int) -> bool:
    """Whether parts of a fit are sent to the cluster; those of time series are not."""
    return task_type is not TaskType.TIME_SERIES and rows * columns >= WORTHWHILE_CELLS


def notice(models: list[str], rows: int) -> Notice:
    """What to tell the user of a table whose rows some models all learn from."""
    return Notice(
        code="trained-on-cluster",
        message=f"{' and '.join(sorted(models))} learn from all {rows:,} rows of the table, on the cluster.",
        evidence=f"{rows:,} rows",
        action="They are validated and scored on the same rows as the other models, and their settings are "
        "chosen on the rows that were drawn.",
    )
