"""`python mlflow_save.py MODEL.pkl FOLDER`: a model as MLflow serves it, answering with probabilities."""

from __future__ import annotations

import sys

import joblib
import mlflow.sklearn


def main(model: str, folder: str) -> None:
    mlflow.sklearn.save_model(
        joblib.load(model),
        folder,
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
