import { X } from "lucide-react"
import { Field } from "../ui/field"
import { useKeptFocus } from "../ui/kept-focus"
import css from "./train.module.css"
import type { FieldsProps } from "./train-form"

/** Columns that are not to be looked at: chosen one by one, each with a way back. */
export function ExcludeFields({ profile, form, change, faults }: FieldsProps) {
  const place = useKeptFocus<HTMLDivElement>("select")
  const left = profile.columns.filter(
    ({ name }) => name !== form.target && !form.exclude_columns.includes(name),
  )
  return (
    <div className={css.exclude} ref={place}>
      <Field label="Leave out" fault={faults.exclude_columns} hint="Columns no model is to look at">
        {(input) => (
          <select
            {...input}
            value=""
            onChange={(event) => change({ exclude_columns: [...form.exclude_columns, event.target.value] })}
          >
            <option value="">Add a column</option>
            {left.map(({ name }) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
      </Field>
      <ul className={css.chips} aria-label="Columns left out">
        {form.exclude_columns.map((name) => (
          <li key={name} data-row tabIndex={-1}>
            <button
              type="button"
              className={css.chip}
              aria-label={`Take ${name} back in`}
              onClick={() =>
                change({ exclude_columns: form.exclude_columns.filter((other) => other !== name) })
              }
            >
              <span>{name}</span>
              <X size={14} aria-hidden="true" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  )
}
