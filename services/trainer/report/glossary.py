"""What each metric says, for people who read a report once a year."""

from __future__ import annotations

METRIC_MEANING = {
    "accuracy": "share of rows whose class was predicted correctly",
    "balanced_accuracy": "share of each class that was found, averaged; guessing is 1 / classes",
    "f1_macro": "harmonic mean of precision and recall, every class counted alike",
    "f1_weighted": "harmonic mean of precision and recall, classes weighted by their rows",
    "precision_macro": "of the rows predicted to be of a class, the share that is; every class counted alike",
    "recall_macro": "of the rows of a class, the share that was found; every class counted alike",
    "roc_auc": "chance that a row of a class is rated above one that isn't of it (0.5 is guessing); "
    "with several classes the mean of one against the rest",
    "average_precision": "area under the precision-recall curve; guessing scores the class's share of rows",
    "log_loss": "how surprising the truth was under the predicted probabilities, in nats",
    "matthews_corrcoef": "correlation between truth and prediction: 1 is perfect, 0 is guessing",
    "brier": "mean squared error of the predicted probabilities",
    "r2": "share of the target's variance that is explained; 0 is predicting the mean, below 0 is worse",
    "rmse": "typical error in the target's unit, large errors weighing more",
    "mae": "mean absolute error in the target's unit",
    "mape": "mean absolute error as a share of the true value (0.1 is 10 %); undefined where the truth is 0",
    "median_absolute_error": "half of the errors are smaller than this",
    "max_error": "the largest error",
    "explained_variance": "as r2, but a constant offset is not held against the model",
    "mase": "mean absolute error relative to repeating the last season; below 1 is better than that",
    "smape": "mean absolute error relative to the mean of truth and forecast, in percent from 0 to 200",
    "wape": "sum of the absolute errors as a share of the sum of the values",
    "rmsse": "as mase, with squared errors: large ones weigh more",
}
