/** What stands in a plot's `data`, kind by kind: what the trainer's `plots.py` writes. */

import type { Schemas } from "../../api/client"

type Numbers = (number | null)[]

interface Curve {
  /** The class it is of. */
  label: string
}

interface Spread {
  mean: Numbers
  std: Numbers
}

export interface PlotData {
  confusion_matrix: { labels: string[]; matrix: number[][]; share_of_actual: number[][] }
  roc_curve: { curves: (Curve & { fpr: Numbers; tpr: Numbers; auc: number })[] }
  precision_recall_curve: {
    curves: (Curve & {
      recall: Numbers
      precision: Numbers
      average_precision: number
      share_of_rows: number
    })[]
  }
  calibration_curve: { curves: (Curve & { predicted: Numbers; observed: Numbers })[] }
  lift_curve: { curves: (Curve & { targeted: Numbers; found: Numbers; lift_at_10: number })[] }
  prediction_error: {
    rows: number
    rows_shown: number
    actual: number[]
    predicted: number[]
    intervals?: {
      edges: number[]
      lower: Record<string, number[]>
      upper: Record<string, number[]>
      coverage: Record<string, number>
    }
  }
  residuals: {
    rows: number
    rows_shown: number
    predicted: number[]
    residual: number[]
    histogram: { edges: number[]; counts: number[] }
  }
  importance: {
    metric: string
    columns: { feature: string; mean: number; std: number }[]
    columns_in_all: number
  }
  learning_curve: {
    metric: string
    greater_is_better: boolean
    rows: number[]
    training: Spread
    validation: Spread
    /** Whose it is, of an ensemble: that of its best member. */
    member?: string
  }
  forecast: {
    series: string | null
    history: { time: string[]; value: Numbers }
    time: string[]
    actual: Numbers
    mean: Numbers
    bands: Record<string, { lower: Numbers; upper: Numbers }>
  }
}

export type Kind = keyof PlotData

/** The schema leaves `data` open, since it differs from kind to kind. */
export function dataOf<K extends Kind>(plot: Schemas["ResultPlot"], _kind: K): PlotData[K] {
  return plot.data as unknown as PlotData[K]
}
