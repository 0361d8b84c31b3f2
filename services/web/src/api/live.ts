/** A run as it goes on: pushed by the API while the page is seen, not asked for at all while it is hidden.
 *
 * Events come by a stream. Where a proxy swallows streams, long polls with `If-None-Match` take over. Either
 * way a lost connection is told, also one that nobody closed, and heals with a growing delay.
 */

import { type QueryClient, useQueryClient } from "@tanstack/react-query"
import { useEffect, useState } from "react"
import { api, type Schemas } from "./client"
import { eventsOf } from "./events"
import { ApiError } from "./problem"
import { taskQuery } from "./queries"

type Task = Schemas["Task"]

const FIRST_DELAY_MS = 1_000
const LONGEST_DELAY_MS = 30_000
const POLL_S = 25

/** What is asked for now is answered sooner, or the network is gone. */
const ANSWER_MS = 10_000

/** Twice as long as an event stream is ever quiet, and a little. */
const SILENCE_MS = 35_000

const LOOK_EVERY_MS = 2_000

/** Nobody is signed in any more, or the run was deleted: the page says so. */
const LOST_TO_US = new Set([401, 403, 404])

const ENDED = new Set<Task["status"]>(["completed", "failed", "cancelled"])

export function hasEnded(task: Pick<Task, "status">): boolean {
  return ENDED.has(task.status)
}

/** Keeps the run in the query cache up to date until it has ended. `lost`: nothing comes any more, though the
 * browser does not know of it; what it knows is told on every page (`ui/connection.tsx`). */
export function useLiveTask(taskId: string, ended: boolean): { lost: boolean } {
  const client = useQueryClient()
  const [lost, setLost] = useState(false)
  useEffect(() => {
    if (ended) return
    let following = new AbortController()
    const halt = () => following.abort()
    const start = () => {
      halt()
      if (document.visibilityState === "hidden") return
      following = new AbortController()
      follow(taskId, client, setLost, following.signal)
    }
    start()
    document.addEventListener("visibilitychange", start)
    addEventListener("online", start)
    addEventListener("offline", halt)
    return () => {
      document.removeEventListener("visibilitychange", start)
      removeEventListener("online", start)
      removeEventListener("offline", halt)
      halt()
    }
  }, [taskId, ended, client])
  return { lost: lost && !ended }
}

interface Line {
  taskId: string
  stopped: AbortSignal
  take: (task: Task) => void
  /** Called whenever something comes. */
  heard: () => void
}

async function follow(
  taskId: string,
  client: QueryClient,
  tell: (lost: boolean) => void,
  stopped: AbortSignal,
): Promise<void> {
  const { queryKey } = taskQuery(taskId)
  let delay = FIRST_DELAY_MS
  const line: Line = {
    taskId,
    stopped,
    take: (task) =>
      client.setQueryData(queryKey, (known) => (known && known.version > task.version ? known : task)),
    heard: () => {
      delay = FIRST_DELAY_MS
      tell(false)
    },
  }
  while (!stopped.aborted) {
    try {
      if (!(await stream(line))) await polls(line)
      const task = client.getQueryData(queryKey)
      if (task && hasEnded(task)) return
      await pause(FIRST_DELAY_MS) // a server that stops ends its streams: the next one takes over
    } catch (error) {
      if (stopped.aborted) return
      if (error instanceof ApiError && LOST_TO_US.has(error.status)) {
        await client.invalidateQueries({ queryKey })
        return
      }
      tell(true)
      const asked = error instanceof ApiError ? (error.retryAfter ?? 0) * 1_000 : 0
      await pause(Math.max(delay, asked))
      delay = Math.min(delay * 2, LONGEST_DELAY_MS)
    }
  }
}

/** Until the stream ends; false where not a word of it gets here. */
async function stream({ taskId, stopped, take, heard }: Line): Promise<boolean> {
  const patience = new Patience(stopped, ANSWER_MS)
  let spoken = false
  const hear = () => {
    spoken = true
    patience.again(SILENCE_MS)
    heard()
  }
  try {
    const { data } = await api.GET("/ml/events/{task_id}", {
      params: { path: { task_id: taskId } },
      parseAs: "stream",
      signal: patience.signal,
    })
    if (data) {
      for await (const event of eventsOf(data, hear)) {
        if (event.name === "task") take(JSON.parse(event.data))
      }
    }
    return true
  } catch (error) {
    if (spoken || stopped.aborted || error instanceof ApiError) throw error
    return false
  } finally {
    patience.end()
  }
}

/** Until the run has ended. */
async function polls({ taskId, stopped, take, heard }: Line): Promise<void> {
  let etag = ""
  for (;;) {
    const wait = etag ? POLL_S : 0
    const patience = new Patience(stopped, wait * 1_000 + ANSWER_MS)
    try {
      const { data, response } = await api.GET("/ml/status/{task_id}", {
        params: {
          path: { task_id: taskId },
          query: { wait },
          header: etag ? { "If-None-Match": etag } : {},
        },
        signal: patience.signal,
      })
      heard()
      etag = response.headers.get("ETag") ?? ""
      if (data) {
        take(data)
        if (hasEnded(data)) return
        await pause(FIRST_DELAY_MS) // what changes all the time is seen often enough
      }
    } finally {
      patience.end()
    }
  }
}

/** Gives up on what says nothing for too long, by the clock: a laptop that sleeps runs no timers. */
class Patience {
  readonly signal: AbortSignal
  private readonly out = new AbortController()
  private readonly looking: ReturnType<typeof setInterval>
  private until = 0

  constructor(stopped: AbortSignal, ms: number) {
    this.signal = AbortSignal.any([stopped, this.out.signal])
    this.again(ms)
    this.looking = setInterval(() => {
      if (Date.now() > this.until) this.out.abort(new Error("Nothing was heard"))
    }, LOOK_EVERY_MS)
  }

  again(ms: number): void {
    this.until = Date.now() + ms
  }

  /** Also ends a stream that nobody reads to its end. */
  end(): void {
    clearInterval(this.looking)
    this.out.abort()
  }
}

/** About so long: not all come at once when a server is back. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms * (0.75 + Math.random() / 2)))
}
