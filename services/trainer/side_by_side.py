"""Pieces of a fit that are computed side by side, by a backend of joblib's: a Dask cluster.

The backend is used where it pays and nowhere else: for folds and trials as a whole (`computed`), and for what
a model's own fit takes apart (`fitted`). Had it all that joblib does, every `ColumnTransformer` would send
its columns away one by one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import joblib
import msgspec
import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from services.trainer.table_rows import Rows

if TYPE_CHECKING:
    from services.trainer.candidate import Candidate

T = TypeVar("T")

IN_PIECES = frozenset({"random_forest", "extra_trees", "logistic_regression", "elastic_net"})
"""Models whose fit joblib takes apart: into trees, or into the folds that a penalty is chosen on."""

_backend: Any = None


@contextlib.contextmanager
def over(backend: Any) -> Iterator[None]:
    """Within the block pieces go to this backend of joblib's, which has been told to scatter `scattered`."""
    global _backend
    _backend = backend
    try:
        yield
    finally:
        _backend = None


def scattered(rows: Rows) -> list[Any]:
    """What every piece of a fit on these rows reads, and every worker is to have once."""
    return [rows.features, rows.y]


def fitted(pipeline: Pipeline, features: pd.DataFrame, y: np.ndarray) -> Pipeline:
    """The pipeline, prepared here, its model fitted in pieces."""
    prepared: Any = features
    for _, step in pipeline.steps[:-1]:
        prepared = step.fit_transform(prepared, y)
    with joblib.parallel_config(backend=_backend, n_jobs=-1):
        pipeline.steps[-1][1].fit(prepared, y)
    return pipeline


def computed(candidate: Candidate, work: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    """`work(candidate, *call)` for each of `calls`, in their order; raises what one of them raised. The rows
    are not sent along with each: the backend knows what it has scattered by its being the same object."""
    rows = candidate.rows
    bare = msgspec.structs.replace(rows, features=rows.features.iloc[:0], y=rows.y[:0])
    sent = msgspec.structs.replace(candidate, rows=bare, wide=1)
    with joblib.parallel_config(backend=_backend, n_jobs=-1):
        # each by itself: joblib would put quick ones together, and these are not quick
        made = joblib.Parallel(batch_size=1)(
            joblib.delayed(_there)(rows.features, rows.y, sent, work, call) for call in calls
        )
    return list(made)


def _there(
    features: pd.DataFrame,
    y: np.ndarray,
    sent: Candidate,
    work: Callable[..., T],
    call: tuple[Any, ...],
) -> T:
    """On the worker: as many threads as the fit has, and nothing sent on from here."""
    rows = msgspec.structs.replace(sent.rows, features=features, y=y)
    candidate = msgspec.structs.replace(sent, rows=rows)
    with (
        joblib.parallel_config(backend="threading", n_jobs=candidate.threads),
        threadpool_limits(candidate.threads),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return work(candidate, *call)
