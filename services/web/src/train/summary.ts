import type { Schemas } from "../api/client"
import type { Profile } from "../datasets/queries"
import { counted, seconds } from "../format"
import { METRICS, metricLabel, TASK_TYPES } from "../metrics"
import type { Form } from "./form"

/** The run in one sentence. */
export function summary(profile: Profile, form: Form, choices: Schemas["ModelChoice"][]): string {
  if (!form.target) return "Choose what is to be predicted."
  const models = form.models?.length ?? choices.filter((choice) => choice.default).length
  const metric = form.metric ?? METRICS[form.task_type][0]?.name ?? ""
  const minutes = Number(form.minutes)
  const within = minutes > 0 ? `, within ${seconds(minutes * 60)}` : ""
  return (
    `${TASK_TYPES[form.task_type]} of ${form.target}: ${counted(models, "model")} ` +
    `on ${counted(profile.rows, "row")}, ranked by ${metricLabel(metric)}${within}.`
  )
}
