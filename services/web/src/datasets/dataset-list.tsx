import type { ReactNode } from "react"
import { DATASET_SORTS, type DatasetSort } from "../search"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { howMany, More, type Paged, useSought } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"
import { DatasetRow } from "./dataset-row"
import css from "./datasets.module.css"
import type { Table } from "./queries"

const names = new Intl.Collator(undefined, { numeric: true })

/** `newest` is as the API gives them. */
const ORDER: Record<Exclude<DatasetSort, "newest">, (a: Table, b: Table) => number> = {
  name: (a, b) => names.compare(a.name, b.name),
  rows: (a, b) => (b.rows ?? 0) - (a.rows ?? 0),
  size: (a, b) => b.size_bytes - a.size_bytes,
}

interface DatasetListProps {
  files: Paged<Table> & { error: unknown; refetch: () => unknown }
  /** What of the address is about the list. */
  search: { q?: string; sort?: DatasetSort }
  onSearch: (to: { q?: string; sort?: DatasetSort }) => void
  /** What is shown to who has none at all. */
  none: ReactNode
  /** A run whose settings are to be used again. */
  like?: string | undefined
}

export function DatasetList({ files, search, onSearch, none, like }: DatasetListProps) {
  const { q = "", sort = "newest" } = search
  const asked = q.trim().toLowerCase()
  const sought = useSought(files, {
    matches: asked ? ({ name }) => name.toLowerCase().includes(asked) : undefined,
    order: sort === "newest" ? undefined : ORDER[sort],
  })
  if (!files.data) {
    if (files.isError) return <Failed error={files.error} retry={() => files.refetch()} />
    return <Loading what="Loading the datasets" rows={6} />
  }
  if (sought.all === 0) return none
  return (
    <>
      <ListTools found={howMany(sought, "dataset", Boolean(asked) || sort !== "newest")}>
        <SearchBox label="Search datasets" value={q} onChange={(text) => onSearch({ q: text })} />
        <Choice
          label="Sort by"
          value={sort}
          options={DATASET_SORTS}
          onChange={(name) => onSearch({ sort: name })}
        />
      </ListTools>
      {sought.found > 0 ? (
        <ul className={css.list} aria-label="Datasets">
          {sought.shown.map((table) => (
            <DatasetRow key={table.file_id} table={table} like={like} />
          ))}
        </ul>
      ) : (
        !sought.seeking && <State title="No dataset is called that">Try a shorter word.</State>
      )}
      <More what="older datasets" busy={files.isFetchingNextPage} onMore={sought.more} />
    </>
  )
}
