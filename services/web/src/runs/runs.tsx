/** All runs of the user, those that go on with how far they are. */

import { useInfiniteQuery } from "@tanstack/react-query"
import { Link, useNavigate, useSearch } from "@tanstack/react-router"
import { Play } from "lucide-react"
import { tasksQuery } from "../api/queries"
import { blueprintsSearch, RUN_STATES } from "../search"
import { buttonClass } from "../ui/button"
import { useKeptFocus } from "../ui/kept-focus"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { howMany, More, useSought } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"
import { RunRow } from "./run-row"
import css from "./runs.module.css"

const ANY = { name: "any", label: "Any" } as const

export function Runs() {
  const search = useSearch({ from: "/dashboard/blueprints" })
  const { q = "", status } = search
  const navigate = useNavigate({ from: "/dashboard/blueprints" })
  const runs = useInfiniteQuery(tasksQuery(status))
  const asked = q.trim().toLowerCase()
  const sought = useSought(runs, {
    matches: asked ? ({ name }) => name.toLowerCase().includes(asked) : undefined,
  })
  const place = useKeptFocus<HTMLDivElement>()
  const narrow = (to: { [name in keyof typeof search]: (typeof search)[name] | undefined }) =>
    navigate({
      search: (before) => blueprintsSearch({ ...before, ...to }),
      replace: true,
      resetScroll: false,
    })
  return (
    <div className={css.runs} ref={place}>
      {!runs.data ? (
        runs.isError ? (
          <Failed error={runs.error} retry={() => runs.refetch()} />
        ) : (
          <Loading what="Loading the runs" rows={6} />
        )
      ) : sought.all === 0 && !status ? (
        <NoRuns />
      ) : (
        <>
          <ListTools found={howMany(sought, "run", Boolean(asked))}>
            <SearchBox label="Search runs" value={q} onChange={(text) => narrow({ q: text || undefined })} />
            <Choice
              label="State"
              value={status ?? ANY.name}
              options={[ANY, ...RUN_STATES]}
              onChange={(name) => narrow({ status: name === ANY.name ? undefined : name })}
            />
          </ListTools>
          {sought.found > 0 ? (
            <ul className={css.list} aria-label="Runs" aria-busy={runs.isPlaceholderData}>
              {sought.shown.map((task) => (
                <RunRow key={task.task_id} task={task} />
              ))}
            </ul>
          ) : (
            !sought.seeking && <State title="No run is like that">Try another state or a shorter word.</State>
          )}
          <More what="older runs" busy={runs.isFetchingNextPage} onMore={sought.more} />
        </>
      )}
    </div>
  )
}

function NoRuns() {
  return (
    <State
      icon={<Play size={32} />}
      title="No runs yet"
      action={
        <Link to="/dashboard/blueprints" className={buttonClass({ look: "primary" })}>
          Go to the datasets
        </Link>
      }
    >
      Choose a dataset and press Train: its models are compared here while they are trained.
    </State>
  )
}
