/** What stands above a list: what it is searched for, sorted by, and how much is there. */

import { Search } from "lucide-react"
import { type ReactNode, useId } from "react"
import field from "./field.module.css"
import css from "./list-tools.module.css"
import { useTyped } from "./typed"

interface ListToolsProps {
  children: ReactNode
  /** "12 datasets"; told to those who hear the page when it changes. */
  found: ReactNode
}

export function ListTools({ children, found }: ListToolsProps) {
  return (
    <search className={css.tools}>
      {children}
      <p className={css.found} role="status">
        {found}
      </p>
    </search>
  )
}

interface SearchBoxProps {
  label: string
  value: string
  /** Called at a pause of the typing. */
  onChange: (value: string) => void
}

/** As long as the API takes what is searched for. */
const LONGEST = 200

export function SearchBox({ label, value, onChange }: SearchBoxProps) {
  const [typed, type] = useTyped(value, onChange)
  return (
    <label className={css.search}>
      <Search size={18} aria-hidden="true" />
      <input
        type="search"
        className={field.input}
        aria-label={label}
        placeholder={label}
        maxLength={LONGEST}
        value={typed}
        onChange={(event) => type(event.target.value)}
      />
    </label>
  )
}

interface ChoiceProps<Name extends string> {
  label: string
  value: Name
  options: readonly { name: Name; label: string }[]
  onChange: (name: Name) => void
}

export function Choice<Name extends string>({ label, value, options, onChange }: ChoiceProps<Name>) {
  const id = useId()
  return (
    <div className={css.choice}>
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        className={field.input}
        value={value}
        onChange={(event) => onChange(event.target.value as Name)}
      >
        {options.map((option) => (
          <option key={option.name} value={option.name}>
            {option.label}
          </option>
        ))}
      </select>
    </div>
  )
}
