import { useInfiniteQuery, useQuery } from "@tanstack/react-query"
import { Link, useNavigate, useSearch } from "@tanstack/react-router"
import { Package, SearchX, Trash2 } from "lucide-react"
import { Button, buttonClass } from "../ui/button"
import { useKeptFocus } from "../ui/kept-focus"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { loaded, More } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"
import css from "./list.module.css"
import { ModelRow } from "./model-row"
import { modelsQuery, tagsQuery } from "./queries"
import { MODEL_SORTS, modelsSearch, TASKS } from "./search"

const ALL = ""

export function ModelList({ trash }: { trash: boolean }) {
  const search = useSearch({ from: "/dashboard/models" })
  const navigate = useNavigate({ from: "/dashboard/models" })
  const list = useInfiniteQuery(modelsQuery(search))
  const tags = useQuery(tagsQuery(trash))
  const place = useKeptFocus<HTMLDivElement>()
  const narrow = (to: { [name in keyof typeof search]: (typeof search)[name] | undefined }) =>
    navigate({ search: (before) => modelsSearch({ ...before, ...to }), replace: true, resetScroll: false })
  const models = list.data?.pages.flatMap(({ items }) => items)
  const narrowed = Boolean(search.q || search.tag || search.task_type)
  const known = [...new Set([...(tags.data ?? []), ...(search.tag ? [search.tag] : [])])]
  return (
    <div className={css.list} ref={place}>
      <ListTools found={models && loaded(models.length, "model", list)}>
        <SearchBox
          label="Search models"
          value={search.q ?? ""}
          onChange={(q) => narrow({ q: q || undefined })}
        />
        <Choice
          label="Task"
          value={search.task_type ?? ALL}
          options={[{ name: ALL, label: "All" }, ...TASKS]}
          onChange={(kind) => narrow({ task_type: kind || undefined })}
        />
        <Choice
          label="Tag"
          value={search.tag ?? ALL}
          options={[{ name: ALL, label: "All" }, ...known.map((tag) => ({ name: tag, label: tag }))]}
          onChange={(tag) => narrow({ tag: tag || undefined })}
        />
        <Choice
          label="Sort"
          value={search.sort ?? "created_at"}
          options={MODEL_SORTS}
          onChange={(sort) => narrow({ sort })}
        />
      </ListTools>
      {trash && (
        <p className={css.soft}>
          What is here can be restored until its file is purged, 30 days after it was deleted unless this
          server is set otherwise.
        </p>
      )}
      {models?.length ? (
        <ul className={css.rows} aria-busy={list.isPlaceholderData}>
          {models.map((model) => (
            <ModelRow key={model.id} model={model} onTag={(tag) => narrow({ tag })} />
          ))}
        </ul>
      ) : models ? (
        <Empty
          trash={trash}
          narrowed={narrowed}
          clear={() => narrow({ q: undefined, tag: undefined, task_type: undefined })}
        />
      ) : list.isError ? (
        <Failed error={list.error} retry={() => list.refetch()} />
      ) : (
        <Loading what="Loading the models" rows={6} />
      )}
      <More
        what="more models"
        busy={list.isFetchingNextPage}
        onMore={list.hasNextPage ? () => list.fetchNextPage() : undefined}
      />
    </div>
  )
}

function Empty({ trash, narrowed, clear }: { trash: boolean; narrowed: boolean; clear: () => void }) {
  if (narrowed) {
    return (
      <State
        icon={<SearchX size={32} />}
        title="No model matches"
        action={<Button onClick={clear}>Show all</Button>}
      >
        Names, descriptions and algorithms are searched.
      </State>
    )
  }
  if (trash) return <State icon={<Trash2 size={32} />} title="The trash is empty" />
  return (
    <State
      icon={<Package size={32} />}
      title="No saved models yet"
      action={
        <Link
          to="/dashboard/blueprints"
          search={{ tab: "runs" }}
          className={buttonClass({ look: "primary" })}
        >
          Go to the runs
        </Link>
      }
    >
      Open a run's results and choose “Save to Database”: what is saved stays when the run is deleted.
    </State>
  )
}
