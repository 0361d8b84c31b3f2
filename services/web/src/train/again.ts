/** The settings of a run, for another one like it. */

import type { Schemas } from "../api/client"
import type { Profile } from "../datasets/queries"
import { begin, type Form, minutesOf, ofTarget, ofTaskType } from "./form"

interface Again {
  form: Form
  /** Columns that the run was asked for with, and that this table has not. */
  missing: string[]
}

/** Whatever the table or the catalogue of models has no more is as it is suggested. */
export function asBefore(
  profile: Profile,
  choices: Schemas["ModelChoice"][],
  { request, task_type: found }: Schemas["Task"],
  target: string | undefined,
): Again {
  const names = new Set(profile.columns.map(({ name }) => name))
  const asked = [request.target, request.group_column, request.time_column, request.series_column]
  const missing = [...asked, ...(request.exclude_columns ?? [])].filter(
    (name): name is string => typeof name === "string" && !names.has(name),
  )
  const known = (name: string | null | undefined) => (name && names.has(name) ? name : null)
  const suggested = begin(profile, known(request.target) ?? "")
  const taskType = request.task_type === "auto" ? found : request.task_type
  const ofType = taskType ? ofTaskType(profile, suggested.target, taskType) : suggested
  const form: Form = {
    ...suggested,
    ...ofType,
    time_column: known(request.time_column) ?? ofType.time_column,
    // A run on one series is not one on several: null is an answer.
    series_column: request.time_column ? known(request.series_column) : ofType.series_column,
    horizon: request.horizon ? String(request.horizon) : "",
    models: modelsOf(choices, ofType.task_type, request.models),
    metric: request.metric ?? null,
    minutes: minutesOf(request.time_budget_s ?? 300),
    name: request.name ?? "",
    test_size: String(request.test_size ?? suggested.test_size),
    cv_folds: String(request.cv_folds ?? suggested.cv_folds),
    group_column: known(request.group_column),
    exclude_columns: (request.exclude_columns ?? []).filter((name) => names.has(name)),
    on_leakage: request.on_leakage ?? suggested.on_leakage,
    refit: request.refit ?? suggested.refit,
    seed: String(request.seed ?? suggested.seed),
  }
  const other = target !== undefined && target !== form.target
  return { form: other ? { ...form, ...ofTarget(profile, form, target) } : form, missing }
}

function modelsOf(
  choices: Schemas["ModelChoice"][],
  taskType: Schemas["TaskType"],
  asked: string[] | null | undefined,
): string[] | null {
  const possible = choices.filter((choice) => choice.task_type === taskType)
  const models = possible.map(({ model_name }) => model_name).filter((name) => asked?.includes(name))
  return models.length ? models : null
}
