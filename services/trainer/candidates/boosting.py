"""Boosted trees of four libraries: their settings, and how validation rows say how many rounds pay.

While it is validated, a booster is fitted bare, on a prepared matrix and on class codes or a transformed
target, with the loss on the validation rows watched; what is handed over is the plain estimator of its
library with the number of rounds that was found.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, Protocol

import numpy as np

from services.trainer.candidates import Situation
from services.trainer.prepare import native_categories

MOST_ROUNDS = 1_000

UNWATCHED_ROUNDS = 200
"""Of a fit for which no validation has said how many pay."""

PATIENCE = 40
"""Rounds without a better loss on the validation rows after which a fit stops."""

FEWEST_ROUNDS = 5

ABSOLUTE = frozenset({"mae", "mape", "median_absolute_error"})
"""Metrics of the error's size: the median of the target minimises them, not its mean."""

AUC_NEEDS_RAREST = 20
"""Rows of the rarest class from which on a ranking metric is watched: below it a part holds too few."""


class Library(Protocol):
    def model(self, given: Situation, *, watched: bool) -> Any:
        """The unfitted estimator; `watched`: it will be fitted by `watch`, and with as many rounds as pay."""

    def watch(
        self, model: Any, learn: tuple[np.ndarray, ...], held: tuple[np.ndarray, ...], deadline: float
    ) -> np.ndarray:
        """Fit on `learn` (x, target), at most until `deadline` (`time.monotonic`), and answer the loss on
        `held` after each round, lower is better."""

    def answers(self, model: Any, x: np.ndarray, rounds: int) -> np.ndarray:
        """Probabilities (n, k) or numbers (n,) of the first `rounds` rounds."""


def rounds_of(curves: list[np.ndarray]) -> int:
    """Where the mean of several parts' curves is lowest, as `lightgbm.cv` chooses: one part's own lowest
    point is mostly noise. It is looked for while at least half of the parts were still being fitted: a curve
    goes on as it ended, and how much worse it would have become is not known."""
    until = int(np.median([len(curve) for curve in curves]))
    mean = np.mean(
        [np.pad(curve[:until], (0, max(0, until - len(curve))), mode="edge") for curve in curves], axis=0
    )
    return max(int(np.nanargmin(mean)) + 1, min(FEWEST_ROUNDS, until)) if np.isfinite(mean).any() else 1


