/** What is asked for, as it is typed: the fields of `POST /ml/train` by their names there. */

import type { Schemas } from "../api/client"
import { ApiError } from "../api/problem"
import type { Profile } from "../datasets/queries"
import { sentence } from "../format"
import { guess, guessSeries } from "./guess"

type TrainRequest = Schemas["TrainRequest"]

export interface Form {
  target: string
  task_type: Schemas["TaskType"]
  time_column: string | null
  series_column: string | null
  /** Empty: as the API decides. So it is with every number as text. */
  horizon: string
  /** null: all that are usual for the task type. */
  models: string[] | null
  metric: string | null
  minutes: string
  name: string
  test_size: string
  cv_folds: string
  group_column: string | null
  exclude_columns: string[]
  on_leakage: "warn" | "drop" | "fail"
  refit: boolean
  seed: string
}

export type Change = (changes: Partial<Form>) => void

/** What is right for nearly everybody: folded away until it is wanted. */
const ADVANCED_DEFAULTS = {
  name: "",
  test_size: "0.2",
  cv_folds: "5",
  group_column: null,
  exclude_columns: [],
  on_leakage: "warn",
  refit: true,
  seed: "0",
} satisfies Partial<Form>

export const ADVANCED = Object.keys(ADVANCED_DEFAULTS) as readonly (keyof typeof ADVANCED_DEFAULTS)[]

/** How many of those are otherwise than for nearly everybody. */
export function advancedChanges(form: Form): number {
  return ADVANCED.filter((name) => String(form[name]) !== String(ADVANCED_DEFAULTS[name])).length
}

export function begin(profile: Profile, target: string): Form {
  const taskType = guess(profile, target)?.taskType ?? "classification"
  return {
    ...ADVANCED_DEFAULTS,
    target,
    ...ofTaskType(profile, target, taskType),
    horizon: "",
    minutes: "5",
  }
}

/** What follows from another target: all that is said of its task, and that it is no other column besides. */
export function ofTarget(profile: Profile, form: Form, target: string): Partial<Form> {
  const taskType = guess(profile, target)?.taskType ?? "classification"
  return {
    target,
    ...ofTaskType(profile, target, taskType),
    ...(taskType === form.task_type && { models: form.models, metric: form.metric }),
    group_column: form.group_column === target ? null : form.group_column,
    exclude_columns: form.exclude_columns.filter((name) => name !== target),
  }
}

/** What follows from a task type: models and metrics of another one mean nothing to it. */
export function ofTaskType(profile: Profile, target: string, taskType: Schemas["TaskType"]) {
  const series = taskType === "time_series" ? guessSeries(profile, target) : undefined
  return {
    task_type: taskType,
    time_column: series?.time ?? null,
    series_column: series?.series ?? null,
    models: null,
    metric: null,
  }
}

export function requestOf(fileId: string, form: Form): TrainRequest {
  const { minutes, horizon, name, test_size, cv_folds, seed, ...same } = form
  const series = form.task_type === "time_series"
  return {
    ...same,
    file_id: fileId,
    time_budget_s: secondsOf(minutes),
    test_size: decimal(test_size),
    cv_folds: whole(cv_folds),
    seed: whole(seed),
    name: name.trim() || null,
    horizon: series && horizon.trim() ? whole(horizon) : null,
    group_column: series ? null : form.group_column,
  }
}

/** To the tenth: 100 seconds are there and back again as 1.667 minutes. */
export function minutesOf(seconds: number): string {
  return String(Number((seconds / 60).toFixed(3)))
}

function secondsOf(minutes: string): number {
  const given = decimal(minutes)
  return typeof given === "number" ? Math.round(given * 600) / 10 : given
}

function decimal(text: string): number {
  return whole(text.replace(",", "."))
}

/** What is no number goes as it was typed: the API says what is wrong with it. */
function whole(text: string): number {
  const typed = text.trim()
  const value = Number(typed)
  return typed && Number.isFinite(value) ? value : (typed as unknown as number)
}

/** The API's names of the fields whose names here are others. */
const NAMES: Partial<Record<string, keyof Form>> = { time_budget_s: "minutes" }

/** Where the API's would be of seconds and of lists, which nobody sees here. */
const OWN_WORDS: Partial<Record<string, string>> = {
  "/time_budget_s": "Between one second and 24 hours, in minutes",
  "/models": "Choose one at least",
}

/** What is wrong with each field; "" has what is wrong with none of them. */
export function faultsOf(error: Error | null): Partial<Record<keyof Form | "", string>> {
  const faults: Partial<Record<keyof Form | "", string>> = {}
  if (!error) return faults
  const told = error instanceof ApiError ? (error.problem.errors ?? []) : []
  if (told.length === 0) return { "": error.message }
  for (const { pointer, detail } of told) {
    const field = pointer.split("/")[1] ?? ""
    const name = NAMES[field] ?? (FIELDS.has(field) ? (field as keyof Form) : "")
    // "/models/3": one fault says enough of a list
    faults[name] ??= OWN_WORDS[pointer] ?? sentence(detail.replace(/, not ""$/, ""))
  }
  return faults
}

const FIELDS: ReadonlySet<string> = new Set<keyof Form>([
  "target",
  "task_type",
  "time_column",
  "series_column",
  "horizon",
  "models",
  "metric",
  "name",
  "test_size",
  "cv_folds",
  "group_column",
  "exclude_columns",
  "on_leakage",
  "refit",
  "seed",
])
