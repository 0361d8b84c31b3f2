/** The metrics of each task type, in the leaderboard's order, in words. The first one is the headline. */

import type { Schemas } from "./api/client"

type TaskType = Schemas["TaskType"]

type Row = Schemas["LeaderboardRow"]

/** What a row of the leaderboard may lack: the metrics of other task types. */
type MetricName = { [Name in keyof Row]-?: undefined extends Row[Name] ? Name : never }[keyof Row]

interface Metric {
  name: MetricName
  label: string
  about: string
  /** Left out, greater is better. */
  lessIsBetter?: true
}

const RMSE: Metric = { name: "rmse", label: "RMSE", about: "large errors weigh more", lessIsBetter: true }
const MAE: Metric = {
  name: "mae",
  label: "MAE",
  about: "mean error in the target's unit",
  lessIsBetter: true,
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
    { name: "log_loss", label: "Log loss", about: "how good the probabilities are", lessIsBetter: true },
    { name: "matthews_corrcoef", label: "Matthews correlation", about: "all four kinds of answers count" },
    { name: "brier", label: "Brier score", about: "how good the probabilities are", lessIsBetter: true },
  ],
  regression: [
    { name: "r2", label: "R²", about: "share of the variance that is explained" },
    RMSE,
    MAE,
    { name: "mape", label: "MAPE", about: "mean error in percent", lessIsBetter: true },
    {
      name: "median_absolute_error",
      label: "Median absolute error",
      about: "the usual error",
      lessIsBetter: true,
    },
    { name: "max_error", label: "Maximum error", about: "the worst error", lessIsBetter: true },
    { name: "explained_variance", label: "Explained variance", about: "like R², without the bias" },
  ],
  time_series: [
    { name: "mase", label: "MASE", about: "against the seasonal naive forecast", lessIsBetter: true },
    { name: "smape", label: "sMAPE", about: "error in percent, 0 to 200", lessIsBetter: true },
    { name: "wape", label: "WAPE", about: "all errors over all values", lessIsBetter: true },
    RMSE,
    MAE,
    { name: "rmsse", label: "RMSSE", about: "squared, against the naive forecast", lessIsBetter: true },
  ],
}

const KNOWN = new Map<string, Metric>(
  Object.values(METRICS)
    .flat()
    .map((metric) => [metric.name, metric]),
)

/** "roc_auc" → "ROC AUC"; one that is not known stays as it is. */
export function metricLabel(name: string): string {
  return KNOWN.get(name)?.label ?? name
}

/** "share of rows that are right", "the worst error; less is better"; "" of one that is not known. */
export function metricAbout(name: string): string {
  const known = KNOWN.get(name)
  return known ? known.about + (known.lessIsBetter ? "; less is better" : "") : ""
}

/** For runs that go on: results say it themselves (`greater_is_better`). */
export function lessIsBetter(name: string): boolean {
  return KNOWN.get(name)?.lessIsBetter ?? false
}

export const TASK_TYPES: Record<TaskType, string> = {
  classification: "Classification",
  regression: "Regression",
  time_series: "Time series",
}
