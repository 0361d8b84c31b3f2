import { useQuery } from "@tanstack/react-query"
import { Link, useSearch } from "@tanstack/react-router"
import { ApiError } from "../api/problem"
import { fileQuery, profileQuery } from "../datasets/queries"
import { sentence } from "../format"
import { useTitle } from "../title"
import { ChooseDataset } from "../train/choose-dataset"
import { choicesQuery } from "../train/queries"
import { TrainForm } from "../train/train-form"
import { buttonClass } from "../ui/button"
import { PageHead } from "../ui/page-head"
import { Card, Failed, Loading, State } from "../ui/surface"

export function TrainPage() {
  const { file } = useSearch({ from: "/dashboard/blueprints/train" })
  useTitle("Train")
  return file ? <Train fileId={file} /> : <ChooseDataset />
}

function Train({ fileId }: { fileId: string }) {
  const file = useQuery(fileQuery(fileId))
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
      <Setup fileId={fileId} />
    </>
  )
}

function Setup({ fileId }: { fileId: string }) {
  const profile = useQuery(profileQuery(fileId))
  const choices = useQuery(choicesQuery)
  const error = profile.error ?? choices.error
  if (error instanceof ApiError && error.status === 422) {
    return (
      <Card>
        <State
          title="This table cannot be read"
          action={
            <Link to="/dashboard/blueprints" className={buttonClass({})}>
              Upload a corrected one
            </Link>
          }
        >
          {sentence(error.message)}
        </State>
      </Card>
    )
  }
  if (profile.data && choices.data) {
    return <TrainForm key={fileId} fileId={fileId} profile={profile.data} choices={choices.data.items} />
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
