import { oneOf, text } from "../search"

export const TASKS = [
  { name: "classification", label: "Classification" },
  { name: "regression", label: "Regression" },
  { name: "time_series", label: "Time series" },
] as const

export const MODEL_SORTS = [
  { name: "created_at", label: "Newest" },
  { name: "+created_at", label: "Oldest" },
  { name: "model_name", label: "Name" },
  { name: "updated_at", label: "Last changed" },
  { name: "file_size", label: "Largest" },
  { name: "downloads", label: "Most downloaded" },
] as const

const TABS = [{ name: "trash" }] as const

/** Which saved models are shown, and in which order. */
export function modelsSearch(search: Record<string, unknown>) {
  return {
    ...oneOf("tab", TABS, search),
    ...text("q", search),
    ...text("tag", search),
    ...oneOf("task_type", TASKS, search),
    ...oneOf("sort", MODEL_SORTS, search),
  }
}
