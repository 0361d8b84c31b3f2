"""Classifiers. Every one answers in the table's own labels and gives probabilities."""

from __future__ import annotations

from sklearn.base import ClassifierMixin
from sklearn.pipeline import Pipeline

from services.trainer.candidates import Builder, Situation
from services.trainer.prepare import Encoding, native_categories, preprocessor


def _pipeline(given: Situation, encoding: Encoding, model: ClassifierMixin) -> Pipeline:
    prepare = preprocessor(given.columns, encoding, regression=False, rows=given.rows, seed=given.seed)
    return Pipeline([("prepare", prepare), ("model", model)])


def logistic_regression(given: Situation) -> Pipeline:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1_000 if given.rows <= 50_000 else 200, random_state=given.seed)
    return _pipeline(given, Encoding.SCALED, model)


def random_forest(given: Situation) -> Pipeline:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=_trees(given),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def extra_trees(given: Situation) -> Pipeline:
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        n_estimators=_trees(given),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def _trees(given: Situation) -> int:
    return 200 if given.rows <= 20_000 else 100


def _leaves(given: Situation) -> int | None:
    """A node holds a share for every class: forests on many rows are bounded to some 100 MB."""
    most = max(1_000, 15_000 // max(1, given.classes // 4))
    return most if given.rows > most else None


def hist_gradient_boosting(given: Situation) -> Pipeline:
    from sklearn.ensemble import HistGradientBoostingClassifier

    stops = given.stops_early()
    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=_rounds(given, 300 if stops else 100),
        early_stopping=stops,
        n_iter_no_change=20,
        categorical_features=list(range(len(native_categories(given.columns)))) or None,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.NATIVE, model)


def xgboost(given: Situation) -> Pipeline:
    from sklearn.ensemble import VotingClassifier
    from xgboost import XGBClassifier

    model = XGBClassifier(
        n_estimators=_rounds(given, 250),
        learning_rate=0.06,
        max_depth=6,
        min_child_weight=1,
        subsample=0.85,
        colsample_bytree=0.8,
        tree_method="hist",
        n_jobs=given.threads,
        random_state=given.seed,
    )
    # XGBoost takes 0..k-1 only; a soft vote of one keeps the table's labels and the probabilities
    return _pipeline(given, Encoding.SPLITS, VotingClassifier([("xgboost", model)], voting="soft"))


def lightgbm(given: Situation) -> Pipeline:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(
        n_estimators=_rounds(given, 250),
        learning_rate=0.06,
        num_leaves=31,
        min_child_samples=_least_in_leaf(given),
        subsample=0.85,
        subsample_freq=1,
        colsample_bytree=0.8,
        n_jobs=given.threads,
        random_state=given.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def _rounds(given: Situation, most: int) -> int:
    """Boosting grows a tree for every class in each round."""
    return max(40, most // max(1, given.classes // 4))


def _least_in_leaf(given: Situation) -> int:
    """LightGBM's own 20 leaves nothing to split on small tables."""
    return max(2, min(20, given.rows // 50))


def k_nearest_neighbors(given: Situation) -> Pipeline:
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(
        n_neighbors=min(15, max(1, given.rows // 10)), weights="distance", n_jobs=given.threads
    )
    return _pipeline(given, Encoding.SCALED, model)


def naive_bayes(given: Situation) -> Pipeline:
    from sklearn.naive_bayes import GaussianNB

    # one-hot columns that never vary within a class would otherwise decide alone
    return _pipeline(given, Encoding.SCALED, GaussianNB(var_smoothing=1e-3))


def mlp(given: Situation) -> Pipeline:
    from sklearn.neural_network import MLPClassifier

    stops = given.stops_early()
    model = MLPClassifier(
        hidden_layer_sizes=(128, 64),
        alpha=1e-3,
        learning_rate_init=2e-3,
        batch_size=min(256, max(16, given.rows // 20)) if given.rows > 16 else "auto",
        early_stopping=stops,
        n_iter_no_change=12,
        max_iter=max(8, min(200, 4_000_000 // max(1, given.rows))),
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SCALED, model)


BUILDERS: dict[str, Builder] = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "hist_gradient_boosting": hist_gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "k_nearest_neighbors": k_nearest_neighbors,
    "naive_bayes": naive_bayes,
    "mlp": mlp,
}
