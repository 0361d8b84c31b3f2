/** The leaderboard as the table shows it: its columns, and its rows in another order. */

import type { Schemas } from "../api/client"
import { bytes, score, seconds } from "../format"
import { metricAbout, metricLabel } from "../metrics"

type Results = Schemas["Results"]

export type Row = Schemas["LeaderboardRow"]

/** A metric of the task type, or another number, by its name. */
export function numberOf(row: Row, column: string): number | null {
  const value = row[column as keyof Row]
  return typeof value === "number" ? value : null
}

/** What no model has seen: rows, or the last steps of each series. */
export function heldOut({ schema }: Results): string {
  return schema?.task_type === "time_series" ? "held-out steps" : "held-out rows"
}

export interface Column {
  name: string
  label: string
  /** What it means, for those who do not know. */
  about: string
  text: (row: Row) => string
  /** Whether the greatest stands first when it is sorted by first. */
  greaterFirst: boolean
}

/** `score` (the validation that decides the rank) has a cell of its own, all others are `text`. */
export function columnsOf(results: Results): Column[] {
  const metrics = Object.entries(results.greater_is_better).map(
    ([name, greaterFirst]): Column => ({
      name,
      label: metricLabel(name),
      about: `On ${heldOut(results)}: ${metricAbout(name)}`,
      text: (row) => score(numberOf(row, name)),
      greaterFirst,
    }),
  )
  return [
    ...metrics,
    {
      name: "fit_seconds",
      label: "Training",
      about: "Time to fit it",
      text: (row) => seconds(row.fit_seconds),
      greaterFirst: false,
    },
    {
      name: "predict_ms_per_row",
      label: "Per row",
      about: "Time to predict one row, in a large batch",
      text: (row) => (row.predict_ms_per_row === null ? "–" : `${score(row.predict_ms_per_row)} ms`),
      greaterFirst: false,
    },
    {
      name: "size_bytes",
      label: "Size",
      about: "Of the model's file",
      text: (row) => bytes(row.size_bytes),
      greaterFirst: false,
    },
  ]
}

/** `sort`: a column, descending with a minus before it. What has no value comes last either way. */
export function sorted(rows: Row[], sort: string): Row[] {
  const descending = sort.startsWith("-")
  const column = descending ? sort.slice(1) : sort
  if (column === "label") {
    const byName = rows.toSorted((a, b) => a.label.localeCompare(b.label))
    return descending ? byName.reverse() : byName
  }
  return rows.toSorted((a, b) => {
    const [x, y] = [numberOf(a, column), numberOf(b, column)]
    if (x === null || y === null) return Number(x === null) - Number(y === null)
    return descending ? y - x : x - y
  })
}
