import { Area, CartesianGrid, ComposedChart, Line, Tooltip, XAxis, YAxis } from "recharts"
import { score } from "../../format"
import { AXIS, Drawing, GRID, MARGIN, strokeOf, TOOLTIP, Y_WIDTH } from "./axes"
import type { PlotData } from "./data"
import { Figure } from "./figure"
import { timeLabel } from "./times"

export interface Moment {
  time: string
  history?: number | null | undefined
  actual?: number | null | undefined
  forecast?: number | null | undefined
  /** Lower and upper end, by level. */
  [band: `band${string}`]: [number, number] | null
}

interface ForecastProps {
  data: PlotData["forecast"]
  svgUrl: string
}

/** The held-out end of a series: what was forecast, and what really came. */
export function Forecast({ data, svgUrl }: ForecastProps) {
  const levels = Object.keys(data.bands)
  const about = `The last ${data.time.length} steps${data.series === null ? "" : ` of ${data.series}`}, which the model had not seen: what it forecast, and what came.${shaded(levels)}`
  return (
    <Figure
      title="Forecast against what came"
      about={about}
      svgUrl={svgUrl}
      wide
      numbers={() => ({
        columns: ["Time", "Forecast", "Actual", ...levels.map((level) => `${level}% interval`)],
        rows: data.time.map((time, step) => [
          timeLabel(time),
          score(data.mean[step]),
          score(data.actual[step]),
          ...levels.map((level) => {
            const band = bandOf(data, level, step)
            return band ? `${score(band[0])} to ${score(band[1])}` : "–"
          }),
        ]),
      })}
    >
      <SeriesChart
        about={about}
        moments={momentsOf(data)}
        levels={levels}
        withActual={data.actual.length > 0}
      />
    </Figure>
  )
}

interface SeriesChartProps {
  about: string
  moments: Moment[]
  levels: string[]
  withActual: boolean
}

export function SeriesChart({ about, moments, levels, withActual }: SeriesChartProps) {
  return (
    <Drawing about={about} legend={withActual ? ["Forecast", "Actual"] : ["Forecast"]}>
      <ComposedChart data={moments} margin={MARGIN} accessibilityLayer={false}>
        <CartesianGrid {...GRID} vertical={false} />
        <XAxis {...AXIS} dataKey="time" minTickGap={48} tickFormatter={timeLabel} />
        <YAxis {...AXIS} domain={["auto", "auto"]} width={Y_WIDTH} />
        <Tooltip
          {...TOOLTIP}
          labelFormatter={(time) => timeLabel(String(time))}
          formatter={(value) =>
            Array.isArray(value) ? value.map((end) => score(Number(end))).join(" to ") : score(Number(value))
          }
        />
        {levels.map((level) => (
          <Area
            key={level}
            dataKey={`band${level}`}
            name={`${level}% interval`}
            stroke="none"
            fill="var(--accent)"
            fillOpacity={0.14}
            isAnimationActive={false}
          />
        ))}
        <Line
          dataKey="history"
          name="History"
          stroke="var(--text-soft)"
          dot={false}
          isAnimationActive={false}
        />
        {withActual && (
          <Line
            dataKey="actual"
            name="Actual"
            {...strokeOf(1)}
            strokeWidth={2}
            dot={false}
            isAnimationActive={false}
          />
        )}
        <Line
          dataKey="forecast"
          name="Forecast"
          {...strokeOf(0)}
          strokeWidth={2}
          dot={false}
          isAnimationActive={false}
        />
      </ComposedChart>
    </Drawing>
  )
}

/** What the areas are, of which the legend says nothing. */
export function shaded(levels: string[]): string {
  if (!levels.length) return ""
  const shares = levels.map((level) => `${level}%`).toSorted()
  return ` Shaded: where ${shares.join(" and ")} of what comes is expected.`
}

function momentsOf(data: PlotData["forecast"]): Moment[] {
  const past = data.history.time.map((time, step): Moment => ({ time, history: data.history.value[step] }))
  const last = past.at(-1)
  // What came goes on from the history, without a gap.
  if (last && data.actual.length) last.actual = last.history
  const levels = Object.keys(data.bands)
  return past.concat(
    data.time.map((time, step) => ({
      time,
      actual: data.actual[step],
      forecast: data.mean[step],
      ...Object.fromEntries(levels.map((level) => [`band${level}`, bandOf(data, level, step)])),
    })),
  )
}

function bandOf({ bands }: PlotData["forecast"], level: string, step: number): [number, number] | null {
  const [low, high] = [bands[level]?.lower[step], bands[level]?.upper[step]]
  return low == null || high == null ? null : [low, high]
}
