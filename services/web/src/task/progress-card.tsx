/** How far a run is, and what it is at. Everything has its place from the beginning, so nothing jumps. */

import { type ReactNode, useEffect, useState } from "react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { count, seconds, share } from "../format"
import { Bar, Card } from "../ui/surface"
import { When } from "../ui/when"
import css from "./progress-card.module.css"

type Task = Schemas["Task"]

const STAGES: { name: Schemas["Stage"]; label: string }[] = [
  { name: "queued", label: "Queue" },
  { name: "profiling", label: "Look at the table" },
  { name: "fitting", label: "Train" },
  { name: "ensembling", label: "Combine" },
  { name: "finishing", label: "Write up" },
  { name: "done", label: "Done" },
]

export function ProgressCard({ task }: { task: Task }) {
  // How far one came that failed or was cancelled is not told: what it has, its models say.
  const broken = task.status === "failed" || task.status === "cancelled"
  return (
    <Card aria-label="Progress">
      <div className={css.head}>
        <h2>{task.error ? "The run has failed" : task.message}</h2>
        {!broken && (
          <span className={`${css.share} number`}>{share(Math.floor(task.progress * 100) / 100)}</span>
        )}
      </div>
      {!broken && (
        <>
          <Bar value={task.progress} label="Progress of the run" />
          <Stages task={task} />
        </>
      )}
      <Facts task={task} />
      <Announcer task={task} />
    </Card>
  )
}

function Stages({ task: { stage, status } }: { task: Task }) {
  const now = STAGES.findIndex(({ name }) => name === stage)
  return (
    <ol className={css.stages}>
      {STAGES.map(({ name, label }, place) => (
        <li
          key={name}
          aria-current={place === now ? "step" : undefined}
          data-state={place < now || status === "completed" ? "past" : place === now ? "now" : "to-come"}
        >
          {label}
        </li>
      ))}
    </ol>
  )
}

function Facts({ task }: { task: Task }) {
  const elapsed = useElapsed(task)
  const ended = task.candidates.filter(({ status }) => status !== "queued" && status !== "running").length
  const left =
    task.status === "queued"
      ? queue(task.queue_position)
      : task.eta_seconds === undefined
        ? "Not known yet"
        : `About ${seconds(Math.max(1, Math.round(task.eta_seconds)))}`
  const facts: Record<string, ReactNode> = {
    [task.finished_at ? "Took" : "Elapsed"]: elapsed === undefined ? "–" : seconds(elapsed),
    ...(task.finished_at
      ? { Ended: <When time={task.finished_at} /> }
      : { [task.status === "queued" ? "Place in the queue" : "Left"]: left }),
    "Time budget": seconds(task.request.time_budget_s),
    Models: task.candidates.length ? `${count(ended)} of ${count(task.candidates.length)} ended` : "–",
  }
  return (
    <dl className={css.facts}>
      {Object.entries(facts).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className="number">{value}</dd>
        </div>
      ))}
    </dl>
  )
}

function queue(position: number | undefined): string {
  if (position === undefined) return "Waiting for a trainer"
  return position <= 1 ? "Next" : `${count(position - 1)} before it`
}

/** Seconds since the run began, or that it took; a second goes by while it is looked at. */
function useElapsed({ started_at, finished_at }: Task): number | undefined {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (finished_at) return
    const tick = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(tick)
  }, [finished_at])
  if (!started_at) return undefined
  const until = finished_at ? Date.parse(finished_at) : now
  const passed = Math.max(0, (until - Date.parse(started_at)) / 1000)
  return finished_at ? passed : Math.floor(passed)
}

/** For those who hear the page: each tenth, each stage, the end; not every change of a number. */
function Announcer({ task }: { task: Task }) {
  const tenth = Math.floor(task.progress * 10) * 10
  return (
    <p className="visually-hidden" role="status">
      {hasEnded(task) ? `${task.message}. The run has ended.` : `${task.message}, ${tenth}%`}
      {task.best && ` Best so far: ${task.best.label}.`}
    </p>
  )
}
