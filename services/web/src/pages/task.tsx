import { useQuery } from "@tanstack/react-query"
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router"
import { ChevronLeft } from "lucide-react"
import { useEffect } from "react"
import type { Schemas } from "../api/client"
import { hasEnded, useLiveTask } from "../api/live"
import { ApiError } from "../api/problem"
import { taskQuery } from "../api/queries"
import { share } from "../format"
import { metricLabel, TASK_TYPES } from "../metrics"
import { TaskActions } from "../task/actions"
import { Progress } from "../task/progress"
import { Results } from "../task/results"
import { RunState } from "../task/states"
import css from "../task/task.module.css"
import { useTitle } from "../title"
import { useKeptFocus } from "../ui/kept-focus"
import { Failed, Loading, Note } from "../ui/surface"
import { Tabs } from "../ui/tabs"
import { When } from "../ui/when"

type Task = Schemas["Task"]

const ROUTE = "/dashboard/blueprints/tasks/$taskId"

export function TaskPage() {
  const { taskId } = useParams({ from: ROUTE })
  const run = useQuery(taskQuery(taskId))
  useTitle(run.data ? titleOf(run.data) : "Run")
  const deleted = run.error instanceof ApiError && run.error.status === 404
  if (run.data && !deleted) return <Run key={taskId} task={run.data} />
  if (run.isError) return <Failed error={run.error} retry={() => run.refetch()} />
  return <Loading what="Loading the run" rows={6} />
}

function Run({ task }: { task: Task }) {
  const ended = hasEnded(task)
  const { lost } = useLiveTask(task.task_id, ended)
  const { tab } = useSearch({ from: ROUTE })
  const navigate = useNavigate({ from: ROUTE })
  useEffect(() => {
    // Chosen once: nobody who reads the log is taken away from it when the run ends.
    if (!tab)
      navigate({ search: (before) => ({ ...before, tab: ended ? "results" : "progress" }), replace: true })
  }, [tab, ended, navigate])
  return (
    <>
      <Head task={task} />
      <div role="status" className={lost ? css.lost : undefined}>
        {lost && (
          <Note tone="warn">The connection is lost. The run goes on; this page catches up by itself.</Note>
        )}
      </div>
      <Tabs
        label="Run"
        value={tab ?? (ended ? "results" : "progress")}
        onChange={(name) => navigate({ search: (before) => ({ ...before, tab: name }) })}
        tabs={[
          { name: "progress", title: "Progress", content: <Progress task={task} /> },
          { name: "results", title: "Results", content: <Results task={task} /> },
        ]}
      />
    </>
  )
}

function Head({ task }: { task: Task }) {
  const place = useKeptFocus<HTMLElement>("h1") // "Cancel" goes when the run has ended
  return (
    <header className={css.head} ref={place}>
      <Link to="/dashboard/blueprints" search={{ tab: "runs" }} className={css.back}>
        <ChevronLeft size={16} aria-hidden="true" />
        Runs
      </Link>
      <div className={css.title}>
        <h1 tabIndex={-1}>{task.name}</h1>
        <RunState status={task.status} />
        <TaskActions task={task} />
      </div>
      <p className={css.about}>
        <span>
          Predicts <strong>{task.target}</strong>
        </span>
        {task.task_type && <span>{TASK_TYPES[task.task_type]}</span>}
        {task.metric && <span>Ranked by {metricLabel(task.metric)}</span>}
        <span>
          Started <When time={task.created_at} />
        </span>
      </p>
    </header>
  )
}

function titleOf(task: Task): string {
  switch (task.status) {
    case "queued":
      return `Queued · ${task.name}`
    case "running":
      return `${share(Math.floor(task.progress * 100) / 100)} · ${task.name}`
    case "completed":
      return `✓ ${task.name}`
    default:
      return `✗ ${task.name}`
  }
}
