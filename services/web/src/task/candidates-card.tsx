/** All models of a run, from its beginning on: a leaderboard that fills while they are trained. */

import { Award } from "lucide-react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { count, score, seconds } from "../format"
import { lessIsBetter, metricLabel } from "../metrics"
import { Bone, Card } from "../ui/surface"
import css from "./candidates-card.module.css"
import { CandidateState } from "./states"

type Task = Schemas["Task"]
type Candidate = Schemas["Candidate"]

const ORDER: Schemas["CandidateStatus"][] = ["done", "running", "queued", "failed", "skipped"]

/** As many as are tried where nobody says which: the place is kept for them. */
const USUAL = 12

export function CandidatesCard({ task }: { task: Task }) {
  const metric = task.metric ? metricLabel(task.metric) : "Score"
  return (
    <Card title={hasEnded(task) ? "Models" : "Leaderboard so far"} about={about(task)}>
      <table className={css.table}>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col" className={css.number}>
              {metric}
            </th>
            <th scope="col" className={css.time}>
              Training
            </th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {task.candidates.length
            ? standing(task).map((candidate, place, all) => (
                <Line
                  key={candidate.model_name}
                  candidate={candidate}
                  alike={alikeBefore(all, place)}
                  best={candidate.model_name === task.best?.model_name}
                />
              ))
            : Array.from({ length: task.request.models?.length ?? USUAL }, (_, row) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
                <tr key={row}>
                  <td colSpan={4}>
                    <Bone />
                  </td>
                </tr>
              ))}
        </tbody>
      </table>
    </Card>
  )
}

function about({ candidates, metric }: Task): string {
  if (!candidates.length) return "Which models are tried is decided when the table has been looked at."
  const sense = metric && lessIsBetter(metric) ? " Less is better." : ""
  return `Measured by validation, on rows that a model was not fitted on.${sense}`
}

/** What is done by its score, then what is at work, then what waits; within these as they were planned. */
function standing({ candidates, metric }: Task): Candidate[] {
  const sign = metric && lessIsBetter(metric) ? 1 : -1
  return candidates.toSorted((a, b) => {
    const byState = ORDER.indexOf(a.status) - ORDER.indexOf(b.status)
    if (byState || a.status !== "done") return byState
    if (a.score == null || b.score == null) return Number(a.score == null) - Number(b.score == null)
    return sign * (a.score - b.score)
  })
}

/** How many candidates up to this one, itself included, came to the same end, where the next one did not; else
 * none: a reason that many have is said once, below them. */
function alikeBefore(all: Candidate[], place: number): number {
  const same = (other: Candidate | undefined) =>
    other?.status === all[place]?.status && other?.reason === all[place]?.reason
  if (same(all[place + 1])) return 0
  return place - all.findLastIndex((other, before) => before < place && !same(other))
}

interface LineProps {
  candidate: Candidate
  /** How many models the reason is of, if it is to be said here. */
  alike: number
  best: boolean
}

function Line({ candidate, alike, best }: LineProps) {
  const { label, status, attempt, reason, fit_seconds } = candidate
  return (
    <>
      <tr data-status={status}>
        <th scope="row" className={css.name}>
          {best && <Award size={18} className={css.gold} role="img" aria-label="Best so far" />}
          {label}
          {attempt > 1 && <span className={css.soft}> · attempt {attempt}</span>}
        </th>
        <td className={`${css.number} number`}>{score(candidate.score)}</td>
        <td className={`${css.time} number`}>{seconds(fit_seconds)}</td>
        <td>
          <CandidateState status={status} />
        </td>
      </tr>
      {reason && alike > 0 && (
        <tr className={css.reason}>
          <td colSpan={4}>
            {alike > 1 && `${count(alike)} models: `}
            {reason}
          </td>
        </tr>
      )}
    </>
  )
}
