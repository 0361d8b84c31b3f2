/** The registry: all of its keys begin with "models", so that one change makes all of it asked for again. */

import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query"
import { againByPage } from "../api/again"
import { api, bodyOf, type Schemas } from "../api/client"
import type { modelsSearch } from "./search"

export const MODELS = ["models"]

const PAGE = 50

export const modelsQuery = ({ tab, q, tag, task_type, sort }: ReturnType<typeof modelsSearch>) =>
  infiniteQueryOptions({
    queryKey: [...MODELS, "list", tab, q, tag, task_type, sort],
    queryFn: ({ pageParam, signal }) =>
      bodyOf(
        api.GET("/models", {
          params: {
            query: {
              limit: PAGE,
              deleted: tab === "trash",
              ...(q && { q }),
              ...(tag && { tag }),
              ...(task_type && { task_type }),
              ...(sort && { sort }),
              ...pageParam,
            },
          },
          signal,
        }),
      ),
    initialPageParam: {},
    getNextPageParam: ({ next_cursor }: Schemas["ModelPage"]): { cursor?: string } | undefined =>
      next_cursor ? { cursor: next_cursor } : undefined,
    placeholderData: keepPreviousData,
    refetchInterval: againByPage<Schemas["Model"]>(1_500, ({ status }) => status === "saving"),
  })

export const modelStatsQuery = queryOptions({
  queryKey: [...MODELS, "stats"],
  queryFn: ({ signal }) => bodyOf(api.GET("/models/stats", { signal })),
})

const NEWEST = 200

/** The tags of the newest models, or of the newest in the trash: those that a list can be narrowed to. */
export const tagsQuery = (deleted: boolean) =>
  queryOptions({
    queryKey: [...MODELS, "tags", deleted],
    queryFn: ({ signal }) =>
      bodyOf(api.GET("/models", { params: { query: { limit: NEWEST, deleted } }, signal })),
    select: ({ items }) =>
      [...new Set(items.flatMap(({ tags }) => tags))].toSorted((a, b) => a.localeCompare(b)),
  })
