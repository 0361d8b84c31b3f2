/** What a column would be trained as, and why: as `auto` decides it, so that it can be seen beforehand. */

import type { Schemas } from "../api/client"
import type { Column, Profile } from "../datasets/queries"
import { count } from "../format"

type TaskType = Schemas["TaskType"]

const MOST_CLASSES = 20
const NUMERIC = /^(u?int|float)/
const WHOLE = /^u?int/
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
  const present = profile.rows - column.missing
  if (!isNumber(column)) {
    // Nearly every row has a value of its own.
    if (column.role === "identifier" || column.distinct * 2 > present) return undefined
    return { taskType: "classification", reason: `It has ${distinct} different values that are not numbers.` }
  }
  if (profile.suggested_task_type === "time_series" && target !== profile.suggested_time_column) {
    return { taskType: "time_series", reason: "It holds numbers, and the table has rows at a steady pace." }
  }
  const few = column.distinct === 2 || column.distinct <= Math.min(MOST_CLASSES, present / 10)
  return few && isWhole(column)
    ? { taskType: "classification", reason: `It has only ${distinct} different whole numbers.` }
    : { taskType: "regression", reason: `It holds numbers, ${distinct} different ones.` }
}

function isNumber({ role, dtype }: Column): boolean {
  return role === "numeric" || (role === "identifier" && NUMERIC.test(dtype))
}

function isWhole({ dtype, top }: Column): boolean {
  return WHOLE.test(dtype) || (!!top?.length && top.every(({ value }) => Number.isInteger(Number(value))))
}

/** The columns of a series' times and of what tells several series apart: those that the profile suggests or,
 * where it saw no steady pace, the likeliest. */
export function guessSeries(
  profile: Profile,
  target: string,
): { time: string | null; series: string | null } {
  const time = profile.suggested_time_column
  if (time !== undefined && time !== target) {
    const series = profile.suggested_series_column
    return { time, series: series === undefined || series === target ? null : series }
  }
  const likely = likelyTime(profile, target)
  return { time: likely?.name ?? null, series: likely ? likelySeries(profile, target, likely) : null }
}

/** One that holds dates or, without any, whole numbers named as time is. */
function likelyTime(profile: Profile, target: string): Column | undefined {
  const possible = profile.columns.filter(({ name, missing }) => name !== target && missing === 0)
  const dates = possible.find(({ role }) => role === "datetime")
  return dates ?? possible.find(({ name, dtype }) => TIMES.test(name) && WHOLE.test(dtype))
}

/** Where a time comes in more than one row, the column with the fewest values that leave each series one row a
 * time. */
function likelySeries(profile: Profile, target: string, time: Column): string | null {
  if (time.distinct >= profile.rows) return null
  const possible = profile.columns
    .filter(({ name, missing }) => name !== target && name !== time.name && missing === 0)
    .filter(({ role, dtype }) => role === "categorical" || (role === "numeric" && WHOLE.test(dtype)))
    .filter(({ distinct }) => distinct > 1 && distinct * time.distinct >= profile.rows)
    .toSorted((a, b) => a.distinct - b.distinct)
  return possible[0]?.name ?? null
}
