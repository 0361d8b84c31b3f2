import { oneOf, text } from "../search"

const TABS = [{ name: "progress" }, { name: "results" }] as const

const SORT = /^-?[a-z0-9_]{1,60}$/

/** What of a run is shown. `sort`: a column of the leaderboard, descending with a minus before it; `model`: whose
 * plots, without it the best one's. */
export function taskSearch(search: Record<string, unknown>) {
  const { sort } = text("sort", search)
  return {
    ...oneOf("tab", TABS, search),
    ...(sort !== undefined && SORT.test(sort) ? { sort } : {}),
    ...text("model", search),
  }
}
