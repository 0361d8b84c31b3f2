/** How far a regression is off: each held-out row, and all of them counted. */

import {
  Bar,
  BarChart,
  CartesianGrid,
  ReferenceLine,
  Scatter,
  ScatterChart,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts"
import { count, score, share } from "../../format"
import {
  AXIS,
  axisAround,
  Drawing,
  GRID,
  MARGIN,
  pointsOf,
  REFERENCE,
  TOOLTIP,
  xLabel,
  Y_WIDTH,
  yLabel,
} from "./axes"
import type { PlotData } from "./data"
import { Figure } from "./figure"

interface Drawn<Data> {
  data: Data
  svgUrl: string
}

export function PredictionError({ data, svgUrl }: Drawn<PlotData["prediction_error"]>) {
  const { actual, predicted, intervals } = data
  const axis = axisAround([...actual, ...predicted])
  const ends = axis.domain
  const covered = Object.entries(intervals?.coverage ?? {}).map(
    ([level, held]) => `${share(held)} within the ${level}% interval`,
  )
  const about = `On the dashed line a prediction is right.${covered.length ? ` Of the rows ${covered.join(", ")}.` : ""}${ofRows(data)}`
  return (
    <Figure
      title="Actual against predicted"
      about={about}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Predicted", "Actual"],
        rows: predicted.map((value, row) => [score(value), score(actual[row])]),
      })}
    >
      <Drawing about={about}>
        <ScatterChart margin={MARGIN} accessibilityLayer={false}>
          <CartesianGrid {...GRID} />
          <XAxis {...axis} type="number" dataKey="x" name="Predicted" label={xLabel("Predicted")} />
          <YAxis {...axis} type="number" dataKey="y" name="Actual" label={yLabel("Actual")} width={Y_WIDTH} />
          {Object.keys(intervals?.lower ?? {}).flatMap((level) =>
            bandOf(intervals, level, ends).map((segment) => (
              <ReferenceLine
                key={`${level} ${segment[0].x} ${segment[0].y}`}
                segment={segment}
                stroke="var(--accent)"
                strokeOpacity={level === "80" ? 0.7 : 0.35}
              />
            )),
          )}
          <ReferenceLine
            {...REFERENCE}
            segment={[
              { x: ends[0], y: ends[0] },
              { x: ends[1], y: ends[1] },
            ]}
          />
          <Tooltip {...TOOLTIP} formatter={(value) => score(Number(value))} />
          <Scatter data={pointsOf(predicted, actual)} shape={Dot} isAnimationActive={false} />
        </ScatterChart>
      </Drawing>
    </Figure>
  )
}

function Dot({ cx, cy }: { cx?: number | undefined; cy?: number | undefined }) {
  return <circle cx={cx} cy={cy} r={3} fill="var(--accent)" fillOpacity={0.5} />
}

type Segment = [{ x: number; y: number }, { x: number; y: number }]

/** Both sides of an interval, between the edges of its bins, within the drawing. */
function bandOf(
  intervals: PlotData["prediction_error"]["intervals"],
  level: string,
  [from, to]: [number, number],
): Segment[] {
  const edges = intervals?.edges ?? []
  return [intervals?.lower[level], intervals?.upper[level]].flatMap((offsets) =>
    (offsets ?? []).flatMap((offset, bin): Segment[] => {
      // Where the line leaves the drawing at its bottom or top it is cut.
      const left = Math.max(edges[bin - 1] ?? from, from, from - offset)
      const right = Math.min(edges[bin] ?? to, to, to - offset)
      if (left >= right) return []
      return [
        [
          { x: left, y: left + offset },
          { x: right, y: right + offset },
        ],
      ]
    }),
  )
}

export function Residuals({ data, svgUrl }: Drawn<PlotData["residuals"]>) {
  const { predicted, residual, histogram } = data
  const about = `What is left when the prediction is taken from the truth: the nearer to none, the better.${ofRows(data)}`
  return (
    <Figure
      title="Residuals"
      about={about}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Predicted", "Residual"],
        rows: predicted.map((value, row) => [score(value), score(residual[row])]),
      })}
    >
      <Drawing about={about}>
        <ScatterChart margin={MARGIN} accessibilityLayer={false}>
          <CartesianGrid {...GRID} />
          <XAxis
            {...axisAround(predicted)}
            type="number"
            dataKey="x"
            name="Predicted"
            label={xLabel("Predicted")}
          />
          <YAxis
            {...axisAround([...residual, 0])}
            type="number"
            dataKey="y"
            name="Residual"
            label={yLabel("Residual")}
            width={Y_WIDTH}
          />
          <ReferenceLine {...REFERENCE} y={0} />
          <Tooltip {...TOOLTIP} formatter={(value) => score(Number(value))} />
          <Scatter data={pointsOf(predicted, residual)} shape={Dot} isAnimationActive={false} />
        </ScatterChart>
      </Drawing>
      <Histogram {...histogram} />
    </Figure>
  )
}

function Histogram({ edges, counts }: PlotData["residuals"]["histogram"]) {
  const bars = counts.map((rows, bin) => ({
    middle: ((edges[bin] ?? 0) + (edges[bin + 1] ?? 0)) / 2,
    rows,
  }))
  return (
    <Drawing about="How many rows have which residual" low>
      <BarChart data={bars} margin={MARGIN} barCategoryGap={1} accessibilityLayer={false}>
        <XAxis {...AXIS} dataKey="middle" minTickGap={24} label={xLabel("Residual")} />
        <YAxis {...AXIS} allowDecimals={false} width={Y_WIDTH} label={yLabel("Rows")} />
        <Tooltip
          {...TOOLTIP}
          cursor={{ fill: "var(--accent-soft)" }}
          labelFormatter={(middle) => `About ${score(Number(middle))}`}
          formatter={(rows) => [count(Number(rows)), "Rows"]}
        />
        <Bar dataKey="rows" fill="var(--accent)" fillOpacity={0.7} isAnimationActive={false} />
      </BarChart>
    </Drawing>
  )
}

function ofRows({ rows, rows_shown }: { rows: number; rows_shown: number }): string {
  return rows_shown < rows ? ` ${count(rows_shown)} of ${count(rows)} rows are drawn.` : ""
}
