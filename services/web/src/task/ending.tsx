/** What came of a run that has ended, and what can be done next. */

import { Link } from "@tanstack/react-router"
import { Trophy } from "lucide-react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { count, sentence } from "../format"
import { buttonClass } from "../ui/button"
import { Note } from "../ui/surface"
import css from "./task.module.css"

type Task = Schemas["Task"]

export function Ending({ task }: { task: Task }) {
  if (!hasEnded(task)) return null
  return (
    <>
      {task.error && <Failure task={task} error={task.error} />}
      {task.status === "cancelled" && <Cancelled task={task} />}
      {task.best && (
        <Link
          from="/dashboard/blueprints/tasks/$taskId"
          search={{ tab: "results" }}
          className={`${buttonClass({ look: "primary" })} ${css.onward}`}
        >
          <Trophy size={18} aria-hidden="true" />
          See the results: the best model is {task.best.label}
        </Link>
      )}
    </>
  )
}

function Failure({ task, error }: { task: Task; error: Schemas["Problem"] }) {
  return (
    <Note tone="bad">
      <h2 className={css.failure}>{error.title}</h2>
      <p>{error.detail}</p>
      {error.errors?.map((fault) => (
        <p key={fault.pointer}>{sentence(fault.detail)}</p>
      ))}
      <p className={css.next}>
        <Link to="/dashboard/blueprints/files/$fileId" params={{ fileId: task.request.file_id }}>
          Look at the table
        </Link>
        , or train again with other settings. Where the cause is gone by now, resume the run: it goes on from
        what is done.
      </p>
    </Note>
  )
}

function Cancelled({ task }: { task: Task }) {
  const done = task.candidates.filter(({ status }) => status === "done").length
  return (
    <Note tone="plain">
      {done > 0
        ? `${done === 1 ? "The model that was" : `The ${count(done)} models that were`} done by then can be downloaded and saved as usual. `
        : "No model was done by then. "}
      Resume the run to train the others, or train again with other settings.
    </Note>
  )
}
