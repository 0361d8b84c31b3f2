/** The form as it begins: with what the table suggests, or with the settings of an earlier run. */

import { useQuery } from "@tanstack/react-query"
import { Link, useSearch } from "@tanstack/react-router"
import type { Schemas } from "../api/client"
import { ApiError } from "../api/problem"
import { taskQuery } from "../api/queries"
import type { Profile } from "../datasets/queries"
import { Failed, Loading, Note } from "../ui/surface"
import { asBefore } from "./again"
import { begin } from "./form"
import css from "./train.module.css"
import { TrainForm } from "./train-form"

const ROUTE = "/dashboard/blueprints/train"

interface SetupProps {
  fileId: string
  profile: Profile
  choices: Schemas["ModelChoice"][]
}

export function Setup(props: SetupProps) {
  const { from, target } = useSearch({ from: ROUTE })
  const { profile } = props
  if (from) return <Again key={from} {...props} from={from} />
  return <TrainForm {...props} beginning={begin(profile, target ?? profile.suggested_target ?? "")} />
}

function Again({ from, ...props }: SetupProps & { from: string }) {
  const { target } = useSearch({ from: ROUTE })
  const { profile, choices } = props
  const run = useQuery(taskQuery(from))
  if (run.data) {
    const { form, missing } = asBefore(profile, choices, run.data, target)
    return (
      <div className={css.again}>
        <Note tone={missing.length ? "warn" : "plain"}>
          The settings are those of{" "}
          <Link to="/dashboard/blueprints/tasks/$taskId" params={{ taskId: from }}>
            {run.data.name}
          </Link>
          {missing.length > 0 && `, without what this table does not have: ${missing.join(", ")}`}.{" "}
          <Suggested />
        </Note>
        <TrainForm {...props} beginning={form} />
      </div>
    )
  }
  if (run.error instanceof ApiError && run.error.status === 404) {
    return (
      <div className={css.again}>
        <Note tone="warn">The run whose settings were asked for is not there any more.</Note>
        <TrainForm {...props} beginning={begin(profile, target ?? profile.suggested_target ?? "")} />
      </div>
    )
  }
  if (run.isError) return <Failed error={run.error} retry={() => run.refetch()} />
  return <Loading what="Loading the settings" rows={8} />
}

function Suggested() {
  return (
    <Link from={ROUTE} search={({ from: _, target: __, ...rest }) => rest}>
      Take what is suggested instead
    </Link>
  )
}
