/** What a column would be trained as, and why: as `auto` decides it, so that it can be seen beforehand. */

import type { Schemas } from "../api/client"
import type { Column, Profile } from "../datasets/queries"
import { count } from "../format"

type TaskType = Schemas["TaskType"]

const MOST_CLASSES = 20
const TIMES = /(^|[^a-z])(year|ds|step|period|t|time)$/i

export interface Guess {
  taskType: TaskType
  reason: string
}

/** undefined for a column that nothing can be learned of. */
export function guess(profile: Profile, target: string): Guess | undefined {
  if (target === profile.suggested_target && profile.suggested_task_type) {
    return { taskType: profile.suggested_task_type, reason: profile.reason }
  }
  const column = profile.columns.find(({ name }) => name === target)
  if (!column || column.distinct < 2 || column.role === "datetime") return undefined
  const distinct = count(column.distinct)
  if (!isNumber(column)) {
    return { taskType: "classification", reason: `It has ${distinct} different values that are not numbers.` }
  }
  if (profile.suggested_task_type === "time_series") {
    return { taskType: "time_series", reason: "It holds numbers, and the table has rows at a steady pace." }
  }
  const present = profile.rows - column.missing
  const few = column.distinct === 2 || column.distinct <= Math.min(MOST_CLASSES, present / 10)
  return few && isWhole(column)
    ? { taskType: "classification", reason: `It has only ${distinct} different whole numbers.` }
    : { taskType: "regression", reason: `It holds numbers, ${distinct} different ones.` }
}

export function isNumber({ role, dtype }: Column): boolean {
  return role === "numeric" || (role === "identifier" && /^(u?int|float)/.test(dtype))
}

function isWhole({ dtype, top }: Column): boolean {
  return /^u?int/.test(dtype) || (!!top?.length && top.every(({ value }) => Number.isInteger(Number(value))))
}

/** The column of a series' times: one that holds dates or, without any, whole numbers named as time is. */
export function guessTime(profile: Profile, target: string): string | null {
  const possible = profile.columns.filter(({ name, missing }) => name !== target && missing === 0)
  const dates = possible.find(({ role }) => role === "datetime")
  return (dates ?? possible.find(({ name, dtype }) => TIMES.test(name) && /^u?int/.test(dtype)))?.name ?? null
}

/** The column that tells series apart where a time comes in more than one row: the one with the fewest
 * values that leave each series one row a time. */
export function guessSeries(profile: Profile, target: string, time: string | null): string | null {
  const times = profile.columns.find(({ name }) => name === time)?.distinct
  if (!times || times >= profile.rows) return null
  const possible = profile.columns
    .filter(({ name, missing }) => name !== target && name !== time && missing === 0)
    .filter(({ role, dtype }) => role === "categorical" || (role === "numeric" && /^u?int/.test(dtype)))
    .filter(({ distinct }) => distinct > 1 && distinct * times >= profile.rows)
    .toSorted((a, b) => a.distinct - b.distinct)
  return possible[0]?.name ?? null
}
