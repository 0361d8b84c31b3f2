import { useMutation, useQueryClient } from "@tanstack/react-query"
import { api, bodyOf, type Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { Confirm } from "../ui/confirm"
import { useSay } from "../ui/toast"

interface DeleteRunProps {
  task: Schemas["Task"]
  open: boolean
  onOpenChange: (open: boolean) => void
}

export function DeleteRun({ task, open, onOpenChange }: DeleteRunProps) {
  const client = useQueryClient()
  const say = useSay()
  const deleting = useMutation({
    mutationFn: () =>
      bodyOf(api.DELETE("/ml/tasks/{task_id}", { params: { path: { task_id: task.task_id } } })),
    onSuccess: () => {
      client.removeQueries({ queryKey: ["task", task.task_id] })
      client.invalidateQueries({ queryKey: ["tasks"] })
      say({ words: `${task.name} is deleted` })
      onOpenChange(false)
    },
  })
  return (
    <Confirm
      open={open}
      onOpenChange={(to) => {
        deleting.reset()
        onOpenChange(to)
      }}
      title={`Delete ${task.name}?`}
      about={`${hasEnded(task) ? "Its" : "It stops, and its"} models and reports go for good. Models that were saved stay.`}
      action="Delete"
      busy={deleting.isPending}
      error={deleting.error}
      onConfirm={() => deleting.mutate()}
    />
  )
}
