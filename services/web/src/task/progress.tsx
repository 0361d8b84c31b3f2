import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { CandidatesCard } from "./candidates-card"
import { Ending } from "./ending"
import { LogCard } from "./log-card"
import { ProgressCard } from "./progress-card"
import css from "./task.module.css"
import { WarningsCard } from "./warnings"

export function Progress({ task }: { task: Schemas["Task"] }) {
  return (
    <div className={css.stack}>
      <Ending task={task} />
      <ProgressCard task={task} />
      <div className={css.beside}>
        {(task.candidates.length > 0 || !hasEnded(task)) && <CandidatesCard task={task} />}
        <LogCard task={task} />
      </div>
      <WarningsCard warnings={task.warnings} />
    </div>
  )
}
