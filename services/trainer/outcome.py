"""What a fit hands back: one JSON file and, beside it in the scratch folder, the files it names.

The child writes it, the trainer reads it with msgspec: no pickle crosses from child to parent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from shared.contracts.downloads import OnnxFacts
from shared.contracts.problems import Notice
from shared.contracts.results import ForecastPoint, Intervals, PlotData, Uncertainty

MODEL_FILE = "model.pkl"
"""The pickle in the scratch folder, written with `joblib.dump`."""

SKOPS_FILE = "model.skops"
ONNX_FILE = "model.onnx"
"""The same model in the scratch folder of a conversion."""

PREDICTIONS_FILE = "predictions.npz"
"""What a fit predicted for rows that it had not seen, beside `MODEL_FILE` (`trainer.predictions`)."""

MAX_PREDICTIONS_BYTES = 128 * 2**20
"""A larger file is neither written, kept nor read: the model is then no member of an ensemble."""

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


class ConvertedOnnx(Struct):
    """Of `ONNX_FILE`. `requires`: the runtime that its predictions were compared with."""

    facts: OnnxFacts
    requires: list[str]


class Kept(Struct):
    """A file of a fit that is in the store beside its model."""

    size_bytes: int
    sha256: str


class Member(Struct, kw_only=True):
    """A model that an ensemble may be made of, as its own fit ended. `predictions`, `model`: its files in the
    scratch folder, the second once it is wanted; `sha256`: of its pickle, whose signature was checked;
    `behind`: of a time series, the steps at the table's end that it has not seen; `learning_curve`: what its
    own plot shows, where it has one."""

    slug: str
    label: str
    predictions: Path
    model: Path
    sha256: str
    cv_mean: float
    fit_seconds: float
    refit: bool
    packages: list[str]
    importance: list[Importance]
    behind: int = 0
    learning_curve: dict[str, Any] | None = None


class Choice(Struct, kw_only=True):
    """What an ensemble is to be made of, or `reason`: why there is none, in words for its user.

    `weights`: slug → weight, above 0, at least two; of a stack 1 each."""

    weights: dict[str, float]
    reason: str | None = None


class FitOutcome(Struct, kw_only=True):
    """Scores of one candidate.

    `cv_mean`/`cv_std`: the headline metric in its natural sign over the validation folds (or
    backtest windows) on the training part. `metrics`: every metric of the task type on held-out
    rows. `fit_seconds`: one fit on the whole training part. `packages`: what the pickle imports,
    as exact requirements ("scikit-learn==1.9.1"). `forecast`: time series only, as is
    `beats_seasonal_naive`: whether the headline metric of the backtests is ahead of the seasonal naive's on
    the same steps (None for that itself). `predictions`: what is in the store of `PREDICTIONS_FILE`, said by
    the trainer.
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
    beats_seasonal_naive: bool | None = None
    predictions: Kept | None = None
