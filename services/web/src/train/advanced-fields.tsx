/** What is right for nearly everybody as it is: folded away. */

import { ChevronRight } from "lucide-react"
import { useEffect, useState } from "react"
import { count } from "../format"
import { Choices } from "../ui/choices"
import { Check, Field } from "../ui/field"
import { ColumnSelect } from "./column-select"
import { ExcludeFields } from "./exclude-fields"
import { ADVANCED, advancedChanges } from "./form"
import css from "./train.module.css"
import type { FieldsProps } from "./train-form"

const LEAKAGE = [
  { name: "warn", label: "Tell me", about: "They are kept, with a warning" },
  { name: "drop", label: "Leave them out", about: "Models never see them" },
  { name: "fail", label: "Stop", about: "The run ends and says which" },
] as const

export function AdvancedFields(props: FieldsProps) {
  const { profile, form, change, faults } = props
  const faulty = ADVANCED.some((name) => faults[name])
  const [open, setOpen] = useState(false)
  useEffect(() => {
    if (faulty) setOpen(true) // a fault that is folded away cannot be seen
  }, [faulty])
  const changes = advancedChanges(form)
  const others = profile.columns.filter(({ name }) => name !== form.target)
  return (
    <details
      className={css.advanced}
      open={open || faulty}
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>
        <ChevronRight size={18} aria-hidden="true" />
        Advanced
        {changes > 0 && <span className={css.changes}>{count(changes)} changed</span>}
      </summary>
      <div className={css.card}>
        <Field label="Name of the run" fault={faults.name} hint="Empty: the file's name and the target">
          {(input) => (
            <input
              {...input}
              maxLength={200}
              value={form.name}
              onChange={(event) => change({ name: event.target.value })}
            />
          )}
        </Field>
        <div className={css.pair}>
          <Field
            label="Held-out share"
            fault={faults.test_size}
            hint="Rows no model sees before it is measured on them: 0.2 is every fifth"
          >
            {(input) => (
              <input
                {...input}
                inputMode="decimal"
                value={form.test_size}
                onChange={(event) => change({ test_size: event.target.value })}
              />
            )}
          </Field>
          <Field
            label="Folds"
            fault={faults.cv_folds}
            hint="How often each model is validated: 2 to 20, backtests of a time series"
          >
            {(input) => (
              <input
                {...input}
                inputMode="numeric"
                value={form.cv_folds}
                onChange={(event) => change({ cv_folds: event.target.value })}
              />
            )}
          </Field>
          {form.task_type !== "time_series" && (
            <ColumnSelect
              label="Groups"
              none="Rows have nothing to do with one another"
              hint="Rows of one group (a patient, a customer) stay on one side of every split"
              value={form.group_column}
              fault={faults.group_column}
              columns={others}
              onChange={(name) => change({ group_column: name })}
            />
          )}
          <Field label="Seed" fault={faults.seed} hint="The same seed splits and fits alike">
            {(input) => (
              <input
                {...input}
                inputMode="numeric"
                value={form.seed}
                onChange={(event) => change({ seed: event.target.value })}
              />
            )}
          </Field>
        </div>
        <ExcludeFields {...props} />
        <Choices
          legend="Columns that give the target away"
          value={form.on_leakage}
          fault={faults.on_leakage}
          options={LEAKAGE}
          onChange={(name) => change({ on_leakage: name })}
        />
        <Check
          label="Hand over models that were fitted once more, on all rows"
          checked={form.refit}
          onChange={(event) => change({ refit: event.target.checked })}
        />
      </div>
    </details>
  )
}
