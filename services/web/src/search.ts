/** What of the pages about data stands in their addresses, beside what their paths say. */

import type { Schemas } from "./api/client"

type Search = Record<string, unknown>

/** A text of an address: the router reads "12" as a number, as it would be in JSON. */
export function text<Name extends string>(name: Name, search: Search): { [name in Name]?: string } {
  const value = search[name]
  const given = typeof value === "string" || typeof value === "number" || typeof value === "boolean"
  return given && value !== "" ? ({ [name]: String(value) } as { [name in Name]?: string }) : {}
}

export function oneOf<Name extends string, Value extends string>(
  name: Name,
  values: readonly { name: Value }[],
  search: Search,
): { [name in Name]?: Value } {
  const known = values.find((value) => value.name === search[name])
  return known ? ({ [name]: known.name } as { [name in Name]?: Value }) : {}
}

export const DATASET_SORTS = [
  { name: "newest", label: "Newest" },
  { name: "name", label: "Name" },
  { name: "rows", label: "Most rows" },
  { name: "size", label: "Largest" },
] as const

export type DatasetSort = (typeof DATASET_SORTS)[number]["name"]

export const RUN_STATES: readonly { name: Schemas["TaskStatus"]; label: string }[] = [
  { name: "queued", label: "Queued" },
  { name: "running", label: "Running" },
  { name: "completed", label: "Completed" },
  { name: "failed", label: "Failed" },
  { name: "cancelled", label: "Cancelled" },
]

const TABS = [{ name: "runs" }] as const

/** `q` is a part of a name; `sort` is for the datasets, `status` for the runs. */
export function blueprintsSearch(search: Search) {
  return {
    ...oneOf("tab", TABS, search),
    ...text("q", search),
    ...oneOf("sort", DATASET_SORTS, search),
    ...oneOf("status", RUN_STATES, search),
  }
}

export const ROLES = [
  { name: "numeric", label: "Numbers" },
  { name: "categorical", label: "Categories" },
  { name: "boolean", label: "Yes or no" },
  { name: "datetime", label: "Times" },
  { name: "text", label: "Text" },
  { name: "identifier", label: "Identifiers" },
  { name: "constant", label: "Constant" },
  { name: "empty", label: "Empty" },
] as const

/** Which columns of a table are shown. */
export function datasetSearch(search: Search) {
  return { ...text("q", search), ...oneOf("role", ROLES, search) }
}

/** What is trained on, a column that was chosen for the target, and a run that it is to be like. Without a
 * file: which of them are shown to choose from. */
export function trainSearch(search: Search) {
  return {
    ...text("file", search),
    ...text("target", search),
    ...text("from", search),
    ...text("q", search),
    ...oneOf("sort", DATASET_SORTS, search),
  }
}
