"""Classifiers. Every one answers in the table's own labels and gives probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from services.trainer.candidates import Builder, Situation
from services.trainer.candidates.boosting import LIBRARIES
from services.trainer.prepare import Encoding, native_categories, preprocessor

CV_ROWS = 20_000
"""Above it a penalty is not chosen by cross-validation within each fit: on so many rows it hardly matters."""


def _pipeline(given: Situation, encoding: Encoding, model: ClassifierMixin, *between: object) -> Pipeline:
    prepare = preprocessor(given.columns, encoding, regression=False, rows=given.rows, seed=given.seed)
    steps = [(f"step_{number}", step) for number, step in enumerate(between)]
    return Pipeline([("prepare", prepare), *steps, ("model", _decided(given, model))])


def _decided(given: Situation, model: ClassifierMixin) -> ClassifierMixin:
    """With the threshold that validation found; the probabilities stay as they are."""
    if given.settings.threshold is None:
        return model
    from sklearn.model_selection import FixedThresholdClassifier

    return FixedThresholdClassifier(
        model, threshold=given.settings.threshold, response_method="predict_proba"
    )


def logistic_regression(given: Situation) -> Pipeline:
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    steps = 1_000 if given.rows <= 50_000 else 200
    if given.rows > CV_ROWS or given.rarest < 6:
        model = LogisticRegression(C=given.knob("C", 1.0), max_iter=steps, random_state=given.seed)
    else:
        model = LogisticRegressionCV(
            Cs=np.logspace(-2.5, 1.5, 6),
            l1_ratios=(0,),
            cv=3,
            scoring="neg_log_loss",
            max_iter=steps,
            use_legacy_attributes=False,
            random_state=given.seed,
        )
    return _pipeline(given, Encoding.LINEAR, model)


def random_forest(given: Situation) -> Pipeline:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=_trees(given),
        max_features=given.knob("max_features", "sqrt"),
        min_samples_leaf=given.knob("min_samples_leaf", _least_in_leaf(given)),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def extra_trees(given: Situation) -> Pipeline:
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        n_estimators=_trees(given),
        max_features=given.knob("max_features", "sqrt"),
        min_samples_leaf=given.knob("min_samples_leaf", _least_in_leaf(given)),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def _least_in_leaf(given: Situation) -> int:
    """Leaves of one row answer with certainty, which metrics of the probabilities punish without bound."""
    return 3 if given.metric in ("log_loss", "brier") and given.rows >= 100 else 1


def _trees(given: Situation) -> int:
    return given.effort or (200 if given.rows <= 20_000 else 100)


def _leaves(given: Situation) -> int | None:
    """A node holds a share for every class: forests on many rows are bounded to some 100 MB."""
    most = max(1_000, 15_000 // max(1, given.classes // 4))
    return most if given.rows > most else None


def hist_gradient_boosting(given: Situation) -> Pipeline:
    model = LIBRARIES["hist_gradient_boosting"].model(given, watched=False)
    return _pipeline(given, Encoding.NATIVE, model)


def xgboost(given: Situation) -> Pipeline:
    model = LIBRARIES["xgboost"].model(given, watched=False)
    return _pipeline(given, Encoding.SPLITS, _with_labels("xgboost", model))


def lightgbm(given: Situation) -> Pipeline:
    return _pipeline(given, Encoding.SPLITS, LIBRARIES["lightgbm"].model(given, watched=False))


def catboost(given: Situation) -> Pipeline:
    model = LIBRARIES["catboost"].model(given, watched=False)
    return _pipeline(given, Encoding.NATIVE, _with_labels("catboost", model), *whole_codes(given))


def whole_codes(given: Situation) -> list[FunctionTransformer]:
    """CatBoost takes categories as whole numbers only, and has no missing ones among them."""
    columns = range(len(native_categories(given.columns)))
    if not columns:
        return []
    return [
        FunctionTransformer(pd.DataFrame),
        FunctionTransformer(pd.DataFrame.fillna, kw_args={"value": dict.fromkeys(columns, -1)}),
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": dict.fromkeys(columns, "int64")}),
    ]


def _with_labels(name: str, model: ClassifierMixin) -> ClassifierMixin:
    """For libraries that know 0..k-1 or text only: a soft vote of one keeps the table's labels and the
    probabilities."""
    from sklearn.ensemble import VotingClassifier

    return VotingClassifier([(name, model)], voting="soft")


def k_nearest_neighbors(given: Situation) -> Pipeline:
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(
        n_neighbors=min(given.knob("n_neighbors", 15), max(1, given.rows // 10)),
        weights=given.knob("weights", "distance"),
        p=given.knob("p", 2),
        n_jobs=given.threads,
    )
    return _pipeline(given, Encoding.SCALED, model)


def naive_bayes(given: Situation) -> Pipeline:
    from sklearn.naive_bayes import GaussianNB

    # one-hot columns that never vary within a class would otherwise decide alone
    return _pipeline(given, Encoding.SCALED, GaussianNB(var_smoothing=given.knob("var_smoothing", 1e-3)))


def mlp(given: Situation) -> Pipeline:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(**network(given))
    return _pipeline(given, Encoding.SCALED, model)


def network(given: Situation) -> dict[str, object]:
    """Settings of scikit-learn's networks, for either task type."""
    epochs = max(8, min(200, 4_000_000 // max(1, given.rows)))
    return {
        "hidden_layer_sizes": given.knob("hidden_layer_sizes", (128, 64)),
        "alpha": given.knob("alpha", 1e-3),
        "learning_rate_init": given.knob("learning_rate_init", 2e-3),
        "batch_size": min(256, max(16, given.rows // 20)) if given.rows > 16 else "auto",
        "early_stopping": given.stops_early(),
        "n_iter_no_change": 12,
        "max_iter": epochs if given.effort is None else min(epochs, given.effort),
        "random_state": given.seed,
    }


BUILDERS: dict[str, Builder] = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "hist_gradient_boosting": hist_gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "k_nearest_neighbors": k_nearest_neighbors,
    "naive_bayes": naive_bayes,
    "mlp": mlp,
}
