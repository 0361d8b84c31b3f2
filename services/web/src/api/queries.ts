/** What the pages ask for, and under which key it is kept. */

import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query"
import { againByPage } from "./again"
import { api, bodyOf, type Schemas } from "./client"

export const signInQuery = queryOptions({
  queryKey: ["sign-in"],
  queryFn: ({ signal }) => bodyOf(api.GET("/auth/sign-in", { signal })),
  staleTime: Number.POSITIVE_INFINITY,
})

const PAGE = 100

/** Where a page of a list begins. */
interface From {
  cursor?: string
}

function after(cursor: string | null): From | undefined {
  return cursor ? { cursor } : undefined
}

/** Newest first, a page at a time; asked for again while a table is looked at. */
export const filesQuery = infiniteQueryOptions({
  queryKey: ["files"],
  queryFn: ({ pageParam, signal }) =>
    bodyOf(api.GET("/files", { params: { query: { limit: PAGE, ...pageParam } }, signal })),
  initialPageParam: {} as From,
  getNextPageParam: (last) => after(last.next_cursor),
  refetchInterval: againByPage<Schemas["File"]>(2_000, ({ status }) => status === "profiling"),
})

export const taskQuery = (taskId: string) =>
  queryOptions({
    queryKey: ["task", taskId],
    queryFn: ({ signal }) =>
      bodyOf(api.GET("/ml/status/{task_id}", { params: { path: { task_id: taskId } }, signal })),
  })

/** Newest first, a page at a time; asked for again while one of them goes on. */
export const tasksQuery = (status?: Schemas["TaskStatus"]) =>
  infiniteQueryOptions({
    queryKey: ["tasks", status ?? "all"],
    queryFn: ({ pageParam, signal }) => {
      const query = { limit: PAGE, ...(status && { status }), ...pageParam }
      return bodyOf(api.GET("/ml/tasks", { params: { query }, signal }))
    },
    initialPageParam: {} as From,
    getNextPageParam: (last) => after(last.next_cursor),
    placeholderData: keepPreviousData,
    refetchInterval: againByPage<Schemas["Task"]>(
      3_000,
      ({ status }) => status === "queued" || status === "running",
    ),
  })
