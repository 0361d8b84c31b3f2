/** Curves of a classification: one a class, each over a diagonal or a level of comparison. */

import { CartesianGrid, ReferenceLine, Scatter, ScatterChart, Tooltip, XAxis, YAxis } from "recharts"
import { score, share } from "../../format"
import {
  Drawing,
  GRID,
  MARGIN,
  pointsOf,
  REFERENCE,
  SHARES,
  strokeOf,
  TOOLTIP,
  xLabel,
  Y_WIDTH,
  yLabel,
} from "./axes"
import type { PlotData } from "./data"
import { Figure } from "./figure"

const times = new Intl.NumberFormat(navigator.language, { maximumFractionDigits: 1 })

interface CurvesProps {
  title: string
  about: string
  svgUrl: string
  x: string
  y: string
  /** What a model that knows nothing, or one that is perfect, would draw. */
  diagonal?: boolean
  curves: { label: string; points: { x: number; y: number }[] }[]
}

function Curves({ title, about, svgUrl, x, y, diagonal, curves }: CurvesProps) {
  return (
    <Figure
      title={title}
      about={about}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Class", x, y],
        rows: curves.flatMap(({ label, points }) =>
          points.map((point) => [label, score(point.x), score(point.y)]),
        ),
      })}
    >
      <Drawing about={about} legend={curves.map(({ label }) => label)}>
        <ScatterChart margin={MARGIN} accessibilityLayer={false}>
          <CartesianGrid {...GRID} />
          <XAxis {...SHARES} type="number" dataKey="x" name={x} label={xLabel(x)} />
          <YAxis {...SHARES} type="number" dataKey="y" name={y} label={yLabel(y)} width={Y_WIDTH} />
          {diagonal && (
            <ReferenceLine
              {...REFERENCE}
              segment={[
                { x: 0, y: 0 },
                { x: 1, y: 1 },
              ]}
            />
          )}
          <Tooltip {...TOOLTIP} formatter={(value) => share(Number(value))} />
          {curves.map(({ label, points }, place) => (
            <Scatter
              key={label}
              name={label}
              data={points}
              line={{ strokeWidth: 2, fill: "none", ...strokeOf(place) }}
              shape={Invisible}
              isAnimationActive={false}
            />
          ))}
        </ScatterChart>
      </Drawing>
    </Figure>
  )
}

/** The line is what is seen; its points are there to be pointed at. */
function Invisible({ cx, cy }: { cx?: number | undefined; cy?: number | undefined }) {
  return <circle cx={cx} cy={cy} r={5} fill="transparent" />
}

interface Drawn<Data> {
  data: Data
  svgUrl: string
}

export function Roc({ data: { curves }, svgUrl }: Drawn<PlotData["roc_curve"]>) {
  return (
    <Curves
      title="ROC curve"
      about={`Area under the curve: ${each(curves, ({ auc }) => score(auc))}. The dashed line is chance.`}
      svgUrl={svgUrl}
      x="False positive rate"
      y="True positive rate"
      diagonal
      curves={curves.map(({ label, fpr, tpr }) => ({ label, points: pointsOf(fpr, tpr) }))}
    />
  )
}

export function PrecisionRecall({ data: { curves }, svgUrl }: Drawn<PlotData["precision_recall_curve"]>) {
  return (
    <Curves
      title="Precision and recall"
      about={`Average precision: ${each(curves, (curve) => score(curve.average_precision))}.`}
      svgUrl={svgUrl}
      x="Recall"
      y="Precision"
      curves={curves.map(({ label, recall, precision }) => ({ label, points: pointsOf(recall, precision) }))}
    />
  )
}

export function Calibration({ data: { curves }, svgUrl }: Drawn<PlotData["calibration_curve"]>) {
  return (
    <Curves
      title="Calibration"
      about="How often a class really came, by the probability it was given. On the dashed line both agree."
      svgUrl={svgUrl}
      x="Predicted probability"
      y="Share that came"
      diagonal
      curves={curves.map(({ label, predicted, observed }) => ({
        label,
        points: pointsOf(predicted, observed),
      }))}
    />
  )
}

export function Lift({ data: { curves }, svgUrl }: Drawn<PlotData["lift_curve"]>) {
  return (
    <Curves
      title="Cumulative gains"
      about={`Among the tenth of rows that are rated highest, a class is as many times as frequent as among all: ${each(curves, (curve) => times.format(curve.lift_at_10))}.`}
      svgUrl={svgUrl}
      x="Share of rows, highest rated first"
      y="Share of the class found"
      diagonal
      curves={curves.map(({ label, targeted, found }) => ({ label, points: pointsOf(targeted, found) }))}
    />
  )
}

const NAMED = 4

function each<T extends { label: string }>(curves: T[], figure: (curve: T) => string): string {
  const [only] = curves
  if (only && curves.length === 1) return figure(only)
  const named = curves.slice(0, NAMED).map((curve) => `${curve.label} ${figure(curve)}`)
  return named.join(", ") + (curves.length > NAMED ? " …" : "")
}
