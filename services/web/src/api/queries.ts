/** What the pages ask for, and under which key it is kept. */

import { queryOptions } from "@tanstack/react-query"
import { api, bodyOf } from "./client"

export const signInQuery = queryOptions({
  queryKey: ["sign-in"],
  queryFn: ({ signal }) => bodyOf(api.GET("/auth/sign-in", { signal })),
  staleTime: Number.POSITIVE_INFINITY,
})

export const filesQuery = queryOptions({
  queryKey: ["files"],
  queryFn: ({ signal }) => bodyOf(api.GET("/files", { params: { query: { limit: 200 } }, signal })),
})

export const taskQuery = (taskId: string) =>
  queryOptions({
    queryKey: ["task", taskId],
    queryFn: ({ signal }) =>
      bodyOf(api.GET("/ml/status/{task_id}", { params: { path: { task_id: taskId } }, signal })),
  })

export const tasksQuery = queryOptions({
  queryKey: ["tasks"],
  queryFn: ({ signal }) => bodyOf(api.GET("/ml/tasks", { params: { query: { limit: 200 } }, signal })),
})