def rounds(given: Situation, *, watched: bool) -> int:
    """The rounds of a fit: those that validation found, or the most that it may take while it is watched.
    Each grows a tree a class."""
    most = max(60, (MOST_ROUNDS if watched else UNWATCHED_ROUNDS) // max(1, given.classes // 3))
    return most if given.effort is None else given.effort


def rate(given: Situation, usual: float) -> float:
    """The learning rate: faster where there is only time for few rounds."""
    chosen: float = given.knob("learning_rate", usual)
    if given.most_effort is None:
        return chosen
    return float(np.clip(20 / given.most_effort, chosen, max(chosen, 0.3)))


def ranked(given: Situation) -> str | None:
    """The ranking metric that is watched for itself, if the user asked for one and the rows allow it."""
    binary = given.classes == 2 and given.rarest >= AUC_NEEDS_RAREST
    return given.metric if binary and given.metric in ("roc_auc", "average_precision") else None


def least_in_leaf(given: Situation) -> int:
    """The libraries' own 20 leaves nothing to split on small tables, nor a leaf to a class of a dozen."""
    rare = given.rarest // 4 if given.classes else 20
    return max(2, min(20, given.rows // 50, max(rare, 5)))


class LightGBM:
    def model(self, given: Situation, *, watched: bool) -> Any:
        from lightgbm import LGBMClassifier, LGBMRegressor

        settings: dict[str, Any] = {
            "n_estimators": rounds(given, watched=watched),
            "learning_rate": rate(given, 0.05),
            "num_leaves": given.knob("num_leaves", 31),
            "min_child_samples": given.knob("min_child_samples", least_in_leaf(given)),
            "subsample": given.knob("subsample", 0.85),
            "subsample_freq": 1,
            "colsample_bytree": given.knob("colsample_bytree", 0.8),
            "reg_lambda": given.knob("reg_lambda", 1.0),
            # leaves of next to no curvature answer a class of one in a thousand with absurd certainty
            "min_child_weight": 0.1 if given.classes else 1e-3,
            "n_jobs": given.threads,
            "random_state": given.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        if not given.classes:
            absolute = "mape" if given.metric == "mape" and given.shape == "plain" else "regression_l1"
            return LGBMRegressor(objective=absolute if given.metric in ABSOLUTE else "regression", **settings)
        metric = {"roc_auc": "auc", "average_precision": "average_precision"}.get(ranked(given) or "")
        return LGBMClassifier(**settings | ({"metric": metric} if watched and metric else {}))

    def watch(
        self, model: Any, learn: tuple[np.ndarray, ...], held: tuple[np.ndarray, ...], deadline: float
    ) -> np.ndarray:
        from lightgbm import early_stopping
        from lightgbm.callback import EarlyStopException

        def on_time(state: Any) -> None:
            if time.monotonic() > deadline and state.iteration + 1 >= FEWEST_ROUNDS:
                raise EarlyStopException(state.iteration, state.evaluation_result_list)

        on_time.order = 40  # type: ignore[attr-defined]  # after the callback that notes the loss

        stop = early_stopping(PATIENCE, first_metric_only=True, verbose=False)
        model.fit(*learn, eval_set=[held], callbacks=[stop, on_time])
        metric, curve = next(iter(next(iter(model.evals_result_.values())).items()))
        return -np.array(curve) if metric in ("auc", "average_precision") else np.array(curve)

    def answers(self, model: Any, x: np.ndarray, rounds: int) -> np.ndarray:
        told = getattr(model, "predict_proba", model.predict)
        return np.asarray(told(x, num_iteration=rounds))


class XGBoost:
    def model(self, given: Situation, *, watched: bool) -> Any:
        from xgboost import XGBClassifier, XGBRegressor

        settings: dict[str, Any] = {
            "n_estimators": rounds(given, watched=watched),
            "learning_rate": rate(given, 0.05),
            "max_depth": given.knob("max_depth", 6 if given.rows >= 1_000 else 4),
            "min_child_weight": given.knob("min_child_weight", 1.0 if given.classes else 2.0),
            "subsample": given.knob("subsample", 0.85),
            "colsample_bytree": given.knob("colsample_bytree", 0.8),
            "reg_lambda": given.knob("reg_lambda", 1.0),
            "tree_method": "hist",
            "n_jobs": given.threads,
            "random_state": given.seed,
        }
        if not given.classes:
            absolute = given.metric in ABSOLUTE
            return XGBRegressor(objective="reg:absoluteerror" if absolute else "reg:squarederror", **settings)
        metric = {"roc_auc": "auc", "average_precision": "aucpr"}.get(ranked(given) or "")
        return XGBClassifier(**settings, **({"eval_metric": metric} if watched and metric else {}))

    def watch(
        self, model: Any, learn: tuple[np.ndarray, ...], held: tuple[np.ndarray, ...], deadline: float
    ) -> np.ndarray:
        from xgboost.callback import TrainingCallback

        class OnTime(TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                return time.monotonic() > deadline and epoch + 1 >= FEWEST_ROUNDS

        model.set_params(early_stopping_rounds=PATIENCE, callbacks=[OnTime()])
        model.fit(*learn, eval_set=[held], verbose=False)
        metric, curve = next(iter(model.evals_result()["validation_0"].items()))
        return -np.array(curve) if metric in ("auc", "aucpr") else np.array(curve)

    def answers(self, model: Any, x: np.ndarray, rounds: int) -> np.ndarray:
        told = getattr(model, "predict_proba", model.predict)
        return np.asarray(told(x, iteration_range=(0, min(rounds, model.get_booster().num_boosted_rounds()))))


class Histogram:
    """scikit-learn's. It has no callbacks, so the time is kept by the rounds it is given (`effort`)."""

    def model(self, given: Situation, *, watched: bool) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        settings: dict[str, Any] = {
            "learning_rate": rate(given, 0.05),
            "max_iter": min(rounds(given, watched=watched), 500 if given.effort is None else MOST_ROUNDS),
            "max_leaf_nodes": given.knob("max_leaf_nodes", 31),
            "min_samples_leaf": given.knob("min_samples_leaf", least_in_leaf(given)),
            "l2_regularization": given.knob("l2_regularization", 1.0),
            "max_features": given.knob("max_features", 0.7),
            "early_stopping": False,
            "categorical_features": list(range(len(native_categories(given.columns)))) or None,
            "random_state": given.seed,
        }
        if given.classes:
            return HistGradientBoostingClassifier(**settings)
        absolute = given.metric in ABSOLUTE
        return HistGradientBoostingRegressor(
            loss="absolute_error" if absolute else "squared_error", **settings
        )

    def watch(
        self, model: Any, learn: tuple[np.ndarray, ...], held: tuple[np.ndarray, ...], deadline: float
    ) -> np.ndarray:
        model.set_params(early_stopping=True, scoring="loss", n_iter_no_change=PATIENCE, tol=0.0)
        model.fit(*learn, X_val=held[0], y_val=held[1])
        return -np.asarray(model.validation_score_[1:])

    def answers(self, model: Any, x: np.ndarray, rounds: int) -> np.ndarray:
        staged = getattr(model, "staged_predict_proba", None) or model.staged_predict
        last = min(rounds, model.n_iter_) - 1
        return np.asarray(next(itertools.islice(staged(x), last, None)))


class CatBoost:
    def model(self, given: Situation, *, watched: bool) -> Any:
        from catboost import CatBoostClassifier, CatBoostRegressor

        settings: dict[str, Any] = {
            "iterations": rounds(given, watched=watched),
            "learning_rate": rate(given, 0.06 if given.rows < 20_000 else 0.1),
            "depth": given.knob("depth", 6),
            "l2_leaf_reg": given.knob("l2_leaf_reg", 3.0),
            "random_strength": given.knob("random_strength", 1.0),
            "thread_count": given.threads,
            "random_seed": given.seed,
            "allow_writing_files": False,
            "verbose": False,
        }
        # a list would be copied, which scikit-learn refuses to clone
        settings["cat_features"] = tuple(range(len(native_categories(given.columns)))) or None
        if not given.classes:
            return CatBoostRegressor(loss_function="MAE" if given.metric in ABSOLUTE else "RMSE", **settings)
        metric = {"roc_auc": "AUC", "average_precision": "PRAUC"}.get(ranked(given) or "")
        return CatBoostClassifier(**settings, **({"eval_metric": metric} if watched and metric else {}))

    def watch(
        self, model: Any, learn: tuple[np.ndarray, ...], held: tuple[np.ndarray, ...], deadline: float
    ) -> np.ndarray:
        class OnTime:
            def after_iteration(self, info: Any) -> bool:
                return time.monotonic() < deadline or info.iteration < FEWEST_ROUNDS

        model.set_params(use_best_model=False, early_stopping_rounds=PATIENCE)
        model.fit(*learn, eval_set=held, callbacks=[OnTime()])
        name = model.get_params().get("eval_metric")
        curves = model.get_evals_result()["validation"]
        metric = next((key for key in curves if name and key.startswith(name)), next(iter(curves)))
        return -np.array(curves[metric]) if metric.startswith(("AUC", "PRAUC")) else np.array(curves[metric])

    def answers(self, model: Any, x: np.ndarray, rounds: int) -> np.ndarray:
        told = getattr(model, "predict_proba", model.predict)
        return np.asarray(told(x, ntree_end=min(rounds, model.tree_count_)))


LIBRARIES: dict[str, Library] = {
    "lightgbm": LightGBM(),
    "xgboost": XGBoost(),
    "hist_gradient_boosting": Histogram(),
    "catboost": CatBoost(),
}
"""Slug → the library whose fits are watched."""
