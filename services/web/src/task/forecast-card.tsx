import { useState } from "react"
import type { Schemas } from "../api/client"
import { score } from "../format"
import { Card } from "../ui/surface"
import css from "./model-card.module.css"
import { dataOf } from "./plots/data"
import { Figure } from "./plots/figure"
import { type Moment, SeriesChart, shaded } from "./plots/forecast"
import { timeLabel } from "./plots/times"

type Point = Schemas["ForecastPoint"]

/** The wider band lies below the narrower one. */
const LEVELS = ["95", "80"] as const

interface ForecastCardProps {
  forecast: Point[]
  /** The plot of the same model, which has the end of one series. */
  before: Schemas["ResultPlot"] | undefined
  label: string
  target: string
}

/** What the best model says of the time after the table's last row. */
export function ForecastCard({ forecast, before, label, target }: ForecastCardProps) {
  const all = [...new Set(forecast.map(({ series }) => series))].filter((series) => series !== undefined)
  const [chosen, choose] = useState<string>()
  const series = chosen ?? all[0]
  const points = forecast.filter((point) => point.series === series)
  const levels = LEVELS.filter((level) => points.some((point) => point[`lower_${level}`] !== undefined))
  const about = `The next ${points.length} steps of ${target}${series === undefined ? "" : ` (${series})`} after the table's last row, by ${label}.${shaded(levels)}`
  return (
    <Card
      title="Forecast"
      actions={
        all.length > 1 && (
          <label className={css.choose}>
            Series
            <select className={css.select} value={series} onChange={(event) => choose(event.target.value)}>
              {all.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )
      }
    >
      <Figure
        title={target}
        about={about}
        numbers={() => ({
          columns: ["Time", "Forecast", "80% interval", "95% interval"],
          rows: points.map((point) => [
            timeLabel(point.time),
            score(point.mean),
            range(point.lower_80, point.upper_80),
            range(point.lower_95, point.upper_95),
          ]),
        })}
      >
        <SeriesChart
          about={about}
          moments={[...historyOf(before, series), ...points.map(momentOf)]}
          levels={levels}
          withActual={false}
        />
      </Figure>
    </Card>
  )
}

/** What came before the forecast: the plot's history, and what it tells of the held-out steps after it. */
function historyOf(plot: ForecastCardProps["before"], series: string | undefined): Moment[] {
  const data = plot && dataOf(plot, "forecast")
  if (!data || (data.series ?? undefined) !== series || !data.actual.length) return []
  const values = [...data.history.value, ...data.actual]
  return [...data.history.time, ...data.time].map((time, step) => ({ time, history: values[step] }))
}

function momentOf({ time, mean, lower_80, upper_80, lower_95, upper_95 }: Point): Moment {
  return {
    time,
    forecast: mean,
    band80: lower_80 === undefined || upper_80 === undefined ? null : [lower_80, upper_80],
    band95: lower_95 === undefined || upper_95 === undefined ? null : [lower_95, upper_95],
  }
}

function range(low: number | undefined, high: number | undefined): string {
  return low === undefined || high === undefined ? "–" : `${score(low)} to ${score(high)}`
}
