"""Regressors. Targets are scaled where the family's step size or penalty depends on their unit."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from services.trainer.candidates import Builder, Situation
from services.trainer.prepare import Encoding, native_categories, preprocessor


def _pipeline(given: Situation, encoding: Encoding, model: RegressorMixin) -> Pipeline:
    prepare = preprocessor(given.columns, encoding, regression=True, rows=given.rows, seed=given.seed)
    return Pipeline([("prepare", prepare), ("model", model)])


def _scaled_target(model: RegressorMixin) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(regressor=model, transformer=StandardScaler())


def ridge(given: Situation) -> Pipeline:
    from sklearn.linear_model import RidgeCV

    # leave-one-out is exact and cheap while the decomposition fits in memory
    folds = None if given.rows <= 20_000 else 3
    model = RidgeCV(alphas=np.logspace(-2, 4, 13), cv=folds)
    return _pipeline(given, Encoding.SCALED, model)


def elastic_net(given: Situation) -> Pipeline:
    from sklearn.linear_model import ElasticNetCV

    model = ElasticNetCV(
        l1_ratio=[0.2, 0.6, 0.95],
        alphas=30,
        cv=3,
        max_iter=2_000,
        n_jobs=given.threads,
        random_state=given.seed,
        selection="random",
    )
    return _pipeline(given, Encoding.SCALED, _scaled_target(model))


def random_forest(given: Situation) -> Pipeline:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(
        n_estimators=_trees(given),
        max_features=0.5,
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def extra_trees(given: Situation) -> Pipeline:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(
        n_estimators=_trees(given),
        max_features=0.8,
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, model)


def _trees(given: Situation) -> int:
    return 200 if given.rows <= 20_000 else 100


def _leaves(given: Situation) -> int | None:
    """A leaf a row on many rows is a pickle of gigabytes."""
    return 15_000 if given.rows > 15_000 else None


def hist_gradient_boosting(given: Situation) -> Pipeline:
    from sklearn.ensemble import HistGradientBoostingRegressor

    stops = given.stops_early()
    model = HistGradientBoostingRegressor(
        learning_rate=0.06,
        max_iter=400 if stops else 100,
        early_stopping=stops,
        n_iter_no_change=20,
        categorical_features=list(range(len(native_categories(given.columns)))) or None,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.NATIVE, model)


def xgboost(given: Situation) -> Pipeline:
    from xgboost import XGBRegressor

    model = XGBRegressor(
        n_estimators=300,
        learning_rate=0.06,
        max_depth=6,
        min_child_weight=2,
        subsample=0.85,
        colsample_bytree=0.8,
        tree_method="hist",
        n_jobs=given.threads,
        random_state=given.seed,
    )
    # its leaves are float32: a target far from zero would lose its last digits
    return _pipeline(given, Encoding.SPLITS, _scaled_target(model))


def lightgbm(given: Situation) -> Pipeline:
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(
        n_estimators=300,
        learning_rate=0.06,
        num_leaves=31,
        min_child_samples=max(2, min(20, given.rows // 50)),
        subsample=0.85,
        subsample_freq=1,
        colsample_bytree=0.8,
        n_jobs=given.threads,
        random_state=given.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    return _pipeline(given, Encoding.SPLITS, _scaled_target(model))


def k_nearest_neighbors(given: Situation) -> Pipeline:
    from sklearn.neighbors import KNeighborsRegressor

    model = KNeighborsRegressor(
        n_neighbors=min(10, max(1, given.rows // 10)), weights="distance", n_jobs=given.threads
    )
    return _pipeline(given, Encoding.SCALED, model)


def mlp(given: Situation) -> Pipeline:
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=(128, 64),
        alpha=1e-3,
        learning_rate_init=2e-3,
        batch_size=min(256, max(16, given.rows // 20)) if given.rows > 16 else "auto",
        early_stopping=given.stops_early(),
        n_iter_no_change=12,
        max_iter=max(8, min(200, 4_000_000 // max(1, given.rows))),
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SCALED, _scaled_target(model))


BUILDERS: dict[str, Builder] = {
    "ridge": ridge,
    "elastic_net": elastic_net,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "hist_gradient_boosting": hist_gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "k_nearest_neighbors": k_nearest_neighbors,
    "mlp": mlp,
}
