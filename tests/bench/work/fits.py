"""What one candidate's work is, in plain scikit-learn: five folds, a fit that is scored on held-out rows, a
fit on all rows, and the file. Nothing here depends on a clock, so that it is the same work wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

TARGET = "bought"
COLUMNS = 20
FOLDS = 5
SEED = 0

MIXED: dict[str, Callable[[], Any]] = {
    "logistic_regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "random_forest": lambda: RandomForestClassifier(100, random_state=SEED),
    "extra_trees": lambda: ExtraTreesClassifier(200, random_state=SEED),
    "hist_gradient_boosting": lambda: HistGradientBoostingClassifier(
        max_iter=200, early_stopping=False, random_state=SEED
    ),
    "k_nearest_neighbors": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(15)),
    "mlp": lambda: make_pipeline(
        StandardScaler(), MLPClassifier((64,), max_iter=40, tol=0, n_iter_no_change=40, random_state=SEED)
    ),
}
"""By slug: what a run of the product is asked for, too."""

EQUAL = (
    *("random_forest", "extra_trees", "hist_gradient_boosting", "xgboost"),
    *("lightgbm", "catboost", "k_nearest_neighbors", "mlp"),
)
"""Eight candidates that are each one and the same forest: one, two and four trainers share them evenly."""


def equal() -> Any:
    return RandomForestClassifier(60, random_state=SEED)


def table(rows: int) -> pd.DataFrame:
    """Numbers alone, so that nothing has to be decided about how they are prepared."""
    features, target = make_classification(
        rows, COLUMNS, n_informative=10, n_redundant=4, flip_y=0.05, random_state=SEED
    )
    frame = pd.DataFrame(features.round(5), columns=[f"measure_{i}" for i in range(COLUMNS)])
    return frame.assign(**{TARGET: pd.Series(target).map({0: "no", 1: "yes"})})


def fit(frame: pd.DataFrame, model: Callable[[], Any], into: Path) -> dict[str, float]:
    """Fit one candidate on one core and leave it in `into`; its scores."""
    x, y = frame.drop(columns=TARGET), frame[TARGET]
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SEED)
    with threadpool_limits(1):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
        validated = cross_val_score(model(), x_train, y_train, cv=folds)
        held_out = model().fit(x_train, y_train).score(x_test, y_test)
        joblib.dump(model().fit(x, y), into, compress=("zlib", 1))
    return {"cv_mean": float(validated.mean()), "cv_std": float(validated.std()), "accuracy": float(held_out)}
