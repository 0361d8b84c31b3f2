/** Stopping a run, going on with it, and training another one like it. */

import { useMutation, useQueryClient } from "@tanstack/react-query"
import { Play, Square } from "lucide-react"
import { api, bodyOf, type Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { taskQuery } from "../api/queries"
import { TrainAgain } from "../train/train-again"
import { Button } from "../ui/button"
import { useSay } from "../ui/toast"

type Task = Schemas["Task"]

/** What can be done with a run in the state that it is in. */
export function TaskActions({ task }: { task: Task }) {
  if (!hasEnded(task)) return <Cancel task={task} />
  return (
    <>
      {task.status !== "completed" && <Resume task={task} />}
      <TrainAgain task={task} />
    </>
  )
}

function Cancel({ task }: { task: Task }) {
  const cancelling = useMutation({
    mutationFn: () =>
      bodyOf(api.POST("/ml/cancel/{task_id}", { params: { path: { task_id: task.task_id } } })),
    ...useAnswer(task),
  })
  // It stops within seconds; until then the button shows that it was heard.
  const busy = cancelling.isPending || cancelling.isSuccess
  return (
    <Button look="danger" busy={busy} onClick={() => cancelling.mutate()}>
      {!busy && <Square size={16} aria-hidden="true" />}
      {busy ? "Cancelling" : "Cancel"}
    </Button>
  )
}

function Resume({ task }: { task: Task }) {
  const resuming = useMutation({
    mutationFn: () =>
      bodyOf(api.POST("/ml/resume/{task_id}", { params: { path: { task_id: task.task_id } } })),
    ...useAnswer(task),
  })
  return (
    <Button look="primary" busy={resuming.isPending} onClick={() => resuming.mutate()}>
      {!resuming.isPending && <Play size={16} aria-hidden="true" />}
      Resume
    </Button>
  )
}

/** The answer is the run as it is now: it is shown at once. */
function useAnswer(task: Task) {
  const client = useQueryClient()
  const say = useSay()
  return {
    onSuccess: (now: Task) => client.setQueryData(taskQuery(task.task_id).queryKey, now),
    onError: (error: Error) => say({ words: error.message, bad: true }),
  }
}
