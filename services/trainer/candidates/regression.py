"""Regressors. Targets are scaled where the family's step size or penalty depends on their unit."""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import RegressorMixin, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.trainer.candidates import Builder, Situation
from services.trainer.candidates.boosting import LIBRARIES
from services.trainer.candidates.classification import network, whole_codes
from services.trainer.prepare import Encoding, preprocessor

SCALED_TARGETS = frozenset({"elastic_net", "xgboost", "lightgbm", "catboost", "mlp"})
"""Their penalty or step depends on the target's unit, or their leaves are float32 and would lose the last
digits of a target far from zero."""

BEYOND = 0.25
"""By how much of its spread a transformed target may be left behind in an answer: the way back is an
exponential, and a line goes on for ever."""

_WAYS = {"log": (np.log, np.exp), "log1p": (np.log1p, np.expm1)}


def _pipeline(given: Situation, encoding: Encoding, model: RegressorMixin, *between: object) -> Pipeline:
    prepare = preprocessor(given.columns, encoding, regression=True, rows=given.rows, seed=given.seed)
    steps = [(f"step_{number}", step) for number, step in enumerate(between)]
    return Pipeline([("prepare", prepare), *steps, ("model", model)])


def target_transformer(slug: str, given: Situation) -> TransformerMixin | None:
    """What the target passes through before `slug` learns it, unfitted; None where it is taken as it is."""
    steps: list[TransformerMixin] = []
    if given.shape != "plain":
        there, back = _WAYS[given.shape]
        low, high = (float(there(bound)) for bound in given.bounds or (1.0, 1.0))
        margin = BEYOND * max(high - low, math.ulp(1.0))
        steps = [
            FunctionTransformer(there, inverse_func=back, check_inverse=False),
            FunctionTransformer(
                inverse_func=np.clip,
                inv_kw_args={"a_min": low - margin, "a_max": high + margin},
                check_inverse=False,
            ),
        ]
    if slug in SCALED_TARGETS:
        steps.append(StandardScaler())
    return make_pipeline(*steps) if len(steps) > 1 else steps[0] if steps else None


def _targeted(slug: str, given: Situation, model: RegressorMixin) -> RegressorMixin:
    transformer = target_transformer(slug, given)
    if transformer is None:
        return model
    return TransformedTargetRegressor(regressor=model, transformer=transformer, check_inverse=False)


def ridge(given: Situation) -> Pipeline:
    from sklearn.linear_model import RidgeCV

    # leave-one-out is exact and cheap while the decomposition fits in memory
    folds = None if given.rows <= 20_000 else 3
    model = RidgeCV(alphas=np.logspace(-2, 4, 13), cv=folds)
    return _pipeline(given, Encoding.LINEAR, _targeted("ridge", given, model))


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
    return _pipeline(given, Encoding.LINEAR, _targeted("elastic_net", given, model))


def random_forest(given: Situation) -> Pipeline:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(
        n_estimators=_trees(given),
        max_features=given.knob("max_features", 0.5),
        min_samples_leaf=given.knob("min_samples_leaf", 1),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, _targeted("random_forest", given, model))


def extra_trees(given: Situation) -> Pipeline:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(
        n_estimators=_trees(given),
        max_features=given.knob("max_features", 0.8),
        min_samples_leaf=given.knob("min_samples_leaf", 1),
        max_leaf_nodes=_leaves(given),
        n_jobs=given.threads,
        random_state=given.seed,
    )
    return _pipeline(given, Encoding.SPLITS, _targeted("extra_trees", given, model))


def _trees(given: Situation) -> int:
    return given.effort or (200 if given.rows <= 20_000 else 100)


def _leaves(given: Situation) -> int | None:
    """A leaf a row on many rows is a pickle of gigabytes."""
    return 15_000 if given.rows > 15_000 else None


def hist_gradient_boosting(given: Situation) -> Pipeline:
    model = LIBRARIES["hist_gradient_boosting"].model(given, watched=False)
    return _pipeline(given, Encoding.NATIVE, _targeted("hist_gradient_boosting", given, model))


def xgboost(given: Situation) -> Pipeline:
    model = LIBRARIES["xgboost"].model(given, watched=False)
    return _pipeline(given, Encoding.SPLITS, _targeted("xgboost", given, model))


def lightgbm(given: Situation) -> Pipeline:
    model = LIBRARIES["lightgbm"].model(given, watched=False)
    return _pipeline(given, Encoding.SPLITS, _targeted("lightgbm", given, model))


def catboost(given: Situation) -> Pipeline:
    model = LIBRARIES["catboost"].model(given, watched=False)
    return _pipeline(given, Encoding.NATIVE, _targeted("catboost", given, model), *whole_codes(given))


def k_nearest_neighbors(given: Situation) -> Pipeline:
    from sklearn.neighbors import KNeighborsRegressor

    model = KNeighborsRegressor(
        n_neighbors=min(given.knob("n_neighbors", 10), max(1, given.rows // 10)),
        weights=given.knob("weights", "distance"),
        p=given.knob("p", 2),
        n_jobs=given.threads,
    )
    return _pipeline(given, Encoding.SCALED, _targeted("k_nearest_neighbors", given, model))


def mlp(given: Situation) -> Pipeline:
    from sklearn.neural_network import MLPRegressor

    return _pipeline(given, Encoding.SCALED, _targeted("mlp", given, MLPRegressor(**network(given))))


BUILDERS: dict[str, Builder] = {
    "ridge": ridge,
    "elastic_net": elastic_net,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "hist_gradient_boosting": hist_gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "k_nearest_neighbors": k_nearest_neighbors,
    "mlp": mlp,
}
