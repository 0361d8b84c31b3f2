import { useQuery } from "@tanstack/react-query"
import { Link, useNavigate, useParams } from "@tanstack/react-router"
import { Play, Trash2 } from "lucide-react"
import { useState } from "react"
import { ApiError } from "../api/problem"
import { Columns } from "../datasets/columns"
import css from "../datasets/dataset.module.css"
import { Shape } from "../datasets/dataset-row"
import { DeleteDataset } from "../datasets/delete-dataset"
import { Notices } from "../datasets/notices"
import { Preview } from "../datasets/preview"
import { fileQuery, profileQuery, type Table } from "../datasets/queries"
import { Suggestion } from "../datasets/suggestion"
import { Unreadable } from "../datasets/unreadable"
import { bytes } from "../format"
import { useTitle } from "../title"
import { Button, buttonClass } from "../ui/button"
import { PageHead } from "../ui/page-head"
import { Card, Failed, Loading } from "../ui/surface"
import { When } from "../ui/when"

export function DatasetPage() {
  const { fileId } = useParams({ from: "/dashboard/blueprints/files/$fileId" })
  const file = useQuery(fileQuery(fileId))
  useTitle(file.data?.name ?? "Dataset")
  const deleted = file.error instanceof ApiError && file.error.status === 404
  if (file.data && !deleted) return <Dataset key={fileId} table={file.data} />
  if (file.isError) return <Failed error={file.error} retry={() => file.refetch()} />
  return <Loading what="Loading the dataset" rows={8} />
}

function Dataset({ table }: { table: Table }) {
  const navigate = useNavigate()
  const [deleting, setDeleting] = useState(false)
  return (
    <>
      <PageHead
        back={<Link to="/dashboard/blueprints">Datasets</Link>}
        title={table.name}
        about={
          <>
            <Shape table={table} />
            <span>{bytes(table.size_bytes)}</span>
            <When time={table.created_at} />
          </>
        }
        actions={
          <>
            <Button look="danger" onClick={() => setDeleting(true)}>
              <Trash2 size={18} aria-hidden="true" />
              Delete
            </Button>
            {table.status !== "failed" && (
              <Link
                to="/dashboard/blueprints/train"
                search={{ file: table.file_id }}
                className={buttonClass({ look: "primary" })}
              >
                <Play size={18} aria-hidden="true" />
                Train models
              </Link>
            )}
          </>
        }
      />
      <Contents fileId={table.file_id} />
      <DeleteDataset
        table={table}
        open={deleting}
        onOpenChange={setDeleting}
        onDeleted={() => navigate({ to: "/dashboard/blueprints", replace: true })}
      />
    </>
  )
}

function Contents({ fileId }: { fileId: string }) {
  const profile = useQuery(profileQuery(fileId))
  if (profile.error && !(profile.error instanceof ApiError && profile.error.status === 422)) {
    return <Failed error={profile.error} retry={() => profile.refetch()} />
  }
  if (profile.error) return <Unreadable error={profile.error} />
  if (!profile.data) {
    return (
      <Card
        title="Looking at every column"
        about="A large table takes a few seconds. This page goes on by itself."
      >
        <Loading what="The columns are being looked at" rows={8} />
      </Card>
    )
  }
  return (
    <div className={css.contents}>
      <Suggestion fileId={fileId} profile={profile.data} />
      <Notices notices={profile.data.warnings} />
      <Preview fileId={fileId} columns={profile.data.columns} />
      <Columns fileId={fileId} profile={profile.data} />
    </div>
  )
}
