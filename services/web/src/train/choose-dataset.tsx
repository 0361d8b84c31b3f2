import { useInfiniteQuery } from "@tanstack/react-query"
import { Link } from "@tanstack/react-router"
import { filesQuery } from "../api/queries"
import { DatasetRow } from "../datasets/dataset-row"
import css from "../datasets/datasets.module.css"
import { buttonClass } from "../ui/button"
import { PageHead } from "../ui/page-head"
import { More } from "../ui/paged"
import { Failed, Loading, State } from "../ui/surface"

/** The address names no dataset: which one is it to be? */
export function ChooseDataset() {
  const files = useInfiniteQuery(filesQuery)
  const tables = files.data?.pages.flatMap(({ items }) => items)
  return (
    <>
      <PageHead
        back={<Link to="/dashboard/blueprints">Datasets</Link>}
        title="Train models"
        about="On which dataset?"
      />
      {tables?.length === 0 ? (
        <State
          title="No datasets yet"
          action={
            <Link to="/dashboard/blueprints" className={buttonClass({ look: "primary" })}>
              Upload one
            </Link>
          }
        />
      ) : tables ? (
        <div className={css.datasets}>
          <ul className={css.list} aria-label="Datasets">
            {tables.map((table) => (
              <DatasetRow key={table.file_id} table={table} />
            ))}
          </ul>
          <More list={files} what="older datasets" />
        </div>
      ) : files.isError ? (
        <Failed error={files.error} retry={() => files.refetch()} />
      ) : (
        <Loading what="Loading the datasets" rows={6} />
      )}
    </>
  )
}
