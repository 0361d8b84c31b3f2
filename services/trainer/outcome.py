"""What a fit hands back: one JSON file and, beside it in the scratch folder, the files it names.

The child writes it, the trainer reads it with msgspec: no pickle crosses from child to parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from shared.contracts import ForecastPoint, Intervals, Notice, PlotData, Uncertainty

MODEL_FILE = "model.pkl"
"""The pickle in the scratch folder, written with `joblib.dump`."""

SKOPS_FILE = "model.skops"
"""The same model in the scratch folder of a conversion."""

Progress = Callable[[float, str], None]
"""Called with the share done (0..1) and a short message a user understands."""


class Importance(Struct):
    """Permutation importance on held-out rows: mean and standard deviation of the headline's loss."""

    feature: str
    mean: float
    std: float


class Example(Struct, kw_only=True):
    """A few raw rows (or, for series, `{"h": horizon}`) and what the handed-over pickle predicts.

    `rows`: list of JSON objects with the table's own columns, target left out.
    `predictions`: one entry a row, in the table's own labels; for series one object a forecast row.
    """

    rows: list[dict[str, Any]]
    predictions: list[Any]


class Converted(Struct):
    """Of `SKOPS_FILE`. `types`: what `skops.io.load(path, trusted=types)` needs; `requires`: the skops that
    wrote it, as an exact requirement."""

    types: list[str]
    requires: list[str]


class FitOutcome(Struct, kw_only=True):
    """Scores of one candidate.

    `cv_mean`/`cv_std`: the headline metric in its natural sign over the validation folds (or
    backtest windows) on the training part. `metrics`: every metric of the task type on held-out
    rows. `fit_seconds`: one fit on the whole training part. `packages`: what the pickle imports,
    as exact requirements ("scikit-learn==1.9.1"). `forecast`: time series only.
    """

    cv_mean: float | None
    cv_std: float | None
    metrics: dict[str, float | None]
    fit_seconds: float
    predict_ms_per_row: float
    packages: list[str]
    example: Example
    plots: list[PlotData] = []
    importance: list[Importance] = []
    forecast: list[ForecastPoint] = []
    warnings: list[Notice] = []
    details: dict[str, Any] = {}
    uncertainty: Uncertainty | None = None
    intervals: Intervals | None = None
