"""`python mlflow_save.py MODEL.pkl FOLDER`: a model as MLflow serves it, answering with probabilities."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import mlflow.sklearn


def main(model: str, folder: str) -> None:
    mlflow.sklearn.save_model(
        pickle.loads(Path(model).read_bytes()),
        folder,
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
