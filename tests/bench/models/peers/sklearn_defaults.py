"""scikit-learn's forests and histogram boosting with their defaults, behind a plain encoder."""

from __future__ import annotations

import sys

import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from tests.bench.models.peers.estimator import Estimator
from tests.bench.models.peers.job import Job, main

MOST_CATEGORIES = 255
"""What histogram boosting takes as categories; columns with more are ordered codes."""


def numbers(features: pd.DataFrame) -> pd.DataFrame:
    """Dates as numbers, which neither model takes as they are."""
    dates = features.select_dtypes("datetime").columns
    return features.assign(**{name: features[name].astype("int64") for name in dates})


def fit_boosting(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    features = numbers(features)
    text = list(make_column_selector(dtype_exclude="number")(features))
    few = [name for name in text if features[name].nunique() < MOST_CATEGORIES]
    encoder = make_column_transformer(
        (_ordinal(), few),
        (_ordinal(), [name for name in text if name not in few]),
        remainder="passthrough",
    )
    kind = HistGradientBoostingClassifier if job.classifies else HistGradientBoostingRegressor
    model = make_pipeline(encoder, kind(random_state=job.seed, categorical_features=range(len(few))))
    return _fitted(job, model, features, y)


def fit_forest(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    features = numbers(features)
    encoder = make_column_transformer(
        (_ordinal(), make_column_selector(dtype_exclude="number")), remainder="passthrough"
    )
    kind = RandomForestClassifier if job.classifies else RandomForestRegressor
    forest = kind(random_state=job.seed, n_jobs=job.cores)
    return _fitted(job, make_pipeline(encoder, SimpleImputer(strategy="median"), forest), features, y)


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))


def _fitted(job: Job, model: object, features: pd.DataFrame, y: pd.Series) -> Estimator:
    model.fit(features, y)  # type: ignore[attr-defined]
    classes = model.classes_ if job.classifies else None  # type: ignore[attr-defined]
    return Estimator(model, classes, prepare=numbers)


if __name__ == "__main__":
    main({"boosting": fit_boosting, "forest": fit_forest}[sys.argv[2]])
