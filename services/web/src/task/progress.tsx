import { Link } from "@tanstack/react-router"
import { Trophy } from "lucide-react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { buttonClass } from "../ui/button"
import { Note } from "../ui/surface"
import { CandidatesCard } from "./candidates-card"
import { LogCard } from "./log-card"
import { ProgressCard } from "./progress-card"
import css from "./task.module.css"
import { WarningsCard } from "./warnings"

export function Progress({ task }: { task: Schemas["Task"] }) {
  return (
    <div className={css.stack}>
      {task.error && <Failure task={task} error={task.error} />}
      <ProgressCard task={task} />
      {hasEnded(task) && task.best && (
        <Link
          from="/dashboard/blueprints/tasks/$taskId"
          search={{ tab: "results" }}
          className={`${buttonClass({ look: "primary" })} ${css.onward}`}
        >
          <Trophy size={18} aria-hidden="true" />
          See the results: the best model is {task.best.label}
        </Link>
      )}
      <div className={css.beside}>
        <CandidatesCard task={task} />
        <LogCard task={task} />
      </div>
      <WarningsCard warnings={task.warnings} />
    </div>
  )
}

function Failure({ task, error }: { task: Schemas["Task"]; error: Schemas["Problem"] }) {
  return (
    <Note tone="bad">
      <h2 className={css.failure}>{error.title}</h2>
      <p>{error.detail}</p>
      {error.errors?.map((fault) => (
        <p key={fault.pointer}>{fault.detail}</p>
      ))}
      <p>
        Resume it once the cause is gone, or{" "}
        <Link to="/dashboard/blueprints/files/$fileId" params={{ fileId: task.request.file_id }}>
          look at the table
        </Link>
        .
      </p>
    </Note>
  )
}
