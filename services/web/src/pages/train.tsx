import { useQuery } from "@tanstack/react-query"
import { Link, useSearch } from "@tanstack/react-router"
import { ApiError } from "../api/problem"
import { fileQuery, profileQuery } from "../datasets/queries"
import { Unreadable } from "../datasets/unreadable"
import { useTitle } from "../title"
import { ChooseDataset } from "../train/choose-dataset"
import { choicesQuery } from "../train/queries"
import { Setup } from "../train/setup"
import { buttonClass } from "../ui/button"
import { PageHead } from "../ui/page-head"
import { Card, Failed, Loading, State } from "../ui/surface"

export function TrainPage() {
  const { file } = useSearch({ from: "/dashboard/blueprints/train" })
  return file ? <Train fileId={file} /> : <ChooseDataset />
}

function Train({ fileId }: { fileId: string }) {
  const file = useQuery(fileQuery(fileId))
  useTitle(file.data ? `Train on ${file.data.name}` : "Train")
  return (
    <>
      <PageHead
        back={
          <Link to="/dashboard/blueprints/files/$fileId" params={{ fileId }}>
            {file.data?.name ?? "Dataset"}
          </Link>
        }
        title="Train models"
      />
      <Prepared fileId={fileId} />
    </>
  )
}

function Prepared({ fileId }: { fileId: string }) {
  const profile = useQuery(profileQuery(fileId))
  const choices = useQuery(choicesQuery)
  const error = profile.error ?? choices.error
  if (error instanceof ApiError && error.status === 422) return <Unreadable error={error} />
  if (error instanceof ApiError && error.status === 404) return <Gone />
  if (profile.data && choices.data) {
    return <Setup key={fileId} fileId={fileId} profile={profile.data} choices={choices.data.items} />
  }
  if (error) {
    return (
      <Failed
        error={error}
        retry={() => {
          profile.refetch()
          choices.refetch()
        }}
      />
    )
  }
  return (
    <Card
      title="Looking at every column"
      about="A large table takes a few seconds. This page goes on by itself."
    >
      <Loading what="The columns are being looked at" rows={8} />
    </Card>
  )
}

/** A run may outlive its dataset: its settings can be used on another one. */
function Gone() {
  return (
    <State
      title="This dataset is not there"
      action={
        <Link
          from="/dashboard/blueprints/train"
          search={({ file: _, ...rest }) => rest}
          className={buttonClass({ look: "primary" })}
        >
          Choose another one
        </Link>
      }
    >
      It was deleted, or it is somebody else's, or the link is wrong.
    </State>
  )
}
