"""Ours: a downloaded pickle, opened in a process of its own, predicts the test rows as the file has them.

python -m tests.bench.models.peers.pickled job.json model.pkl
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import joblib
import pandas as pd

from tests.bench.models.peers.estimator import Estimator
from tests.bench.models.peers.job import Job, main


class Downloaded(Estimator):
    def save(self, folder: Path) -> None:
        shutil.copy(sys.argv[2], folder)


def opened(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    model = joblib.load(sys.argv[2])
    return Downloaded(model, model.classes_ if job.classifies else None)


if __name__ == "__main__":
    main(opened)
