/** One of a few, each with a word on what it is for. */

import { type ReactNode, useId } from "react"
import css from "./choices.module.css"
import { Fault } from "./field"

interface ChoicesProps<Name extends string> {
  legend: string
  hint?: ReactNode
  fault?: string | undefined
  value: Name | null
  options: readonly { name: Name; label: ReactNode; about?: ReactNode }[]
  onChange: (name: Name) => void
}

export function Choices<Name extends string>({
  legend,
  hint,
  fault,
  value,
  options,
  onChange,
}: ChoicesProps<Name>) {
  const id = useId()
  return (
    <fieldset
      className={css.choices}
      data-fault={fault ? true : undefined}
      aria-describedby={[hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ") || undefined}
    >
      <legend className={css.legend}>{legend}</legend>
      <div className={css.options}>
        {options.map((option) => (
          <label key={option.name} className={css.option}>
            <input
              type="radio"
              name={id}
              value={option.name}
              checked={option.name === value}
              onChange={() => onChange(option.name)}
            />
            <span>
              <span className={css.label}>{option.label}</span>
              {option.about && <span className={css.about}>{option.about}</span>}
            </span>
          </label>
        ))}
      </div>
      <Fault id={`${id}-fault`} fault={fault} />
      {hint && (
        <p id={`${id}-hint`} className={css.about}>
          {hint}
        </p>
      )}
    </fieldset>
  )
}
