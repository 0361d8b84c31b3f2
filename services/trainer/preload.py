"""Imported once by the process that fits are forked from: what takes seconds to import, and compiles.

Nothing here may start a thread: a fork takes only the calling one along.
"""

from __future__ import annotations

import importlib
import sys

LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow.csv",
    "pyarrow.feather",
    "pyarrow.parquet",
    "scipy.stats",
    "joblib",
    "threadpoolctl",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.dummy",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.inspection",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skrub",
    "lightgbm",
    "xgboost",
    "catboost",
    "optuna",
    "mapie.regression",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.pyplot",
    "mlforecast",
    "statsforecast",
    # not onnxruntime, which starts a thread
    "onnxmltools.convert",
    "skl2onnx",
)

_SERIES = "services.trainer.candidates.time_series"

OWN = (
    "services.trainer.table",
    "services.trainer.profile",
    "services.trainer.preview",
    "services.trainer.plan",
    "services.trainer.ensemble_fit",
    "services.trainer.fit",
    "services.trainer.fit_series",
    "services.trainer.series_ensemble_fit",
    "services.trainer.plots",
    _SERIES,
)


def preload() -> None:
    """Import everything and compile the series models. Raises ImportError naming all that is missing."""
    missing = []
    for name in (*LIBRARIES, *OWN):
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    warm_up = getattr(sys.modules.get(_SERIES), "warm_up", None)
    if warm_up is not None:
        # OpenMP's and BLAS's pools of more than one thread do not survive the fork
        with importlib.import_module("threadpoolctl").threadpool_limits(1):
            warm_up()
    if missing:
        raise ImportError("; ".join(missing))


preload()
