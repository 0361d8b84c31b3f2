import { Link } from "@tanstack/react-router"
import { Trash2 } from "lucide-react"
import { useState } from "react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { score, seconds, share } from "../format"
import { metricLabel, TASK_TYPES } from "../metrics"
import { RunState } from "../task/states"
import { TrainAgain } from "../train/train-again"
import { Button } from "../ui/button"
import { Bar } from "../ui/surface"
import { When } from "../ui/when"
import { DeleteRun } from "./delete-run"
import css from "./runs.module.css"

type Task = Schemas["Task"]

export function RunRow({ task }: { task: Task }) {
  const [deleting, setDeleting] = useState(false)
  return (
    <li className={css.row} data-row tabIndex={-1}>
      <div className={css.what}>
        <Link
          to="/dashboard/blueprints/tasks/$taskId"
          params={{ taskId: task.task_id }}
          className={css.name}
          title={task.name}
        >
          {task.name}
        </Link>
        <p className={css.facts}>
          <RunState status={task.status} />
          {task.task_type && <span>{TASK_TYPES[task.task_type]}</span>}
          <When time={task.created_at} />
        </p>
      </div>
      <div className={css.outcome}>{hasEnded(task) ? <Outcome task={task} /> : <GoingOn task={task} />}</div>
      <div className={css.actions}>
        {hasEnded(task) && <TrainAgain task={task} small />}
        <Button look="quiet" small icon aria-label={`Delete ${task.name}`} onClick={() => setDeleting(true)}>
          <Trash2 size={18} aria-hidden="true" />
        </Button>
      </div>
      <DeleteRun task={task} open={deleting} onOpenChange={setDeleting} />
    </li>
  )
}

function Outcome({ task: { best, error } }: { task: Task }) {
  if (best) {
    return (
      <>
        <p>
          {metricLabel(best.metric)} <strong className="number">{score(best.score)}</strong>
        </p>
        <p className={css.soft}>{best.label}</p>
      </>
    )
  }
  const why = error?.detail ?? "No model was done"
  return (
    <p className={css.why} title={why}>
      {why}
    </p>
  )
}

function GoingOn({ task }: { task: Task }) {
  const { progress, eta_seconds: eta, queue_position: place } = task
  return (
    <>
      <Bar value={progress} label={`Progress of ${task.name}`} />
      <p className={`${css.soft} number`}>
        {place === undefined ? share(progress) : `${place === 1 ? "Next" : `Place ${place}`} in the queue`}
        {eta !== undefined && ` · ${seconds(eta)} left`}
      </p>
    </>
  )
}
