/** All tables of the user, and the place where new ones come in. */

import { useInfiniteQuery } from "@tanstack/react-query"
import { useNavigate, useSearch } from "@tanstack/react-router"
import { Table2 } from "lucide-react"
import { filesQuery } from "../api/queries"
import { DATASET_SORTS } from "../search"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { found, More, type Paged } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"
import { DatasetRow } from "./dataset-row"
import css from "./datasets.module.css"
import type { Table } from "./queries"
import { UploadArea } from "./upload-area"

const ORDER: Record<(typeof DATASET_SORTS)[number]["name"], (a: Table, b: Table) => number> = {
  newest: () => 0, // as the API gives them
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  rows: (a, b) => (b.rows ?? 0) - (a.rows ?? 0),
  size: (a, b) => b.size_bytes - a.size_bytes,
}

export function Datasets() {
  const files = useInfiniteQuery(filesQuery)
  return (
    <div className={css.datasets}>
      <UploadArea />
      {files.data ? (
        <DatasetList files={files} tables={files.data.pages.flatMap(({ items }) => items)} />
      ) : files.isError ? (
        <Failed error={files.error} retry={() => files.refetch()} />
      ) : (
        <Loading what="Loading the datasets" rows={6} />
      )}
    </div>
  )
}

function DatasetList({ files, tables }: { files: Paged; tables: Table[] }) {
  const { q = "", sort = "newest" } = useSearch({ from: "/dashboard/blueprints" })
  const navigate = useNavigate({ from: "/dashboard/blueprints" })
  const asked = q.trim().toLowerCase()
  const shown = tables.filter(({ name }) => name.toLowerCase().includes(asked)).toSorted(ORDER[sort])
  if (tables.length === 0) {
    return (
      <State icon={<Table2 size={32} />} title="No datasets yet">
        A table is all it takes: rows are cases, one column is what is to be predicted. Drop one above.
      </State>
    )
  }
  return (
    <>
      <ListTools found={found(shown.length, tables.length, "dataset", files)}>
        <SearchBox
          label="Search datasets"
          value={q}
          onChange={(text) =>
            navigate({ search: ({ q: _, ...rest }) => (text ? { ...rest, q: text } : rest), replace: true })
          }
        />
        <Choice
          label="Sort by"
          value={sort}
          options={DATASET_SORTS}
          onChange={(name) =>
            navigate({ search: ({ sort: _, ...rest }) => ({ ...rest, sort: name }), replace: true })
          }
        />
      </ListTools>
      {shown.length > 0 ? (
        <ul className={css.list} aria-label="Datasets">
          {shown.map((table) => (
            <DatasetRow key={table.file_id} table={table} />
          ))}
        </ul>
      ) : (
        <State title="No dataset is called that">Try a shorter word, or load older ones below.</State>
      )}
      <More list={files} what="older datasets" />
    </>
  )
}
