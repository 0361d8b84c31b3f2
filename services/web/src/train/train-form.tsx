/** What is to be trained and how. Whatever is wrong is said by the API, at the fields it is about. */

import { useNavigate } from "@tanstack/react-router"
import { Play } from "lucide-react"
import { useEffect, useRef, useState } from "react"
import type { Schemas } from "../api/client"
import type { Profile } from "../datasets/queries"
import { Button } from "../ui/button"
import { Card, Note } from "../ui/surface"
import { AdvancedFields } from "./advanced-fields"
import { type Change, type Form, faultsOf, requestOf } from "./form"
import { HowFields } from "./how-fields"
import { useStart } from "./queries"
import { summary } from "./summary"
import { TargetFields } from "./target-fields"
import css from "./train.module.css"

interface TrainFormProps {
  fileId: string
  profile: Profile
  choices: Schemas["ModelChoice"][]
  beginning: Form
}

export interface FieldsProps {
  profile: Profile
  form: Form
  change: Change
  faults: Partial<Record<keyof Form | "", string>>
}

export function TrainForm({ fileId, profile, choices, beginning }: TrainFormProps) {
  const [form, setForm] = useState(beginning)
  const navigate = useNavigate({ from: "/dashboard/blueprints/train" })
  const starting = useStart()
  const [changed, setChanged] = useState<ReadonlySet<string>>(new Set())
  const place = useRef<HTMLFormElement>(null)
  const { error } = starting

  useEffect(() => {
    // Those who do not see the page are taken to the first fault as well.
    const first = '[aria-invalid="true"], [data-fault] :is(input, select)'
    if (error) place.current?.querySelector<HTMLElement>(first)?.focus()
  }, [error])

  const change: Change = (changes) => {
    setForm((before) => ({ ...before, ...changes }))
    setChanged((before) => new Set([...before, ...Object.keys(changes)]))
    if (changes.target !== undefined) {
      const chosen = changes.target
      navigate({ search: (search) => ({ ...search, target: chosen }), replace: true, resetScroll: false })
    }
  }
  const all = Object.entries(faultsOf(error))
  // A field that was changed since is not told of any more: whether it is right now, only the API knows.
  const faults: FieldsProps["faults"] = Object.fromEntries(all.filter(([name]) => !changed.has(name)))
  const fields: FieldsProps = { profile, form, change, faults }
  const ofType = choices.filter((choice) => choice.task_type === form.task_type)
  return (
    <form
      ref={place}
      className={css.form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault()
        if (starting.isPending) return
        setChanged(new Set())
        starting.mutate(requestOf(fileId, form))
      }}
    >
      <div className={css.fields}>
        <TargetFields {...fields} />
        <HowFields {...fields} choices={ofType} />
        <AdvancedFields {...fields} />
      </div>
      <Card className={css.side} aria-label="Start">
        <p>{summary(profile, form, ofType)}</p>
        {error && (
          <div role="alert">
            <Note tone="bad">{faults[""] ?? "Some settings need another look."}</Note>
          </div>
        )}
        <Button type="submit" look="primary" busy={starting.isPending}>
          <Play size={18} aria-hidden="true" />
          Start training
        </Button>
      </Card>
    </form>
  )
}
