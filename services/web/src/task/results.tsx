/** What a run came to. Filled while it goes on; downloads and saves begin when it has ended. */

import { useQuery } from "@tanstack/react-query"
import { Link, useNavigate, useSearch } from "@tanstack/react-router"
import { Hourglass, SearchX } from "lucide-react"
import { lazy, Suspense } from "react"
import type { Schemas } from "../api/client"
import { hasEnded } from "../api/live"
import { buttonClass } from "../ui/button"
import { Card, Failed, Loading, Note, State } from "../ui/surface"
import { WhenNear } from "../ui/when-near"
import { BestCard } from "./best-card"
import { DownloadSection } from "./download-section"
import { LeaderboardCard } from "./leaderboard-card"
import { resultsQuery } from "./queries"
import css from "./task.module.css"
import { isGrave, WarningsCard } from "./warnings"

/** With the charts' library, which is larger than a page: loaded when somebody scrolls to it. */
const ModelCard = lazy(() => import("./model-card"))

export function Results({ task }: { task: Schemas["Task"] }) {
  const results = useQuery(resultsQuery(task))
  if (results.data) return <Shown task={task} results={results.data} />
  if (results.isError) return <Failed error={results.error} retry={() => results.refetch()} />
  return <Loading what="Loading the results" rows={8} />
}

function Shown({ task, results }: { task: Schemas["Task"]; results: Schemas["Results"] }) {
  const { model } = useSearch({ from: "/dashboard/blueprints/tasks/$taskId" })
  const navigate = useNavigate({ from: "/dashboard/blueprints/tasks/$taskId" })
  const best = results.leaderboard.find(({ rank }) => rank === 1)
  if (!best) return <Nothing task={task} />
  const shown = results.leaderboard.find(({ model_name, rank }) => rank && model_name === model) ?? best
  const select = (name: string) =>
    navigate({ search: (before) => ({ ...before, model: name }), replace: true, resetScroll: false })
  return (
    <div className={css.stack}>
      {!hasEnded(task) && (
        <Note tone="plain">The run goes on: these are the models that are done so far.</Note>
      )}
      <WarningsCard title="Before you trust these scores" warnings={results.warnings.filter(isGrave)} />
      <BestCard results={results} best={best} />
      {hasEnded(task) && <DownloadSection task={task} results={results} />}
      <LeaderboardCard results={results} shown={shown.model_name} onSelect={select} />
      <WhenNear meanwhile={<Plots />}>
        <Suspense fallback={<Plots />}>
          <ModelCard results={results} best={best} row={shown} onSelect={select} />
        </Suspense>
      </WhenNear>
      <WarningsCard warnings={results.warnings.filter((warning) => !isGrave(warning))} />
    </div>
  )
}

function Plots() {
  return (
    <Card title="Plots">
      <Loading what="Loading the plots" rows={12} />
    </Card>
  )
}

function Nothing({ task }: { task: Schemas["Task"] }) {
  return (
    <State
      icon={hasEnded(task) ? <SearchX size={32} /> : <Hourglass size={32} />}
      title={hasEnded(task) ? "No model was trained" : "No results yet"}
      action={
        <Link
          from="/dashboard/blueprints/tasks/$taskId"
          search={{ tab: "progress" }}
          className={buttonClass({})}
        >
          {hasEnded(task) ? "See why" : "See the progress"}
        </Link>
      }
    >
      {hasEnded(task)
        ? "Resume the run where the cause is gone, or train again with other settings."
        : "The first model is here as soon as it is trained."}
    </State>
  )
}
