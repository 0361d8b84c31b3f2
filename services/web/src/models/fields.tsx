/** Name, description and tags of a saved model: the same fields when it is saved and when it is changed. */

import { useEffect, useRef, useState } from "react"
import { ApiError } from "../api/problem"
import { count } from "../format"
import { Field } from "../ui/field"
import { Note } from "../ui/surface"
import css from "./fields.module.css"

const LONGEST_NAME = 120
const LONGEST_DESCRIPTION = 2_000
const LONGEST_TAG = 40
const MOST_TAGS = 20

interface Values {
  model_name: string
  description: string
  /** As typed, with commas between them. */
  tags: string
}

type Faults = Partial<Record<keyof Values, string>>

export function useModelFields(known: { model_name: string; description: string | null; tags: string[] }) {
  const [values, setValues] = useState<Values>({
    model_name: known.model_name,
    description: known.description ?? "",
    tags: known.tags.join(", "),
  })
  const [faults, setFaults] = useState<Faults>({})
  const [refusals, setRefusals] = useState(0)
  return {
    values,
    faults,
    /** How often they could not be sent: each time the first fault is gone to. */
    refusals,
    set(field: keyof Values, value: string): void {
      setValues((before) => ({ ...before, [field]: value }))
      setFaults(({ [field]: _, ...others }) => others)
    },
    /** Whether the values can be sent; what is wrong with them is shown beside each. */
    check(): boolean {
      const found = faultsOf(values)
      setFaults(found)
      const good = Object.keys(found).length === 0
      if (!good) setRefusals((before) => before + 1)
      return good
    },
    body: () => ({
      model_name: values.model_name.trim(),
      description: values.description.trim() || null,
      tags: tagsOf(values.tags),
    }),
  }
}

export function tagsOf(text: string): string[] {
  const tags = text.split(",").map((tag) => tag.trim())
  return [...new Set(tags.filter(Boolean))]
}

function faultsOf({ model_name, tags }: Values): Faults {
  const asked = tagsOf(tags)
  const long = asked.find((tag) => [...tag].length > LONGEST_TAG)
  return {
    ...(!model_name.trim() && { model_name: "A model needs a name" }),
    ...(asked.length > MOST_TAGS && { tags: `${MOST_TAGS} tags at most; these are ${asked.length}` }),
    ...(long && { tags: `“${long}” is longer than ${LONGEST_TAG} characters` }),
  }
}

interface ModelFieldsProps {
  fields: ReturnType<typeof useModelFields>
  error: Error | null
}

export function ModelFields({ fields: { values, faults, refusals, set }, error }: ModelFieldsProps) {
  const place = useRef<HTMLDivElement>(null)
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is for what was sent, or was to be
  useEffect(() => {
    place.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus()
  }, [refusals, error])
  const said = error instanceof ApiError ? error : undefined
  const tags = tagsOf(values.tags)
  // A fault of the third tag is at /tags/2.
  const ofTags = said?.problem.errors?.find(({ pointer }) => pointer.startsWith("/tags"))?.detail
  const faultOf = {
    model_name: faults.model_name ?? said?.fault("/model_name"),
    description: faults.description ?? said?.fault("/description"),
    tags: faults.tags ?? ofTags,
  }
  const elsewhere = error && !said?.problem.errors?.length
  return (
    <div ref={place} className={css.fields}>
      <Field label="Model name" required fault={faultOf.model_name}>
        {(input) => (
          <input
            {...input}
            maxLength={LONGEST_NAME}
            autoComplete="off"
            value={values.model_name}
            onChange={(event) => set("model_name", event.target.value)}
          />
        )}
      </Field>
      <Field
        label="Description"
        hint={`Optional. ${count(LONGEST_DESCRIPTION - values.description.length)} characters left.`}
        fault={faultOf.description}
      >
        {(input) => (
          <textarea
            {...input}
            maxLength={LONGEST_DESCRIPTION}
            value={values.description}
            onChange={(event) => set("description", event.target.value)}
          />
        )}
      </Field>
      <Field
        label="Tags"
        hint={
          tags.length ? (
            <span className={css.tags}>
              {tags.map((tag) => (
                <span key={tag}>{tag}</span>
              ))}
            </span>
          ) : (
            "Optional, with commas between them: churn, production"
          )
        }
        fault={faultOf.tags}
      >
        {(input) => (
          <input
            {...input}
            autoComplete="off"
            value={values.tags}
            onChange={(event) => set("tags", event.target.value)}
          />
        )}
      </Field>
      {elsewhere && (
        <div role="alert">
          <Note tone="bad">{error.message}</Note>
        </div>
      )}
    </div>
  )
}
