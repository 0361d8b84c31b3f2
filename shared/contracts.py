"""Everything that crosses a boundary: HTTP bodies, rows handed out, job kinds, plans. No I/O.

Field names are the HTTP contract's. Times are timezone-aware UTC, sizes bytes, durations seconds,
ratios 0..1. An omitted optional field is left out of the JSON (`omit_defaults` is never used, so a
`None` is written as null only where the contract shows the field without a question mark).
"""

from __future__ import annotations

import datetime as dt
import enum
import os
import time
import uuid
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType


def uuid7() -> uuid.UUID:
    """A time-ordered UUID (RFC 9562, section 5.7): rows made one after another stay together."""
    ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (ms & (2**48 - 1)) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (2**62 - 1)
    return uuid.UUID(int=value)


def first_uuid7(at: float) -> uuid.UUID:
    """The least `uuid7` of a moment (seconds since 1970): every one that was made before is less."""
    return uuid.UUID(int=int(at * 1000) << 80)


class TaskType(enum.StrEnum):
    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    TIME_SERIES = "time_series"


class TaskStatus(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Stage(enum.StrEnum):
    QUEUED = "queued"
    PROFILING = "profiling"
    FITTING = "fitting"
    ENSEMBLING = "ensembling"
    FINISHING = "finishing"
    DONE = "done"


class CandidateStatus(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class ModelStatus(enum.StrEnum):
    SAVING = "saving"
    READY = "ready"
    FAILED = "failed"


class FileStatus(enum.StrEnum):
    PROFILING = "profiling"
    READY = "ready"
    FAILED = "failed"


class BundleStatus(enum.StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class JobKind(enum.StrEnum):
    """Stable names of the messages: old and new workers run side by side on them."""

    PROFILE = "profile"
    PLAN = "plan"
    FIT = "fit"
    FINISH = "finish"
    BUNDLE = "bundle"
    SAVE = "save"
    PURGE = "purge"
    CONVERT = "convert"
    CONVERT_ONNX = "convert_onnx"
    EXPORT = "export"
    ERASE = "erase"


BEST_MODEL = "best_model"
"""The reserved slug under which a task's best model is asked for."""


# --- what is warned of and what went wrong ------------------------------------------------------


class Notice(Struct, kw_only=True):
    """`{code, column?, message, evidence?, action}`: `action` says what was done about it."""

    code: str
    message: str
    action: str
    column: str | UnsetType = UNSET
    evidence: str | UnsetType = UNSET


class Fault(Struct):
    """One fault of a body: a JSON pointer (RFC 6901) and what is wrong there."""

    pointer: str
    detail: str


class Problem(Struct, kw_only=True):
    """application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | UnsetType = UNSET
    errors: list[Fault] | UnsetType = UNSET


# --- files --------------------------------------------------------------------------------------


class File(Struct, kw_only=True):
    """`status` is its profile's: `failed` where the table cannot be read, and `error` says why."""

    file_id: uuid.UUID
    name: str
    size_bytes: int
    sha256: str
    created_at: dt.datetime
    status: FileStatus | UnsetType = UNSET
    error: str | UnsetType = UNSET
    rows: int | UnsetType = UNSET
    columns: int | UnsetType = UNSET


class ValueCount(Struct):
    value: str
    count: int


class Bin(Struct, rename={"from_": "from"}):
    from_: float
    to: float
    count: int


class ColumnProfile(Struct, kw_only=True):
    """`role`: numeric | categorical | text | datetime | boolean | identifier | constant | empty."""

    name: str
    role: str
    dtype: str
    missing: int
    distinct: int
    min: float | str | UnsetType = UNSET
    max: float | str | UnsetType = UNSET
    mean: float | UnsetType = UNSET
    top: list[ValueCount] | UnsetType = UNSET
    histogram: list[Bin] | UnsetType = UNSET


class Profile(Struct, kw_only=True):
    """The suggested columns of time and series are there where a time series is suggested; without the
    second the table is one series."""

    rows: int
    columns: list[ColumnProfile]
    suggested_target: str | None
    suggested_task_type: TaskType | None
    reason: str
    warnings: list[Notice]
    suggested_time_column: str | UnsetType = UNSET
    suggested_series_column: str | UnsetType = UNSET


class Preview(Struct, kw_only=True):
    """A table's first rows, at most 50 and of a very wide one fewer, as they were read: text, null where a
    value is missing. A long text is cut and ends in an ellipsis."""

    columns: list[str]
    rows: list[list[str | None]]


# --- training -----------------------------------------------------------------------------------


class TrainRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /ml/train`; only `file_id` and `target` are required."""

    file_id: Annotated[uuid.UUID, Meta(description="The table")]
    target: Annotated[str, Meta(min_length=1, max_length=1000, description="The column to be predicted")]
    task_type: Annotated[
        Literal["auto", "classification", "regression", "time_series"],
        Meta(description="`auto` decides by the target and the time column"),
    ] = "auto"
    models: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=50)] | None,
        Meta(description="Slugs or labels of `GET /ml/models`; null for all of the task type's defaults"),
    ] = None
    metric: Annotated[
        str | None,
        Meta(description="What decides the rank; null for accuracy, r2 or mase"),
    ] = None
    time_budget_s: Annotated[
        float, Meta(ge=1, le=86_400, description="Seconds from `running` to the end, over all trainers")
    ] = 300
    test_size: Annotated[float, Meta(gt=0, lt=1, description="Share of rows that no scored fit sees")] = 0.2
    cv_folds: Annotated[int, Meta(ge=2, le=20, description="Folds, or backtests of a time series")] = 5
    refit: Annotated[bool, Meta(description="Hand over models that were fitted again, on all rows")] = True
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="The same seed splits and fits alike")] = 0
    exclude_columns: Annotated[list[str], Meta(max_length=10_000, description="Not to be looked at")] = []
    group_column: Annotated[
        str | None, Meta(description="Rows of one group stay on one side of every split")
    ] = None
    time_column: Annotated[str | None, Meta(description="A time series' times")] = None
    series_column: Annotated[str | None, Meta(description="Which of several time series a row is of")] = None
    horizon: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        Meta(description="Steps to forecast; null for two seasons or a tenth of the series"),
    ] = None
    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="What the run is called; null for the file's name and the target"),
    ] = None
    on_leakage: Annotated[
        Literal["warn", "drop", "fail"], Meta(description="What to do with columns that give the target away")
    ] = "warn"


class Candidate(Struct, kw_only=True):
    model_name: str
    label: str
    status: CandidateStatus
    attempt: int
    score: float | UnsetType | None = UNSET
    fit_seconds: float | UnsetType | None = UNSET
    reason: str | UnsetType | None = UNSET


class Best(Struct, kw_only=True):
    model_name: str
    label: str
    metric: str
    score: float


class Task(Struct, kw_only=True):
    task_id: uuid.UUID
    name: str
    status: TaskStatus
    target: str
    progress: float
    stage: Stage
    message: str
    candidates: list[Candidate]
    warnings: list[Notice]
    request: TrainRequest
    created_at: dt.datetime
    version: int
    task_type: TaskType | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    queue_position: int | UnsetType = UNSET
    eta_seconds: float | UnsetType = UNSET
    best: Best | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    started_at: dt.datetime | UnsetType = UNSET
    finished_at: dt.datetime | UnsetType = UNSET


class LogEntry(Struct, kw_only=True):
    """What happened to a run; `model_name`: which of its models it happened to."""

    at: dt.datetime
    message: str
    model_name: str | UnsetType = UNSET


class RunLog(Struct, kw_only=True):
    """Oldest first; all of it, for it is as long as the run has models."""

    items: list[LogEntry]


class ModelChoice(Struct, kw_only=True):
    """One entry of `GET /ml/models`."""

    model_name: str
    label: str
    algorithm: str
    task_type: TaskType
    default: bool


class MetricInfo(Struct, kw_only=True):
    name: str
    greater_is_better: bool


class LeaderboardRow(Struct, kw_only=True):
    """`metrics` holds every metric of the task type in its natural sign; undefined ones are null.

    On the wire the metrics stand between `algorithm` and `cv_mean`, flat, as the contract has them.
    `fit_seconds`: one fit on the training part; of an ensemble the fits of all its members and what combining
    them took. `predict_ms_per_row`: a row's share of a batch of held-out rows, all members of an ensemble
    asked. `size_bytes`: of the pickle, in which an ensemble holds copies of its members.
    `score_low`, `score_high`: the bootstrap interval around `cv_mean` (`Uncertainty`). `tied_with_best`:
    whether the difference to the best model's may be none; null for the best itself and where it is unknown.
    """

    rank: int | None
    model_name: str
    label: str
    algorithm: str
    metrics: dict[str, float | None]
    cv_mean: float | None
    cv_std: float | None
    fit_seconds: float | None
    predict_ms_per_row: float | None
    size_bytes: int | None
    status: CandidateStatus
    reason: str | None
    score_low: float | None = None
    score_high: float | None = None
    tied_with_best: bool | None = None

    def flat(self) -> dict[str, Any]:
        row = msgspec.structs.asdict(self)
        metrics = row.pop("metrics")
        head = ("rank", "model_name", "label", "algorithm")
        return {k: row[k] for k in head} | metrics | {k: v for k, v in row.items() if k not in head}


class Uncertainty(Struct, kw_only=True):
    """How far a model's headline metric would move had other rows been drawn: a bootstrap over rows.

    `low`, `high`: the `level` interval around `cv_mean`, of the `rows` that were validated;
    `held_out_low`, `held_out_high`: around the held-out metric. None where it is undefined. `deviations`:
    what each resample of the validated rows adds to `cv_mean` (None where it leaves the metric undefined).
    Resample i draws the same rows for every model whose `digest` (of those rows) is the same, so that the
    differences of two models' deviations are a paired bootstrap.
    """

    level: float
    rows: int
    low: float | None
    high: float | None
    held_out_low: float | None
    held_out_high: float | None
    digest: str
    deviations: list[float | None] = []


class Intervals(Struct, kw_only=True):
    """Conformal prediction intervals of a regression, in the target's unit.

    A prediction p lies in bin i where edges[i-1] <= p < edges[i]; its interval is p + lower[level][i] to
    p + upper[level][i]. Levels are percents as text ("80", "95"); one that so few rows do not support is
    left out. `coverage` and `mean_width`: measured on the held-out rows. `rows`: those it was calibrated on.
    """

    rows: int
    edges: list[float]
    lower: dict[str, list[float]]
    upper: dict[str, list[float]]
    coverage: dict[str, float]
    mean_width: dict[str, float]


METRICS: dict[TaskType, dict[str, bool]] = {
    TaskType.CLASSIFICATION: {
        "accuracy": True,
        "balanced_accuracy": True,
        "f1_macro": True,
        "f1_weighted": True,
        "precision_macro": True,
        "recall_macro": True,
        "roc_auc": True,
        "average_precision": True,
        "log_loss": False,
        "matthews_corrcoef": True,
        "brier": False,
    },
    TaskType.REGRESSION: {
        "r2": True,
        "rmse": False,
        "mae": False,
        "mape": False,
        "median_absolute_error": False,
        "max_error": False,
        "explained_variance": True,
    },
    TaskType.TIME_SERIES: {
        "mase": False,
        "smape": False,
        "wape": False,
        "rmse": False,
        "mae": False,
        "rmsse": False,
    },
}
"""Every metric of a task type, in the leaderboard's order → whether greater is better."""

HEADLINE: dict[TaskType, str] = {
    TaskType.CLASSIFICATION: "accuracy",
    TaskType.REGRESSION: "r2",
    TaskType.TIME_SERIES: "mase",
}

_MODELS: dict[TaskType, list[tuple[str, str, str]]] = {
    TaskType.CLASSIFICATION: [
        ("logistic_regression", "Logistic Regression", "Logistic Regression Classifier"),
        ("random_forest", "Random Forest", "Random Forest Classifier"),
        ("extra_trees", "Extra Trees", "Extra Trees Classifier"),
        ("hist_gradient_boosting", "Hist Gradient Boosting", "Hist Gradient Boosting Classifier"),
        ("xgboost", "XGBoost", "XGBoost Classifier"),
        ("lightgbm", "LightGBM", "LightGBM Classifier"),
        ("catboost", "CatBoost", "CatBoost Classifier"),
        ("k_nearest_neighbors", "K-Nearest Neighbors", "K-Nearest Neighbors Classifier"),
        ("naive_bayes", "Naive Bayes", "Gaussian Naive Bayes Classifier"),
        ("mlp", "Neural Network (MLP)", "Multi-layer Perceptron Classifier"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Classifiers"),
        ("stacked_ensemble", "Stacked Ensemble", "Logistic Regression on Classifiers"),
    ],
    TaskType.REGRESSION: [
        ("ridge", "Ridge", "Ridge Regression"),
        ("elastic_net", "Elastic Net", "Elastic Net Regression"),
        ("random_forest", "Random Forest", "Random Forest Regressor"),
        ("extra_trees", "Extra Trees", "Extra Trees Regressor"),
        ("hist_gradient_boosting", "Hist Gradient Boosting", "Hist Gradient Boosting Regressor"),
        ("xgboost", "XGBoost", "XGBoost Regressor"),
        ("lightgbm", "LightGBM", "LightGBM Regressor"),
        ("catboost", "CatBoost", "CatBoost Regressor"),
        ("k_nearest_neighbors", "K-Nearest Neighbors", "K-Nearest Neighbors Regressor"),
        ("mlp", "Neural Network (MLP)", "Multi-layer Perceptron Regressor"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Regressors"),
        ("stacked_ensemble", "Stacked Ensemble", "Ridge Regression on Regressors"),
    ],
    TaskType.TIME_SERIES: [
        ("seasonal_naive", "Seasonal Naive", "Seasonal Naive"),
        ("seasonal_window_average", "Seasonal Window Average", "Seasonal Window Average"),
        ("dynamic_optimized_theta", "Dynamic Optimized Theta", "Dynamic Optimized Theta"),
        ("auto_ets", "AutoETS", "Automatic Exponential Smoothing (ETS)"),
        ("auto_ces", "AutoCES", "Automatic Complex Exponential Smoothing"),
        ("lightgbm", "LightGBM (lags)", "LightGBM Regressor on lags"),
        ("ridge", "Ridge (lags)", "Ridge Regression on lags"),
        ("auto_arima", "AutoARIMA", "Automatic ARIMA"),
        ("auto_theta", "AutoTheta", "Automatic Theta"),
        ("mstl", "MSTL", "Multiple Seasonal-Trend Decomposition by Loess (MSTL)"),
        ("croston", "Croston (SBA)", "Croston's Method, Syntetos-Boylan Approximation"),
        ("tsb", "TSB", "Teunter-Syntetos-Babai Method"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Forecasters"),
    ],
}

_ON_REQUEST = {"seasonal_window_average", "auto_arima", "auto_theta", "mstl", "croston", "tsb"}
"""Only where they are named, or where the series call for them: dear, or good for some kinds alone."""

ENSEMBLES = ("weighted_ensemble", "stacked_ensemble")
"""Slugs of models that are made of a run's other models, once all of those have ended."""

MODELS: dict[TaskType, dict[str, ModelChoice]] = {
    kind: {
        slug: ModelChoice(
            model_name=slug,
            label=label,
            algorithm=algorithm,
            task_type=kind,
            default=slug not in _ON_REQUEST,
        )
        for slug, label, algorithm in rows
    }
    for kind, rows in _MODELS.items()
}
"""What can be asked for, by task type and slug. The API lists it; the trainer knows how to fit it."""


class Plan(Struct, kw_only=True):
    """What `plan` decided for a task; kept on the task's row and handed to every fit.

    `roles` says how each feature column is prepared (numeric | categorical | text | datetime |
    boolean); a column that is in neither `roles` nor a special place (target, time, series, group)
    is left out, and a warning says why. `labels` are the classes in scikit-learn's sorted order.
    `models` holds (slug, label, algorithm) in the order in which they are to be fitted.
    """

    task_type: TaskType
    target: str
    metric: str
    roles: dict[str, str]
    models: list[str]
    rows: int
    test_size: float
    cv_folds: int
    seed: int
    refit: bool
    split_digest: str
    deadline_s: float
    labels: list[str] | None = None
    group_column: str | None = None
    time_column: str | None = None
    series_column: str | None = None
    horizon: int | None = None
    frequency: str | None = None
    season_length: int | None = None
    warnings: list[Notice] = []
    details: dict[str, Any] = {}


class PlotKind(enum.StrEnum):
    """What plots there are: of a classification, of a regression, of either, of a time series."""

    CONFUSION_MATRIX = "confusion_matrix"
    ROC_CURVE = "roc_curve"
    PRECISION_RECALL_CURVE = "precision_recall_curve"
    CALIBRATION_CURVE = "calibration_curve"
    LIFT_CURVE = "lift_curve"
    PREDICTION_ERROR = "prediction_error"
    RESIDUALS = "residuals"
    IMPORTANCE = "importance"
    LEARNING_CURVE = "learning_curve"
    FORECAST = "forecast"


class PlotData(Struct, kw_only=True):
    """`svg` is the drawn plot, `data` what a frontend draws itself. Once the drawing is in the store,
    `svg` is empty and `size_bytes` and `sha256` say what is there."""

    model_name: str
    kind: PlotKind
    data: dict[str, Any]
    svg: str = ""
    size_bytes: int = 0
    sha256: str = ""


class ForecastPoint(Struct, kw_only=True):
    time: str
    mean: float
    series: str | UnsetType = UNSET
    lower_80: float | UnsetType = UNSET
    upper_80: float | UnsetType = UNSET
    lower_95: float | UnsetType = UNSET
    upper_95: float | UnsetType = UNSET


# --- bundles and saved models -------------------------------------------------------------------


class Bundle(Struct, kw_only=True):
    status: BundleStatus
    progress: float
    size_bytes: int | UnsetType = UNSET
    expires_at: dt.datetime | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Link(Struct, kw_only=True):
    """What a file download answers to a client that asks for JSON. `sha256` is left out of a ZIP that the
    store put together itself: SHA256SUMS in it has that of every member. `types`, of a .skops: what
    `skops.io.load` has to be told to trust."""

    url: str
    filename: str
    size_bytes: int
    expires_at: dt.datetime
    sha256: str | UnsetType = UNSET
    types: list[str] | UnsetType = UNSET


NOT_SCIKIT_LEARN: dict[str, str] = {"xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost"}
"""Slugs of models that are another library's, which no .skops is made of."""


def not_skops(task_type: TaskType, slug: str) -> str | None:
    """Why a model cannot be had as .skops, as far as its name tells; None where it probably can."""
    if task_type == TaskType.TIME_SERIES:
        return "Models of time series are not scikit-learn's and cannot be had as .skops; take the pickle"
    if slug in NOT_SCIKIT_LEARN:
        name = NOT_SCIKIT_LEARN[slug]
        return f"This model is {name}'s and not scikit-learn's, and cannot be had as .skops; take the pickle"
    return None


def not_onnx(task_type: TaskType, slug: str) -> str | None:
    """Why a model cannot be had as ONNX, as far as its name tells; None where it may."""
    if task_type == TaskType.TIME_SERIES:
        return "Models of time series have no form in ONNX; take the pickle"
    return None


class ConversionStatus(enum.StrEnum):
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class ConversionFormat(enum.StrEnum):
    """What a model can be had as besides a pickle."""

    SKOPS = "skops"
    ONNX = "onnx"


class OnnxTensor(Struct, kw_only=True):
    """An input or an output of a graph. `shape`: null is the number of rows. `columns`: those of the table
    that an input is made of, after the cleaning that the file's metadata describes (`trainyard.inputs`)."""

    name: str
    type: str
    shape: list[int | None]
    columns: list[str] | UnsetType = UNSET


class Parity(Struct, kw_only=True):
    """How far a graph's answers are from the pickle's, on `rows` held-out rows: the largest difference
    between their `compared`, what is tolerated, the share of equal labels."""

    rows: int
    compared: Literal["probabilities", "predictions"]
    max_abs_difference: float
    tolerance: float
    equal_labels: float | UnsetType = UNSET


class OnnxFacts(Struct, kw_only=True):
    """What running a graph needs to know. `opset`, `ml_opset`: versions of ONNX's own operators and of those
    for classical models."""

    opset: int
    ml_opset: int
    inputs: list[OnnxTensor]
    outputs: list[OnnxTensor]
    parity: Parity


class Conversion(Struct, kw_only=True):
    """A model in another format. `requires`: what has to be installed to open it. `types`, of a .skops: what
    `skops.io.load` has to be told to trust. `onnx`, of a graph: what goes in and out, and how near it is to
    the pickle."""

    status: ConversionStatus
    format: ConversionFormat
    onnx: OnnxFacts | UnsetType = UNSET
    types: list[str] | UnsetType = UNSET
    requires: list[str] | UnsetType = UNSET
    size_bytes: int | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


Tag = Annotated[str, Meta(min_length=1, max_length=40)]


VISIBLE = r"[^\s\x00-\x1f\x7f-\x9f\ufeff]"
"""At least one character that is seen. What counts as blank differs between languages: this does not."""

ModelName = Annotated[str, Meta(min_length=1, max_length=120, pattern=VISIBLE)]
"""The user's own words, kept as typed; blanks alone are no name."""


class SaveRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    task_id: uuid.UUID
    model_name: ModelName
    description: Annotated[str, Meta(max_length=2000)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=20)] = []
    leaderboard_model: Annotated[str, Meta(min_length=1, max_length=200)] = BEST_MODEL


class ModelPatch(Struct, kw_only=True, forbid_unknown_fields=True):
    model_name: ModelName | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=2000)] | UnsetType | None = UNSET
    tags: Annotated[list[Tag], Meta(max_length=20)] | UnsetType = UNSET


class Model(Struct, kw_only=True):
    id: uuid.UUID
    user_id: uuid.UUID
    file_id: uuid.UUID | None
    model_name: str
    algorithm: str
    task_type: TaskType
    metrics: dict[str, Any]
    file_path: str | None
    file_size: int | None
    description: str | None
    tags: list[str]
    status: ModelStatus
    created_at: dt.datetime
    updated_at: dt.datetime
    deleted: bool
    task_id: uuid.UUID
    links_issued: int
    transfers: int
    sha256: str | UnsetType = UNSET


class ModelStats(Struct, kw_only=True):
    count: int
    bytes: int
    by_task_type: dict[str, int]
    by_algorithm: dict[str, int]
    links_issued: int
    transfers: int
    most_downloaded: list[Model]


# --- API keys -----------------------------------------------------------------------------------


class Scope(enum.StrEnum):
    """What a key may do: each holds those before it."""

    READ = "read"
    TRAIN = "train"
    ADMIN = "admin"


class ApiKeyRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=VISIBLE)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=3)]
    expires_in_s: Annotated[int, Meta(ge=60, le=10 * 365 * 86400)] | None = None


class ApiKey(Struct, kw_only=True):
    """A key as it is listed. `prefix` is how its secret begins: by it a key is told from another."""

    id: uuid.UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: dt.datetime
    expires_at: dt.datetime | UnsetType = UNSET
    last_used_at: dt.datetime | UnsetType = UNSET


class NewApiKey(ApiKey, kw_only=True):
    """`key`: the secret, in the one answer that ever has it."""

    key: str | UnsetType = UNSET


# --- accounts -----------------------------------------------------------------------------------


class AuditAction(enum.StrEnum):
    """What the audit trail tells of. `link_issued`: a link was signed; `downloaded`: the last byte left
    through the API; `downloaded_in_part`: other bytes did."""

    FILE_UPLOADED = "file.uploaded"
    FILE_DELETED = "file.deleted"
    RUN_STARTED = "run.started"
    RUN_CANCELLED = "run.cancelled"
    RUN_RESUMED = "run.resumed"
    RUN_DELETED = "run.deleted"
    MODEL_LINK_ISSUED = "model.link_issued"
    MODEL_DOWNLOADED = "model.downloaded"
    MODEL_DOWNLOADED_IN_PART = "model.downloaded_in_part"
    LEADERBOARD_LINK_ISSUED = "leaderboard.link_issued"
    LEADERBOARD_DOWNLOADED = "leaderboard.downloaded"
    LEADERBOARD_DOWNLOADED_IN_PART = "leaderboard.downloaded_in_part"
    BUNDLE_LINK_ISSUED = "bundle.link_issued"
    BUNDLE_DOWNLOADED = "bundle.downloaded"
    BUNDLE_DOWNLOADED_IN_PART = "bundle.downloaded_in_part"
    EXPORT_LINK_ISSUED = "export.link_issued"
    EXPORT_DOWNLOADED = "export.downloaded"
    EXPORT_DOWNLOADED_IN_PART = "export.downloaded_in_part"
    MODEL_SAVED = "model.saved"
    MODEL_CHANGED = "model.changed"
    MODEL_DELETED = "model.deleted"
    MODEL_RESTORED = "model.restored"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    SESSION_BEGUN = "session.begun"
    ACCOUNT_ACTED_AS = "account.acted_as"
    ACCOUNT_EXPORT_ASKED = "account.export_asked"
    ACCOUNT_EXPORTED = "account.exported"
    ACCOUNT_EXPORT_DROPPED = "account.export_dropped"
    ACCOUNT_DELETION_ASKED = "account.deletion_asked"
    ACCOUNT_DELETED = "account.deleted"


class AuditEntry(Struct, kw_only=True):
    """`actor`: user (a signed-in person), service (another service in their name), key (their API key,
    `key_id`), system (Trainyard itself). `detail` depends on the action: a file's or a model's name, the
    lifetime of a link in seconds, the bytes of a transfer."""

    id: uuid.UUID
    at: dt.datetime
    action: AuditAction
    subject_kind: Literal["file", "run", "model", "key", "session", "account"]
    actor: Literal["user", "service", "key", "system"]
    detail: dict[str, Any]
    subject_id: uuid.UUID | UnsetType = UNSET
    key_id: uuid.UUID | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


class AccountLimits(Struct, kw_only=True):
    max_stored_bytes: int
    max_queued_tasks: int
    max_upload_bytes: int


class Account(Struct, kw_only=True):
    """What an account holds; `models` counts those in the trash too, as `stored_bytes` does."""

    user_id: uuid.UUID
    email: str | None
    files: int
    runs: int
    models: int
    stored_bytes: int
    limits: AccountLimits


class Export(Struct, kw_only=True):
    """The ZIP of everything in an account; `built_at`: it holds what there was then."""

    status: BundleStatus
    progress: float
    size_bytes: int | UnsetType = UNSET
    built_at: dt.datetime | UnsetType = UNSET
    expires_at: dt.datetime | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Deletion(Struct, kw_only=True):
    """What `DELETE /account` begins."""

    status: Literal["deleting"]
    detail: str
