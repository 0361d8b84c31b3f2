import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query"
import { useNavigate } from "@tanstack/react-router"
import { useRef } from "react"
import { api, bodyOf, type Schemas } from "../api/client"
import { onceKey } from "../api/once"
import { taskQuery } from "../api/queries"

/** Every model there is, of all task types. */
export const choicesQuery = queryOptions({
  queryKey: ["model-choices"],
  queryFn: ({ signal }) => bodyOf(api.GET("/ml/models", { signal })),
  staleTime: Number.POSITIVE_INFINITY,
})

/** Starts a run and goes to its page. */
export function useStart() {
  const client = useQueryClient()
  const navigate = useNavigate()
  const last = useRef({ body: "", key: "" })
  return useMutation({
    mutationFn: (request: Schemas["TrainRequest"]) => {
      // The same request sent again, after an answer that got lost, is the same run.
      const body = JSON.stringify(request)
      if (last.current.body !== body) last.current = { body, key: onceKey() }
      const header = { "Idempotency-Key": last.current.key }
      return bodyOf(api.POST("/ml/train", { params: { header }, body: request }))
    },
    onSuccess: (task) => {
      client.setQueryData(taskQuery(task.task_id).queryKey, task)
      client.invalidateQueries({ queryKey: ["tasks"] })
      navigate({ to: "/dashboard/blueprints/tasks/$taskId", params: { taskId: task.task_id } })
    },
  })
}
