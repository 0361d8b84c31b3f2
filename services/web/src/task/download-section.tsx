/** "Download & Save Results": what a run made, to keep. */

import { Award, Download, Package, Save } from "lucide-react"
import { useState } from "react"
import type { Schemas } from "../api/client"
import { leaderboardPath, modelPath } from "../api/download"
import { bytes, score } from "../format"
import { metricLabel } from "../metrics"
import { Button } from "../ui/button"
import { DownloadButton } from "../ui/download-button"
import { Card } from "../ui/surface"
import { BundleButton } from "./bundle-button"
import css from "./download-section.module.css"
import { Formats } from "./formats"
import type { Row } from "./leaderboard"
import { SaveModelDialog } from "./save-model-dialog"

/** The guide's name for whichever is on top. */
const BEST = "best_model"

const SHOWN = 5

const percent = new Intl.NumberFormat(navigator.language, { style: "percent", minimumFractionDigits: 1 })

interface DownloadSectionProps {
  task: Schemas["Task"]
  results: Schemas["Results"]
}

export function DownloadSection({ task, results }: DownloadSectionProps) {
  const [saving, setSaving] = useState(false)
  const models = results.leaderboard.filter(({ rank }) => rank !== null)
  const top = models.slice(0, SHOWN)
  const convertible = results.schema?.task_type !== "time_series"
  return (
    <Card
      title={
        <span className={css.title}>
          <Save size={20} aria-hidden="true" />
          Download &amp; Save Results
        </span>
      }
      about="Download trained models, save to database, or get performance reports"
    >
      <div className={css.main}>
        <div className={css.split}>
          <DownloadButton path={modelPath(task.task_id, BEST)}>
            <Download size={18} aria-hidden="true" />
            Best Model
          </DownloadButton>
          {convertible && (
            <Formats taskId={task.task_id} modelName={BEST} label={top[0]?.label ?? ""} of="the best one" />
          )}
        </div>
        <DownloadButton path={leaderboardPath(task.task_id)}>
          <Download size={18} aria-hidden="true" />
          Performance Report
        </DownloadButton>
        <Button look="gradient" onClick={() => setSaving(true)}>
          <Save size={18} aria-hidden="true" />
          Save to Database
        </Button>
      </div>
      <div className={css.available}>
        <h3 className={css.title}>
          <Package size={20} aria-hidden="true" />
          Available Models
        </h3>
        <BundleButton taskId={task.task_id} />
      </div>
      <ul className={css.models}>
        {top.map((row) => (
          <Available
            key={row.model_name}
            taskId={task.task_id}
            row={row}
            metric={results.metric ?? ""}
            convertible={convertible}
          />
        ))}
      </ul>
      {models.length > top.length && (
        <p className={css.soft}>
          The best {top.length} of {models.length} models. The ZIP holds all of them, and each can be
          downloaded beside its plots.
        </p>
      )}
      {!convertible && (
        <p className={css.soft}>
          Models of time series come as pickles alone: neither skops nor ONNX has a form for them.
        </p>
      )}
      <SaveModelDialog
        open={saving}
        onOpenChange={setSaving}
        taskId={task.task_id}
        modelInfo={{ models, suggestedName: suggestion(task, models) }}
      />
    </Card>
  )
}

interface AvailableProps {
  taskId: string
  row: Row
  metric: string
  convertible: boolean
}

function Available({ taskId, row, metric, convertible }: AvailableProps) {
  const { model_name, label } = row
  const first = row.rank === 1
  return (
    <li className={css.model}>
      {first ? (
        <Award size={22} className={css.gold} role="img" aria-label="Best model" />
      ) : (
        <span className={css.place} aria-hidden="true">
          {row.rank}
        </span>
      )}
      <span className={css.name}>{label}</span>
      <span className={`${css.score} number`}>
        {metricLabel(metric)}:{" "}
        {metric === "accuracy" && row.cv_mean !== null ? percent.format(row.cv_mean) : score(row.cv_mean)}
      </span>
      <span className={`${css.size} number`}>{bytes(row.size_bytes)}</span>
      <span className={css.split}>
        <DownloadButton path={modelPath(taskId, model_name)} small aria-label={`Download ${label}`}>
          <Download size={16} aria-hidden="true" />
          <span className={css.word}>Download</span>
        </DownloadButton>
        {convertible && <Formats taskId={taskId} modelName={model_name} label={label} of={label} small />}
      </span>
    </li>
  )
}

function suggestion(task: Schemas["Task"], [best]: Row[]): string {
  return best ? `${task.target} – ${best.label}`.slice(0, 120) : task.target.slice(0, 120)
}
