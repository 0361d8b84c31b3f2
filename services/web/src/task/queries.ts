/** What the task page asks for besides the run itself.
 *
 * All of it changes only when the run does. So the run's state is part of the key, and nothing is asked for
 * by a clock: what was shown stays until what is newer has come.
 */

import { keepPreviousData, queryOptions } from "@tanstack/react-query"
import { api, bodyOf, type Schemas } from "../api/client"

type Task = Schemas["Task"]

/** Older states are of no use to anybody. */
const KEPT_MS = 10_000

const ofTask = (task: Task) => ({ params: { path: { task_id: task.task_id } } })

export const resultsQuery = (task: Task) =>
  queryOptions({
    queryKey: ["results", task.task_id, task.status, task.candidates.filter(ended).length],
    queryFn: async ({ signal }) => {
      const { data } = await api.GET("/ml/results/{task_id}", { ...ofTask(task), signal })
      return data as Schemas["Results"] // the client's types make arrays of its pairs
    },
    placeholderData: keepPreviousData,
    gcTime: KEPT_MS,
  })

export const logQuery = (task: Task) =>
  queryOptions({
    queryKey: ["log", task.task_id, task.stage, task.message, task.candidates.map(({ status }) => status)],
    queryFn: ({ signal }) => bodyOf(api.GET("/ml/tasks/{task_id}/log", { ...ofTask(task), signal })),
    placeholderData: keepPreviousData,
    gcTime: KEPT_MS,
  })

function ended({ status }: Schemas["Candidate"]): boolean {
  return status === "done" || status === "failed" || status === "skipped"
}
