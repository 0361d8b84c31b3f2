/** A labelled input with its hint and its fault, tied together for those who hear the page. */

import { CircleAlert } from "lucide-react"
import { type ComponentProps, type ReactNode, useId } from "react"
import css from "./field.module.css"

interface FieldProps {
  label: string
  hint?: ReactNode
  fault?: string | undefined
  required?: boolean
  children: (input: {
    id: string
    className: string | undefined
    required: boolean | undefined
    "aria-invalid": boolean | undefined
    "aria-describedby": string | undefined
  }) => ReactNode
}

export function Field({ label, hint, fault, required, children }: FieldProps) {
  const id = useId()
  const described = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ")
  return (
    <div className={css.field}>
      <label className={css.label} htmlFor={id}>
        {label}
        {required && (
          <span className={css.required} aria-hidden="true">
            {" *"}
          </span>
        )}
      </label>
      {children({
        id,
        className: css.input,
        required,
        "aria-invalid": fault ? true : undefined,
        "aria-describedby": described || undefined,
      })}
      {hint && (
        <span id={`${id}-hint`} className={css.hint}>
          {hint}
        </span>
      )}
      <Fault id={`${id}-fault`} fault={fault} />
    </div>
  )
}

export function Fault({ id, fault }: { id: string; fault: string | undefined }) {
  if (!fault) return null
  return (
    <span id={id} className={css.fault} role="alert">
      <CircleAlert size={16} aria-hidden="true" />
      {fault}
    </span>
  )
}

type CheckProps = Omit<ComponentProps<"input">, "type"> & { label: ReactNode }

export function Check({ label, ...rest }: CheckProps) {
  return (
    <label className={css.check}>
      <input {...rest} type="checkbox" />
      <span>{label}</span>
    </label>
  )
}
