/** Into the trash, and out of it again. */

import { useMutation, useQueryClient } from "@tanstack/react-query"
import { api, bodyOf, type Schemas } from "../api/client"
import { useSay } from "../ui/toast"
import { MODELS } from "./queries"

type Model = Schemas["Model"]

export function useDeleteModel() {
  const client = useQueryClient()
  const say = useSay()
  const restore = useRestoreModel()
  return useMutation({
    mutationFn: ({ id }: Model) =>
      bodyOf(api.DELETE("/models/{model_id}", { params: { path: { model_id: id } } })),
    onSuccess: (_, model) =>
      say({ words: `${model.model_name} is in the trash.`, undo: () => restore.mutate(model) }),
    onError: (error) => say({ words: error.message, bad: true }),
    onSettled: () => client.invalidateQueries({ queryKey: MODELS }),
  })
}

export function useRestoreModel() {
  const client = useQueryClient()
  const say = useSay()
  return useMutation({
    mutationFn: ({ id }: Model) =>
      bodyOf(api.POST("/models/{model_id}/restore", { params: { path: { model_id: id } } })),
    onSuccess: ({ model_name }) => say({ words: `${model_name} is back.` }),
    onError: (error) => say({ words: error.message, bad: true }),
    onSettled: () => client.invalidateQueries({ queryKey: MODELS }),
  })
}
