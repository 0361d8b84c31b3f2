import { Link } from "@tanstack/react-router"
import { Sparkles } from "lucide-react"
import { TASK_TYPES } from "../metrics"
import { buttonClass } from "../ui/button"
import { Card } from "../ui/surface"
import css from "./dataset.module.css"
import type { Profile } from "./queries"

/** What the table looks like it is for, and why. */
export function Suggestion({ fileId, profile }: { fileId: string; profile: Profile }) {
  const { suggested_target: target, suggested_task_type: taskType, reason } = profile
  if (!target || !taskType) {
    return (
      <Card title="Nothing to predict was found">
        <p>{reason}</p>
      </Card>
    )
  }
  return (
    <Card
      title={
        <span className={css.suggested}>
          <Sparkles size={20} aria-hidden="true" />
          Looks like: predict {target}
        </span>
      }
      about={`${TASK_TYPES[taskType]}. ${reason}`}
      actions={
        <Link to="/dashboard/blueprints/train" search={{ file: fileId, target }} className={buttonClass({})}>
          Set it up
        </Link>
      }
    />
  )
}
