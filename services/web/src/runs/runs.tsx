/** All runs of the user, those that go on with how far they are. */

import { useInfiniteQuery } from "@tanstack/react-query"
import { useNavigate, useSearch } from "@tanstack/react-router"
import { Play } from "lucide-react"
import type { Schemas } from "../api/client"
import { tasksQuery } from "../api/queries"
import { RUN_STATES } from "../search"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { found, More, type Paged } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"
import { RunRow } from "./run-row"
import css from "./runs.module.css"

const ANY = { name: "any", label: "Any" } as const

export function Runs() {
  const { status } = useSearch({ from: "/dashboard/blueprints" })
  const runs = useInfiniteQuery(tasksQuery(status))
  return (
    <div className={css.runs}>
      {runs.data ? (
        <RunList runs={runs} tasks={runs.data.pages.flatMap(({ items }) => items)} />
      ) : runs.isError ? (
        <Failed error={runs.error} retry={() => runs.refetch()} />
      ) : (
        <Loading what="Loading the runs" rows={6} />
      )}
    </div>
  )
}

function RunList({ runs, tasks }: { runs: Paged; tasks: Schemas["Task"][] }) {
  const { q = "", status } = useSearch({ from: "/dashboard/blueprints" })
  const navigate = useNavigate({ from: "/dashboard/blueprints" })
  if (tasks.length === 0 && !status) {
    return (
      <State icon={<Play size={32} />} title="No runs yet">
        Choose a dataset and press Train: its models are compared here while they are trained.
      </State>
    )
  }
  const asked = q.trim().toLowerCase()
  const shown = tasks.filter(({ name }) => name.toLowerCase().includes(asked))
  return (
    <>
      <ListTools found={found(shown.length, tasks.length, "run", runs)}>
        <SearchBox
          label="Search runs"
          value={q}
          onChange={(text) =>
            navigate({ search: ({ q: _, ...rest }) => (text ? { ...rest, q: text } : rest), replace: true })
          }
        />
        <Choice
          label="State"
          value={status ?? "any"}
          options={[ANY, ...RUN_STATES]}
          onChange={(name) =>
            navigate({
              search: ({ status: _, ...rest }) => (name === "any" ? rest : { ...rest, status: name }),
              replace: true,
            })
          }
        />
      </ListTools>
      {shown.length > 0 ? (
        <ul className={css.list} aria-label="Runs">
          {shown.map((task) => (
            <RunRow key={task.task_id} task={task} />
          ))}
        </ul>
      ) : (
        <State title="No run is like that">Try another state or a shorter word.</State>
      )}
      <More list={runs} what="older runs" />
    </>
  )
}
