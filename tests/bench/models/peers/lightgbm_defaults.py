"""LightGBM with its defaults: text as its own category type, dates as numbers."""

from __future__ import annotations

import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor

from tests.bench.models.peers.estimator import Estimator
from tests.bench.models.peers.job import Job, main


class Encoding:
    """Names that LightGBM takes (it refuses some signs), and the categories of the rows fitted on."""

    def __init__(self, features: pd.DataFrame) -> None:
        self.categories = {
            name: pd.CategoricalDtype(features[name].dropna().unique())
            for name in features.columns
            if not pd.api.types.is_numeric_dtype(features[name])
            and not pd.api.types.is_datetime64_any_dtype(features[name])
        }

    def __call__(self, features: pd.DataFrame) -> pd.DataFrame:
        columns = {}
        for position, (name, column) in enumerate(features.items()):
            if name in self.categories:
                column = column.astype(self.categories[name])
            elif pd.api.types.is_datetime64_any_dtype(column):
                column = column.astype("int64")
            columns[f"f{position}"] = column
        return pd.DataFrame(columns)


def fit(job: Job, features: pd.DataFrame, y: pd.Series) -> Estimator:
    encoding = Encoding(features)
    kind = LGBMClassifier if job.classifies else LGBMRegressor
    model = kind(n_jobs=job.cores, random_state=job.seed, verbose=-1).fit(encoding(features), y)
    return Estimator(model, list(model.classes_) if job.classifies else None, prepare=encoding)


if __name__ == "__main__":
    main(fit)
