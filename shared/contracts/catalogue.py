"""Which models and metrics there are."""

from __future__ import annotations

from msgspec import Struct

from shared.contracts.states import TaskType


class ModelChoice(Struct, kw_only=True):
    """One entry of `GET /ml/models`."""

    model_name: str
    label: str
    algorithm: str
    task_type: TaskType
    default: bool


METRICS: dict[TaskType, dict[str, bool]] = {
    TaskType.CLASSIFICATION: {
        "accuracy": True,
        "balanced_accuracy": True,
        "f1_macro": True,
        "f1_weighted": True,
        "precision_macro": True,
        "recall_macro": True,
        "roc_auc": True,
        "average_precision": True,
        "log_loss": False,
        "matthews_corrcoef": True,
        "brier": False,
    },
    TaskType.REGRESSION: {
        "r2": True,
        "rmse": False,
        "mae": False,
        "mape": False,
        "median_absolute_error": False,
        "max_error": False,
        "explained_variance": True,
    },
    TaskType.TIME_SERIES: {
        "mase": False,
        "smape": False,
        "wape": False,
        "rmse": False,
        "mae": False,
        "rmsse": False,
    },
}
"""Every metric of a task type, in the leaderboard's order → whether greater is better."""

HEADLINE: dict[TaskType, str] = {
    TaskType.CLASSIFICATION: "accuracy",
    TaskType.REGRESSION: "r2",
    TaskType.TIME_SERIES: "mase",
}

_MODELS: dict[TaskType, list[tuple[str, str, str]]] = {
    TaskType.CLASSIFICATION: [
        ("logistic_regression", "Logistic Regression", "Logistic Regression Classifier"),
        ("random_forest", "Random Forest", "Random Forest Classifier"),
        ("extra_trees", "Extra Trees", "Extra Trees Classifier"),
        ("hist_gradient_boosting", "Hist Gradient Boosting", "Hist Gradient Boosting Classifier"),
        ("xgboost", "XGBoost", "XGBoost Classifier"),
        ("lightgbm", "LightGBM", "LightGBM Classifier"),
        ("catboost", "CatBoost", "CatBoost Classifier"),
        ("k_nearest_neighbors", "K-Nearest Neighbors", "K-Nearest Neighbors Classifier"),
        ("naive_bayes", "Naive Bayes", "Gaussian Naive Bayes Classifier"),
        ("mlp", "Neural Network (MLP)", "Multi-layer Perceptron Classifier"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Classifiers"),
        ("stacked_ensemble", "Stacked Ensemble", "Logistic Regression on Classifiers"),
    ],
    TaskType.REGRESSION: [
        ("ridge", "Ridge", "Ridge Regression"),
        ("elastic_net", "Elastic Net", "Elastic Net Regression"),
        ("random_forest", "Random Forest", "Random Forest Regressor"),
        ("extra_trees", "Extra Trees", "Extra Trees Regressor"),
        ("hist_gradient_boosting", "Hist Gradient Boosting", "Hist Gradient Boosting Regressor"),
        ("xgboost", "XGBoost", "XGBoost Regressor"),
        ("lightgbm", "LightGBM", "LightGBM Regressor"),
        ("catboost", "CatBoost", "CatBoost Regressor"),
        ("k_nearest_neighbors", "K-Nearest Neighbors", "K-Nearest Neighbors Regressor"),
        ("mlp", "Neural Network (MLP)", "Multi-layer Perceptron Regressor"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Regressors"),
        ("stacked_ensemble", "Stacked Ensemble", "Ridge Regression on Regressors"),
    ],
    TaskType.TIME_SERIES: [
        ("seasonal_naive", "Seasonal Naive", "Seasonal Naive"),
        ("seasonal_window_average", "Seasonal Window Average", "Seasonal Window Average"),
        ("dynamic_optimized_theta", "Dynamic Optimized Theta", "Dynamic Optimized Theta"),
        ("auto_ets", "AutoETS", "Automatic Exponential Smoothing (ETS)"),
        ("auto_ces", "AutoCES", "Automatic Complex Exponential Smoothing"),
        ("lightgbm", "LightGBM (lags)", "LightGBM Regressor on lags"),
        ("ridge", "Ridge (lags)", "Ridge Regression on lags"),
        ("auto_arima", "AutoARIMA", "Automatic ARIMA"),
        ("auto_theta", "AutoTheta", "Automatic Theta"),
        ("mstl", "MSTL", "Multiple Seasonal-Trend Decomposition by Loess (MSTL)"),
        ("croston", "Croston (SBA)", "Croston's Method, Syntetos-Boylan Approximation"),
        ("tsb", "TSB", "Teunter-Syntetos-Babai Method"),
        ("weighted_ensemble", "Weighted Ensemble", "Weighted Average of Forecasters"),
    ],
}

_ON_REQUEST = {"seasonal_window_average", "auto_arima", "auto_theta", "mstl", "croston", "tsb"}
"""Only where they are named, or where the series call for them: dear, or good for some kinds alone."""

ENSEMBLES = ("weighted_ensemble", "stacked_ensemble")
"""Slugs of models that are made of a run's other models, once all of those have ended."""

MODELS: dict[TaskType, dict[str, ModelChoice]] = {
    kind: {
        slug: ModelChoice(
            model_name=slug,
            label=label,
            algorithm=algorithm,
            task_type=kind,
            default=slug not in _ON_REQUEST,
        )
        for slug, label, algorithm in rows
    }
    for kind, rows in _MODELS.items()
}
"""What can be asked for, by task type and slug. The API lists it; the trainer knows how to fit it."""
