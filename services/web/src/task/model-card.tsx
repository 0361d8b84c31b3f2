/** One model of the leaderboard: what its plots show. Loaded with the charts' library when it is needed. */

import { Download } from "lucide-react"
import type { Schemas } from "../api/client"
import { modelPath } from "../api/download"
import { hasEnded } from "../api/live"
import { DownloadButton } from "../ui/download-button"
import { Card, State } from "../ui/surface"
import { ForecastCard } from "./forecast-card"
import { heldOut, type Row } from "./leaderboard"
import css from "./model-card.module.css"
import { Confusion } from "./plots/confusion"
import { Calibration, Lift, PrecisionRecall, Roc } from "./plots/curves"
import { dataOf } from "./plots/data"
import { PredictionError, Residuals } from "./plots/errors"
import { Forecast } from "./plots/forecast"
import { Importance } from "./plots/importance"
import { Learning } from "./plots/learning"

type Plot = Schemas["ResultPlot"]

interface ModelCardProps {
  results: Schemas["Results"]
  best: Row
  /** Whose plots are shown. */
  row: Row
  onSelect: (modelName: string) => void
}

export default function ModelCard({ results, best, row, onSelect }: ModelCardProps) {
  const plots = results.plots.filter(({ model_name }) => model_name === row.model_name)
  return (
    <>
      {results.forecast && (
        <ForecastCard
          forecast={results.forecast}
          before={results.plots.find(
            ({ model_name, kind }) => model_name === best.model_name && kind === "forecast",
          )}
          label={best.label}
          target={results.schema?.target ?? ""}
        />
      )}
      <Card
        title={`Plots of ${row.label}`}
        about={`Of ${heldOut(results)}, unless they say otherwise.`}
        actions={
          <div className={css.actions}>
            <label className={css.choose}>
              Model
              <select
                className={css.select}
                value={row.model_name}
                onChange={(event) => onSelect(event.target.value)}
              >
                {results.leaderboard
                  .filter(({ rank }) => rank !== null)
                  .map(({ model_name, label }) => (
                    <option key={model_name} value={model_name}>
                      {label}
                    </option>
                  ))}
              </select>
            </label>
            {hasEnded(results) && (
              <DownloadButton
                path={modelPath(results.task_id, row.model_name)}
                small
                aria-label={`Download ${row.label}`}
              >
                <Download size={16} aria-hidden="true" />
                Download
              </DownloadButton>
            )}
          </div>
        }
      >
        {plots.length ? (
          <div className={css.plots}>
            {plots.map((plot) => (
              <OnePlot key={`${plot.model_name} ${plot.kind}`} plot={plot} />
            ))}
          </div>
        ) : (
          <State title="This model has no plots">There was no time left to draw them.</State>
        )}
      </Card>
    </>
  )
}

function OnePlot({ plot }: { plot: Plot }) {
  const svgUrl = plot.svg_url
  switch (plot.kind) {
    case "confusion_matrix":
      return <Confusion data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "roc_curve":
      return <Roc data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "precision_recall_curve":
      return <PrecisionRecall data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "calibration_curve":
      return <Calibration data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "lift_curve":
      return <Lift data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "prediction_error":
      return <PredictionError data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "residuals":
      return <Residuals data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "importance":
      return <Importance data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "learning_curve":
      return <Learning data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
    case "forecast":
      return <Forecast data={dataOf(plot, plot.kind)} svgUrl={svgUrl} />
  }
}
