"""Whether a cluster's workers run what this trainer runs: pickles and distributed training need the same."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import ClusterFailed

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = (
    "cloudpickle",
    "dask",
    "distributed",
    "joblib",
    "lightgbm",
    "msgspec",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skrub",
    "xgboost",
)
_OTHER_NAMES = {"xgboost": "xgboost-cpu"}


def same(client: Client) -> None:
    """Raise ClusterFailed naming the first worker that runs something else, and what."""
    ours = here()
    for address, theirs in sorted(client.run(here, on_error="return").items()):
        if isinstance(theirs, BaseException):
            raise ClusterFailed(
                f"the Dask worker at {address} does not run the trainer's image ({type(theirs).__name__})"
            )
        if off := [name for name in ours if theirs.get(name) != ours[name]]:
            raise ClusterFailed(
                f"the Dask worker at {address} has {off[0]} {theirs.get(off[0])}, and this trainer "
                f"{ours[off[0]]}; a cluster is updated with its trainers"
            )


@cache
def here() -> dict[str, str]:
    """Name → version of all that both sides must have alike, our own code by a digest of it."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "Trainyard": _code()}
    for name in PACKAGES:
        found[name] = _version(name) or _version(_OTHER_NAMES.get(name, "")) or "none"
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name) if name else None
    except metadata.PackageNotFoundError:
        return None


def _code() -> str:
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]
