/** One table: what it is, what is in it, how it begins. */

import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query"
import { again } from "../api/again"
import { api, bodyOf, type Schemas } from "../api/client"
import { filesQuery } from "../api/queries"
import { dropUploadOf } from "./uploads"

export type Table = Schemas["File"]
export type Profile = Schemas["Profile"]
export type Column = Schemas["ColumnProfile"]

export const accountQuery = queryOptions({
  queryKey: ["account"],
  queryFn: ({ signal }) => bodyOf(api.GET("/account", { signal })),
  staleTime: 60_000,
})

const of = (fileId: string) => ({ params: { path: { file_id: fileId } } })

export const fileQuery = (fileId: string) =>
  queryOptions({
    queryKey: ["file", fileId],
    queryFn: ({ signal }) => bodyOf(api.GET("/files/{file_id}", { ...of(fileId), signal })),
    refetchInterval: again<Table>(2_000, ({ status }) => status === "profiling"),
  })

/** null while it is being made. An ApiError with status 422 says why the table cannot be read. */
export const profileQuery = (fileId: string) =>
  queryOptions({
    queryKey: ["profile", fileId],
    queryFn: async ({ signal }): Promise<Profile | null> => {
      const answer = await bodyOf(api.GET("/files/{file_id}/profile", { ...of(fileId), signal }))
      return "columns" in answer ? answer : null
    },
    // A table does not change, so its profile does not either.
    staleTime: ({ state }) => (state.data ? Number.POSITIVE_INFINITY : 0),
    refetchInterval: again<Profile | null>(1_000, (profile) => profile === null),
  })

/** null while it is being made. An ApiError with status 404 says that none was kept. */
export const previewQuery = (fileId: string) =>
  queryOptions({
    queryKey: ["preview", fileId],
    queryFn: async ({ signal }): Promise<Schemas["Preview"] | null> => {
      const answer = await bodyOf(api.GET("/files/{file_id}/preview", { ...of(fileId), signal }))
      return "rows" in answer ? answer : null
    },
    staleTime: ({ state }) => (state.data ? Number.POSITIVE_INFINITY : 0),
    refetchInterval: again<Schemas["Preview"] | null>(1_000, (preview) => preview === null),
  })

export function useDeleteFile(onDeleted: () => void) {
  const client = useQueryClient()
  return useMutation({
    mutationFn: (fileId: string) => bodyOf(api.DELETE("/files/{file_id}", of(fileId))),
    onSuccess: (_, fileId) => {
      // A page that still shows it is left in a moment, and must not ask for it again until then.
      for (const key of ["file", "profile", "preview"])
        client.removeQueries({ queryKey: [key, fileId], type: "inactive" })
      client.invalidateQueries({ queryKey: filesQuery.queryKey })
      client.invalidateQueries({ queryKey: accountQuery.queryKey })
      dropUploadOf(fileId)
      onDeleted()
    },
  })
}
