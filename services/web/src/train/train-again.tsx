import { Link } from "@tanstack/react-router"
import { RotateCw } from "lucide-react"
import type { Schemas } from "../api/client"
import { buttonClass } from "../ui/button"

interface TrainAgainProps {
  task: Schemas["Task"]
  /** Nothing but an icon, in a row of a list. */
  small?: boolean
}

/** To the settings of a run, to change what is to be otherwise. */
export function TrainAgain({ task: { task_id, request, name }, small = false }: TrainAgainProps) {
  return (
    <Link
      to="/dashboard/blueprints/train"
      search={{ file: request.file_id, from: task_id }}
      className={buttonClass(small ? { look: "quiet", small, icon: true } : {})}
      {...(small && { title: "Train again", "aria-label": `Train again: ${name}` })}
    >
      <RotateCw size={small ? 18 : 16} aria-hidden="true" />
      {!small && "Train again"}
    </Link>
  )
}
