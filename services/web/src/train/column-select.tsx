import type { Column } from "../datasets/queries"
import { Field } from "../ui/field"

interface ColumnSelectProps {
  label: string
  hint: string
  fault: string | undefined
  required?: boolean
  /** What no column means. */
  none: string
  value: string | null
  columns: Column[]
  onChange: (name: string | null) => void
}

export function ColumnSelect({
  label,
  hint,
  fault,
  required,
  none,
  value,
  columns,
  onChange,
}: ColumnSelectProps) {
  return (
    <Field label={label} hint={hint} fault={fault} {...(required && { required })}>
      {(input) => (
        <select {...input} value={value ?? ""} onChange={(event) => onChange(event.target.value || null)}>
          <option value="">{none}</option>
          {columns.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}
