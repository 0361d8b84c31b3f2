"""FLAML's AutoML with its defaults and the time budget."""

from __future__ import annotations

import pandas as pd
from flaml import AutoML

from tests.bench.models.peers.estimator import Estimator
from tests.bench.models.peers.job import Job, main


def fit(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    automl = AutoML()
    automl.fit(
        X_train=features,
        y_train=y,
        task="classification" if job.classifies else "regression",
        metric=job.metric,
        time_budget=job.budget,
        n_jobs=job.cores,
        seed=job.seed,
        verbose=0,
    )
    return Estimator(automl, automl.classes_ if job.classifies else None, note=str(automl.best_estimator))


if __name__ == "__main__":
    main(fit)
