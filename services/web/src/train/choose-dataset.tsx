import { useInfiniteQuery } from "@tanstack/react-query"
import { Link, useNavigate, useSearch } from "@tanstack/react-router"
import { filesQuery } from "../api/queries"
import { DatasetList } from "../datasets/dataset-list"
import css from "../datasets/datasets.module.css"
import { trainSearch } from "../search"
import { useTitle } from "../title"
import { buttonClass } from "../ui/button"
import { useKeptFocus } from "../ui/kept-focus"
import { PageHead } from "../ui/page-head"
import { State } from "../ui/surface"

/** The address names no dataset: which one is it to be? */
export function ChooseDataset() {
  const search = useSearch({ from: "/dashboard/blueprints/train" })
  const navigate = useNavigate({ from: "/dashboard/blueprints/train" })
  const files = useInfiniteQuery(filesQuery)
  useTitle("Train")
  const place = useKeptFocus<HTMLDivElement>()
  return (
    <>
      <PageHead
        back={<Link to="/dashboard/blueprints">Datasets</Link>}
        title="Train models"
        about={search.from ? "On which dataset, with the same settings?" : "On which dataset?"}
      />
      <div className={css.datasets} ref={place}>
        <DatasetList
          files={files}
          search={search}
          like={search.from}
          onSearch={(to) =>
            navigate({
              search: (before) => trainSearch({ ...before, ...to }),
              replace: true,
              resetScroll: false,
            })
          }
          none={
            <State
              title="No datasets yet"
              action={
                <Link to="/dashboard/blueprints" className={buttonClass({ look: "primary" })}>
                  Upload one
                </Link>
              }
            />
          }
        />
      </div>
    </>
  )
}
