"""Examples of bodies, by component: one story, a table of irises from upload to registry.

Whether they fit their schema, and whether one is missing, `tests/unit/api/test_openapi.py` says.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec

from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.states import (
    BundleStatus,
    CandidateStatus,
    ConversionFormat,
    ConversionStatus,
    ModelStatus,
    Stage,
    TaskStatus,
    TaskType,
)

FILE_ID = uuid.UUID("0198c2f0-1d2a-7b6e-9f3c-5a1e0f7b2c44")
TASK_ID = uuid.UUID("0198c2f0-6c1e-7cc1-8d6c-0c4b3c0a9d11")
MODEL_ID = uuid.UUID("0198c2f4-02b7-7f0a-a1d9-3e8c6b5d4f20")
USER_ID = uuid.UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
AT = dt.datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=dt.UTC)
SHA256 = "9f2c1d7e5b3a48f6c0de1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f"

Examples = dict[str, tuple[str, Any]]
"""Key → (summary, value)"""

_FILE = {
    "file_id": FILE_ID,
    "name": "iris.csv",
    "size_bytes": 3975,
    "sha256": SHA256,
    "created_at": AT,
    "status": "ready",
    "rows": 150,
    "columns": 5,
}
_PROFILE = {
    "rows": 150,
    "columns": [
        {
            "name": "petal_length",
            "role": "numeric",
            "dtype": "float64",
            "missing": 0,
            "distinct": 43,
            "min": 1.0,
            "max": 6.9,
            "mean": 3.758,
        },
        {
            "name": "species",
            "role": "categorical",
            "dtype": "object",
            "missing": 0,
            "distinct": 3,
            "top": [
                {"value": "setosa", "count": 50},
                {"value": "versicolor", "count": 50},
                {"value": "virginica", "count": 50},
            ],
        },
    ],
    "suggested_target": "species",
    "suggested_task_type": TaskType.CLASSIFICATION,
    "reason": "the last column, with 3 distinct labels",
    "warnings": [
        {
            "code": "duplicate_rows",
            "message": "1 row is there twice",
            "action": "Kept; both are always on the same side of the split",
        }
    ],
}
_PREVIEW = {
    "columns": ["petal_length", "species"],
    "rows": [["1.4", "setosa"], [None, "versicolor"]],
}
_SERIES = {
    "file_id": FILE_ID,
    "target": "passengers",
    "task_type": "time_series",
    "time_column": "month",
    "horizon": 12,
    "time_budget_s": 120,
}
_REQUEST = {"file_id": FILE_ID, "target": "species"}


def _task(**fields: Any) -> dict[str, Any]:
    shown = {
        "task_id": TASK_ID,
        "name": "iris.csv: species",
        "status": TaskStatus.QUEUED,
        "target": "species",
        "progress": 0.0,
        "stage": Stage.QUEUED,
        "message": "Waiting for a trainer",
        "candidates": [],
        "warnings": [],
        "request": _REQUEST,
        "created_at": AT,
        "version": 1,
    }
    return shown | fields


_QUEUED = _task(queue_position=1)
_RUNNING = _task(
    status=TaskStatus.RUNNING,
    progress=0.45,
    stage=Stage.FITTING,
    message="Fitting 9 models",
    candidates=[
        {
            "model_name": "logistic_regression",
            "label": "Logistic Regression",
            "status": CandidateStatus.DONE,
            "attempt": 1,
            "score": 0.966,
            "fit_seconds": 0.8,
        },
        {
            "model_name": "random_forest",
            "label": "Random Forest",
            "status": CandidateStatus.RUNNING,
            "attempt": 1,
        },
    ],
    task_type=TaskType.CLASSIFICATION,
    metric="accuracy",
    eta_seconds=12.5,
    best={
        "model_name": "logistic_regression",
        "label": "Logistic Regression",
        "metric": "accuracy",
        "score": 0.966,
    },
    started_at=AT + dt.timedelta(milliseconds=20),
    version=7,
)
_LOG = {
    "items": [
        {"at": AT, "message": "Asked for"},
        {"at": AT + dt.timedelta(milliseconds=20), "message": "A trainer began"},
        {
            "at": AT + dt.timedelta(milliseconds=310),
            "message": "Logistic Regression began",
            "model_name": "logistic_regression",
        },
        {
            "at": AT + dt.timedelta(milliseconds=1110),
            "message": "Logistic Regression is done: accuracy 0.966 in 800 ms",
            "model_name": "logistic_regression",
        },
    ]
}
_ROW = dict(
    rank=1,
    model_name="logistic_regression",
    label="Logistic Regression",
    algorithm="Logistic Regression Classifier",
    **dict.fromkeys(METRICS[TaskType.CLASSIFICATION], 0.966) | {"log_loss": 0.112, "brier": 0.058},
    cv_mean=0.966,
    cv_std=0.021,
    fit_seconds=0.8,
    predict_ms_per_row=0.02,
    size_bytes=4210,
    status=CandidateStatus.DONE,
    reason=None,
    score_low=0.933,
    score_high=0.992,
    tied_with_best=None,
)
_RESULTS = {
    "task_id": TASK_ID,
    "status": "completed",
    "metric": "accuracy",
    "greater_is_better": METRICS[TaskType.CLASSIFICATION],
    "leaderboard": [_ROW],
    "plots": [
        {
            "model_name": "logistic_regression",
            "kind": "confusion_matrix",
            "data": {
                "labels": ["setosa", "versicolor", "virginica"],
                "matrix": [[10, 0, 0], [0, 9, 1], [0, 0, 10]],
            },
            "svg_url": f"/ml/plots/{TASK_ID}/logistic_regression/confusion_matrix.svg",
        }
    ],
    "importance": {"logistic_regression": [{"feature": "petal_length", "mean": 0.31, "std": 0.04}]},
    "uncertainty": {
        "logistic_regression": {
            "level": 0.95,
            "rows": 120,
            "validation": [0.933, 0.992],
            "held_out": [0.9, 1.0],
        }
    },
    "intervals": {},
    "schema": {
        "task_type": "classification",
        "target": "species",
        "columns": [{"name": "petal_length", "role": "numeric"}],
        "labels": ["setosa", "versicolor", "virginica"],
    },
    "warnings": [],
}
_MODEL = {
    "id": MODEL_ID,
    "user_id": USER_ID,
    "file_id": FILE_ID,
    "model_name": "Iris, for the shop",
    "algorithm": "Logistic Regression Classifier",
    "task_type": TaskType.CLASSIFICATION,
    "metrics": {"accuracy": 0.966, "f1_macro": 0.966},
    "file_path": f"{USER_ID}/Iris_for_the_shop_20260314092653589793.pkl",
    "file_size": 4210,
    "description": "Tells irises apart by their petals",
    "tags": ["iris", "production"],
    "status": ModelStatus.READY,
    "created_at": AT,
    "updated_at": AT,
    "deleted": False,
    "task_id": TASK_ID,
    "links_issued": 3,
    "transfers": 2,
    "sha256": SHA256,
}
_SAVING = {k: v for k, v in _MODEL.items() if k != "sha256"} | {
    "status": ModelStatus.SAVING,
    "file_path": None,
    "file_size": None,
    "links_issued": 0,
    "transfers": 0,
}
_LINK = {
    "url": f"https://store.example.org/artifacts/{USER_ID}/{TASK_ID}/logistic_regression.1.pkl?X-Amz-Signature=…",
    "filename": f"best_model_{TASK_ID}.pkl",
    "size_bytes": 4210,
    "sha256": SHA256,
    "expires_at": AT + dt.timedelta(hours=1),
}


def _page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


_KEY = {
    "id": "0198c2f1-77aa-7e01-b3c4-6d5e4f3a2b1c",
    "name": "nightly training",
    "prefix": "ty_9fK2",
    "scopes": ["train"],
    "created_at": AT,
}

_DEED = {
    "id": "0198c2f4-19c3-7a40-9d2b-1f0e3c5a7b92",
    "at": AT,
    "action": "model.link_issued",
    "subject_kind": "model",
    "subject_id": MODEL_ID,
    "actor": "key",
    "key_id": _KEY["id"],
    "request_id": "5d0e1a52-2f0e-4c0a-9c5e-5e2f1c2f7a10",
    "detail": {"filename": "Iris_for_the_shop.pkl", "ttl_s": 3600},
}

_EXAMPLES: dict[str, Examples] = {
    "File": {"iris": ("A table, once its profile is there", _FILE)},
    "FilePage": {"last": ("The last page", _page(_FILE))},
    "Profile": {"iris": ("A table of irises", _PROFILE)},
    "Preview": {"iris": ("The first rows of a table", _PREVIEW)},
    "RunLog": {"iris": ("A run under way", _LOG)},
    "Making": {"making": ("Ask again after Retry-After", {"status": "making"})},
    "TrainRequest": {
        "plain": ("Only what is required", {"file_id": FILE_ID, "target": "species"}),
        "series": ("A time series", _SERIES),
        "chosen": (
            "Chosen models, ranked by another metric",
            {
                "file_id": FILE_ID,
                "target": "species",
                "models": ["random_forest", "lightgbm"],
                "metric": "f1_macro",
                "exclude_columns": ["row_number"],
                "on_leakage": "drop",
            },
        ),
    },
    "Task": {"queued": ("Just asked for", _QUEUED), "running": ("Under way", _RUNNING)},
    "TaskPage": {"last": ("The last page", _page(_RUNNING))},
    "ModelChoicePage": {
        "classification": (
            "Some of what classifies",
            _page(*list(MODELS[TaskType.CLASSIFICATION].values())[:2]),
        )
    },
    "Results": {"iris": ("A run that has ended", _RESULTS)},
    "Link": {"pickle": ("A model; it opens with joblib.load", _LINK)},
    "Bundle": {
        "building": ("Being packed", {"status": BundleStatus.BUILDING, "progress": 0.4}),
        "ready": (
            "There to be downloaded",
            {"status": BundleStatus.READY, "progress": 1, "size_bytes": 812345, "expires_at": AT},
        ),
    },
    "Conversion": {
        "building": (
            "Being converted",
            {"status": ConversionStatus.BUILDING, "format": ConversionFormat.SKOPS},
        ),
        "onnx": (
            "A graph, there to be downloaded",
            {
                "status": ConversionStatus.READY,
                "format": ConversionFormat.ONNX,
                "onnx": {
                    "opset": 15,
                    "ml_opset": 3,
                    "inputs": [{"name": "width", "type": "float", "shape": [None, 1], "columns": ["width"]}],
                    "outputs": [
                        {"name": "label", "type": "string", "shape": [None]},
                        {"name": "probabilities", "type": "float", "shape": [None, 3]},
                    ],
                    "parity": {
                        "rows": 30,
                        "compared": "probabilities",
                        "max_abs_difference": 1.2e-7,
                        "tolerance": 0.001,
                        "equal_labels": 1,
                    },
                },
                "requires": ["onnxruntime==1.32.0"],
                "size_bytes": 49662,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
        ),
        "ready": (
            "There to be downloaded",
            {
                "status": ConversionStatus.READY,
                "format": ConversionFormat.SKOPS,
                "types": ["numpy.clip", "pandas.core.generic.NDFrame", "pandas.core.generic.NDFrame.astype"],
                "requires": ["scikit-learn==1.9.1", "pandas==2.3.3", "skops==0.16.0"],
                "size_bytes": 49662,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
        ),
    },
    "SaveRequest": {
        "best": (
            "The best model of a run",
            {
                "task_id": TASK_ID,
                "model_name": "Iris, for the shop",
                "description": "Tells irises apart by their petals",
                "tags": ["iris", "production"],
            },
        )
    },
    "ModelPatch": {
        "tags": ("Other tags, and no description", {"tags": ["iris"], "description": None}),
    },
    "Model": {"ready": ("In the registry", _MODEL), "saving": ("Being copied into it", _SAVING)},
    "ModelPage": {"last": ("The last page", _page(_MODEL))},
    "ModelStats": {
        "one": (
            "A registry with one model",
            {
                "count": 1,
                "bytes": 4210,
                "by_task_type": {"classification": 1},
                "by_algorithm": {"Logistic Regression Classifier": 1},
                "links_issued": 3,
                "transfers": 2,
                "most_downloaded": [_MODEL],
            },
        )
    },
    "NewApiKey": {"nightly": ("The one answer that has the key", _KEY | {"key": "ty_9fK2…"})},
    "ApiKeyPage": {"last": ("The last page", _page(_KEY))},
    "Account": {
        "ada": (
            "A little of what it may hold",
            {
                "user_id": USER_ID,
                "email": "ada@example.org",
                "files": 1,
                "runs": 1,
                "models": 1,
                "stored_bytes": 8185,
                "limits": {
                    "max_stored_bytes": 107374182400,
                    "max_queued_tasks": 500,
                    "max_upload_bytes": 5368709120,
                },
            },
        )
    },
    "AuditEntryPage": {"last": ("The last page", _page(_DEED))},
    "Export": {
        "building": ("Being packed", {"status": BundleStatus.BUILDING, "progress": 0.4}),
        "ready": (
            "There to be downloaded",
            {
                "status": BundleStatus.READY,
                "progress": 1,
                "size_bytes": 812345,
                "built_at": AT,
                "expires_at": AT + dt.timedelta(hours=25),
            },
        ),
    },
    "Deletion": {
        "deleting": (
            "It has begun",
            {
                "status": "deleting",
                "detail": "Everything in this account is being deleted. Until that is done its calls are"
                " refused.",
            },
        )
    },
    "WaysIn": {
        "local": ("A local stack: an e-mail address is enough", {"dev_login": True}),
        "supabase": (
            "A Supabase project",
            {
                "dev_login": False,
                "supabase": {"url": "https://abcdefgh.supabase.co", "anon_key": "eyJhbGciOiJIUzI1NiIs…"},
            },
        ),
    },
    "DevLogin": {"ada": ("Anybody", {"email": "ada@example.org"})},
    "SignedIn": {
        "ada": (
            "A token for twelve hours",
            {
                "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…",
                "token_type": "bearer",
                "expires_in": 43200,
                "user": {"id": USER_ID, "email": "ada@example.org"},
            },
        )
    },
    "Live": {"ok": ("It runs", {"status": "ok"})},
    "Ready": {
        "ok": ("All is well", {"status": "ok", "postgres": "ok", "redis": "ok", "storage": "ok"}),
        "degraded": (
            "Redis is away: requests are taken, work begins a little later",
            {"status": "degraded", "postgres": "ok", "redis": "unavailable", "storage": "ok"},
        ),
    },
}

EXAMPLES: dict[str, Examples] = msgspec.to_builtins(_EXAMPLES)
"""By component."""
