/** All tables of the user, and the place where new ones come in. */

import { useInfiniteQuery } from "@tanstack/react-query"
import { useNavigate, useSearch } from "@tanstack/react-router"
import { Table2 } from "lucide-react"
import { filesQuery } from "../api/queries"
import { blueprintsSearch } from "../search"
import { useKeptFocus } from "../ui/kept-focus"
import { State } from "../ui/surface"
import { DatasetList } from "./dataset-list"
import css from "./datasets.module.css"
import { UploadArea } from "./upload-area"

export function Datasets() {
  const search = useSearch({ from: "/dashboard/blueprints" })
  const navigate = useNavigate({ from: "/dashboard/blueprints" })
  const files = useInfiniteQuery(filesQuery)
  const place = useKeptFocus<HTMLDivElement>()
  return (
    <div className={css.datasets} ref={place}>
      <UploadArea />
      <DatasetList
        files={files}
        search={search}
        onSearch={(to) =>
          navigate({
            search: (before) => blueprintsSearch({ ...before, ...to }),
            replace: true,
            resetScroll: false,
          })
        }
        none={
          <State icon={<Table2 size={32} />} title="No datasets yet">
            A table is all it takes: rows are cases, one column is what is to be predicted. Drop one above.
          </State>
        }
      />
    </div>
  )
}
