/** The metrics of each task type, in the leaderboard's order, in words. The first one is the headline. */

import type { Schemas } from "./api/client"

type TaskType = Schemas["TaskType"]

interface Metric {
  name: string
  label: string
  about: string
}

export const METRICS: Record<TaskType, readonly Metric[]> = {
  classification: [
    { name: "accuracy", label: "Accuracy", about: "share of rows that are right" },
    { name: "balanced_accuracy", label: "Balanced accuracy", about: "every class counts the same" },
    { name: "f1_macro", label: "F1 (macro)", about: "precision and recall, every class the same" },
    { name: "f1_weighted", label: "F1 (weighted)", about: "precision and recall, by the classes' sizes" },
    { name: "precision_macro", label: "Precision (macro)", about: "how often what is said is right" },
    { name: "recall_macro", label: "Recall (macro)", about: "how much of each class is found" },
    { name: "roc_auc", label: "ROC AUC", about: "how well the classes are told apart" },
    { name: "average_precision", label: "Average precision", about: "for rare classes" },
    { name: "log_loss", label: "Log loss", about: "how good the probabilities are; less is better" },
    { name: "matthews_corrcoef", label: "Matthews correlation", about: "all four kinds of answers count" },
    { name: "brier", label: "Brier score", about: "how good the probabilities are; less is better" },
  ],
  regression: [
    { name: "r2", label: "R²", about: "share of the variance that is explained" },
    { name: "rmse", label: "RMSE", about: "large errors weigh more; less is better" },
    { name: "mae", label: "MAE", about: "mean error in the target's unit; less is better" },
    { name: "mape", label: "MAPE", about: "mean error in percent; less is better" },
    {
      name: "median_absolute_error",
      label: "Median absolute error",
      about: "the usual error; less is better",
    },
    { name: "max_error", label: "Maximum error", about: "the worst error; less is better" },
    { name: "explained_variance", label: "Explained variance", about: "like R², without the bias" },
  ],
  time_series: [
    { name: "mase", label: "MASE", about: "against the seasonal naive forecast; less is better" },
    { name: "smape", label: "sMAPE", about: "error in percent, 0 to 200; less is better" },
    { name: "wape", label: "WAPE", about: "all errors over all values; less is better" },
    { name: "rmse", label: "RMSE", about: "large errors weigh more; less is better" },
    { name: "mae", label: "MAE", about: "mean error in the target's unit; less is better" },
    { name: "rmsse", label: "RMSSE", about: "squared, against the naive forecast; less is better" },
  ],
}

const LABELS = new Map(
  Object.values(METRICS)
    .flat()
    .map((metric) => [metric.name, metric.label]),
)

/** "roc_auc" → "ROC AUC"; one that is not known stays as it is. */
export function metricLabel(name: string): string {
  return LABELS.get(name) ?? name
}

export const TASK_TYPES: Record<TaskType, string> = {
  classification: "Classification",
  regression: "Regression",
  time_series: "Time series",
}
