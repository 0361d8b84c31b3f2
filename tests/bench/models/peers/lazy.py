"""lazypredict with its defaults, used as honestly as it can be: it ranks by the rows that it calls the test.

So it is given a fifth of the training rows for those; the best of its table that gives probabilities, where
those are scored, is then fitted on all training rows. It has no time budget.
"""

from __future__ import annotations

import pandas as pd
from lazypredict.Supervised import LazyClassifier, LazyRegressor
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder

from tests.bench.models.peers.estimator import Estimator
from tests.bench.models.peers.job import Job, main

COLUMN = {"roc_auc": "ROC AUC", "log_loss": "ROC AUC", "r2": "R-Squared"}
"""The column of its table that comes nearest to the metric."""


def fit(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    labels = LabelEncoder().fit(y) if job.classifies else None
    target = pd.Series(labels.transform(y)) if labels is not None else y
    a, b, y_a, y_b = train_test_split(features, target, test_size=0.2, random_state=job.seed)
    kind = LazyClassifier if job.classifies else LazyRegressor
    lazy = kind(verbose=0, ignore_warnings=True, random_state=job.seed, n_jobs=job.cores)
    scores, _ = lazy.fit(a, b, y_a, y_b)
    models = lazy.provide_models(a, b, y_a, y_b)
    for name in scores.sort_values(COLUMN[job.metric], ascending=False).index:
        if not job.classifies or hasattr(models[name], "predict_proba"):
            model = clone(models[name]).fit(features, target)
            classes = labels.inverse_transform(model.classes_) if labels is not None else None
            return Estimator(model, classes, note=f"{name}, of {len(scores)}")
    raise RuntimeError("none of its models could be fitted")


if __name__ == "__main__":
    main(fit)
