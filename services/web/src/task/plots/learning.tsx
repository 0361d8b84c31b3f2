import { Area, CartesianGrid, ComposedChart, Line, Tooltip, XAxis, YAxis } from "recharts"
import { count, score } from "../../format"
import { metricLabel } from "../../metrics"
import { AXIS, axisAround, Drawing, GRID, MARGIN, strokeOf, TOOLTIP, xLabel, Y_WIDTH } from "./axes"
import type { PlotData } from "./data"
import { Figure } from "./figure"

interface LearningProps {
  data: PlotData["learning_curve"]
  svgUrl: string
}

const PARTS = ["validation", "training"] as const

/** Whether more rows would help: the score by the rows that were fitted on. */
export function Learning({ data, svgUrl }: LearningProps) {
  const metric = metricLabel(data.metric)
  const whose = data.member === undefined ? "" : ` of its best member, ${data.member},`
  const about = `${metric}${whose} by the rows fitted on, with its standard deviation over the folds. Where the line of validation still ${
    data.greater_is_better ? "rises" : "falls"
  } at its end, more rows would help.`
  const points = data.rows.map((rows, place) => ({
    rows,
    validation: data.validation.mean[place],
    training: data.training.mean[place],
    validationBand: around(data.validation, place),
    trainingBand: around(data.training, place),
  }))
  const ends = points.flatMap(({ validationBand, trainingBand }) => [
    ...(validationBand ?? []),
    ...(trainingBand ?? []),
  ])
  return (
    <Figure
      title="Learning curve"
      about={about}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Rows", "Validation", "Training"],
        rows: points.map(({ rows, validation, training }) => [
          count(rows),
          score(validation),
          score(training),
        ]),
      })}
    >
      <Drawing about={about} legend={["Validation", "Training"]}>
        <ComposedChart data={points} margin={MARGIN} accessibilityLayer={false}>
          <CartesianGrid {...GRID} />
          <XAxis
            {...AXIS}
            type="number"
            scale="log"
            dataKey="rows"
            domain={["dataMin", "dataMax"]}
            ticks={data.rows}
            label={xLabel("Rows fitted on")}
          />
          <YAxis {...axisAround(ends)} width={Y_WIDTH} />
          <Tooltip
            {...TOOLTIP}
            labelFormatter={(rows) => `${count(Number(rows))} rows`}
            formatter={(value) => score(Number(value))}
          />
          {PARTS.map((part, place) => (
            <Area
              key={part}
              dataKey={`${part}Band`}
              stroke="none"
              fill={strokeOf(place).stroke}
              fillOpacity={0.14}
              tooltipType="none"
              isAnimationActive={false}
            />
          ))}
          {PARTS.map((part, place) => (
            <Line
              key={part}
              dataKey={part}
              name={part === "validation" ? "Validation" : "Training"}
              strokeWidth={2}
              {...strokeOf(place)}
              isAnimationActive={false}
            />
          ))}
        </ComposedChart>
      </Drawing>
    </Figure>
  )
}

function around(
  { mean, std }: PlotData["learning_curve"]["training"],
  place: number,
): [number, number] | null {
  const [middle, off] = [mean[place], std[place]]
  return middle == null || off == null ? null : [middle - off, middle + off]
}
