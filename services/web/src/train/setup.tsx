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
  const { from } = useSearch({ from: ROUTE })
  return from ? <Again key={from} {...props} from={from} /> : <Afresh {...props} />
}

function Afresh(props: SetupProps) {
  const { profile } = props
  const target = useTarget(profile) ?? profile.suggested_target ?? ""
  return <TrainForm {...props} beginning={begin(profile, target)} />
}

/** The address's, if it is a column of the table. */
function useTarget(profile: Profile): string | undefined {
  const { target } = useSearch({ from: ROUTE })
  return profile.columns.find(({ name }) => name === target)?.name
}

function Again({ from, ...props }: SetupProps & { from: string }) {
  const { profile, choices } = props
  const target = useTarget(profile)
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
        <Afresh {...props} />
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
