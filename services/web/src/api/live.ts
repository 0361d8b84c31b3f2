/** A run as it goes on: pushed by the API while the page is seen, not asked for at all while it is hidden.
 *
 * Events come by `EventSource`, which needs the cookie of `POST /auth/session`. Where a proxy swallows
 * streams, long polls with `If-None-Match` take over. Either way a lost connection is told, and heals with a
 * growing delay.
 */

import { type QueryClient, useQueryClient } from "@tanstack/react-query"
import { useEffect, useState } from "react"
import { getSession } from "../session"
import type { Schemas } from "./client"
import { errorOf } from "./problem"
import { taskQuery } from "./queries"

type Task = Schemas["Task"]

const FIRST_DELAY_MS = 1_000
const LONGEST_DELAY_MS = 30_000
const POLL_S = 25

const ENDED = new Set<Task["status"]>(["completed", "failed", "cancelled"])

export function hasEnded(task: Pick<Task, "status">): boolean {
  return ENDED.has(task.status)
}

/** Keeps the run in the query cache up to date until it has ended; whether the connection is lost. */
export function useLiveTask(taskId: string, ended: boolean): { lost: boolean } {
  const client = useQueryClient()
  const [lost, setLost] = useState(false)
  useEffect(() => {
    if (ended) return
    const live = new LiveTask(taskId, client, setLost)
    const away = () => {
      live.stop()
      setLost(true)
    }
    const follow = () => (document.visibilityState === "visible" ? live.start() : live.stop())
    follow()
    document.addEventListener("visibilitychange", follow)
    addEventListener("online", follow)
    addEventListener("offline", away)
    return () => {
      document.removeEventListener("visibilitychange", follow)
      removeEventListener("online", follow)
      removeEventListener("offline", away)
      live.stop()
    }
  }, [taskId, ended, client])
  return { lost: lost && !ended }
}

class LiveTask {
  private readonly taskId: string
  private readonly client: QueryClient
  private readonly tell: (lost: boolean) => void
  private events: EventSource | undefined
  private polling: AbortController | undefined
  private retry: ReturnType<typeof setTimeout> | undefined
  private delay = FIRST_DELAY_MS
  private etag = ""

  constructor(taskId: string, client: QueryClient, tell: (lost: boolean) => void) {
    this.taskId = taskId
    this.client = client
    this.tell = tell
  }

  start(): void {
    this.stop()
    const events = new EventSource(`/ml/events/${this.taskId}`)
    this.events = events
    let opened = false
    events.onopen = () => {
      opened = true
      this.heal()
    }
    events.addEventListener("task", (event) => this.take(JSON.parse(event.data) as Task))
    events.onerror = () => {
      events.close()
      // Refused at once: streams do not get here. Broken off later: the server or the network is away.
      if (opened) this.again(() => this.start())
      else this.poll()
    }
  }

  stop(): void {
    this.events?.close()
    this.polling?.abort()
    clearTimeout(this.retry)
  }

  private async poll(): Promise<void> {
    const polling = new AbortController()
    this.polling = polling
    try {
      const headers: Record<string, string> = { Authorization: `Bearer ${getSession()?.token ?? ""}` }
      if (this.etag) headers["If-None-Match"] = this.etag
      const path = `/ml/status/${this.taskId}?wait=${this.etag ? POLL_S : 0}`
      const answer = await fetch(path, { headers, signal: polling.signal, cache: "no-store" })
      if (!answer.ok && answer.status !== 304) throw await errorOf(answer)
      if (answer.ok) {
        this.etag = answer.headers.get("ETag") ?? ""
        const task = (await answer.json()) as Task
        this.take(task)
        if (hasEnded(task)) return
      }
      this.heal()
      this.retry = setTimeout(() => this.poll(), answer.ok ? FIRST_DELAY_MS : 0)
    } catch {
      if (!polling.signal.aborted) this.again(() => this.poll())
    }
  }

  private take(task: Task): void {
    this.client.setQueryData(taskQuery(this.taskId).queryKey, (known) =>
      known && known.version > task.version ? known : task,
    )
  }

  private heal(): void {
    this.delay = FIRST_DELAY_MS
    this.tell(false)
  }

  private again(what: () => void): void {
    this.tell(true)
    // Not all at once when a server comes back.
    this.retry = setTimeout(what, this.delay * (0.5 + Math.random() / 2))
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY_MS)
  }
}
