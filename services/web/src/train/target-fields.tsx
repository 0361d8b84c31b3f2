/** What is to be predicted, and what kind of a question that is. */

import type { Schemas } from "../api/client"
import { ROLES } from "../search"
import { Choices } from "../ui/choices"
import { Field } from "../ui/field"
import { Card } from "../ui/surface"
import { ColumnSelect } from "./column-select"
import { ofTarget, ofTaskType } from "./form"
import { guess } from "./guess"
import css from "./train.module.css"
import type { FieldsProps } from "./train-form"

const KINDS: { name: Schemas["TaskType"]; label: string; about: string }[] = [
  { name: "classification", label: "Classification", about: "Which class a row belongs to" },
  { name: "regression", label: "Regression", about: "How much it is" },
  { name: "time_series", label: "Time series", about: "How it goes on" },
]

const UNLEARNABLE =
  "It holds dates, one value alone, or a value of its own in nearly every row: hardly anything can be learned of it."

export function TargetFields({ profile, form, change, faults }: FieldsProps) {
  const guessed = guess(profile, form.target)
  return (
    <Card title="What to predict" className={css.card}>
      <Field label="Target" required fault={faults.target} hint="The column whose values are to be predicted">
        {(input) => (
          <select
            {...input}
            value={form.target}
            onChange={(event) => change(ofTarget(profile, form, event.target.value))}
          >
            <option value="" disabled>
              Choose a column
            </option>
            {profile.columns.map(({ name, role }) => (
              <option key={name} value={name}>
                {name} · {ROLES.find((known) => known.name === role)?.label ?? role}
                {name === profile.suggested_target ? " · suggested" : ""}
              </option>
            ))}
          </select>
        )}
      </Field>
      <Choices
        legend="Task"
        value={form.task_type}
        fault={faults.task_type}
        hint={guessed?.reason ?? (form.target && UNLEARNABLE)}
        options={KINDS.map((kind) => ({
          ...kind,
          about: kind.name === guessed?.taskType ? `${kind.about} · suggested` : kind.about,
        }))}
        onChange={(taskType) => change(ofTaskType(profile, form.target, taskType))}
      />
      {form.task_type === "time_series" && (
        <div className={css.pair}>
          <ColumnSelect
            label="Time"
            required
            none="Choose a column"
            hint="When each row was"
            value={form.time_column}
            fault={faults.time_column}
            columns={profile.columns.filter(({ name }) => name !== form.target)}
            onChange={(name) => change({ time_column: name })}
          />
          <ColumnSelect
            label="Series"
            none="The table is one series"
            hint="Which of several series a row is of"
            value={form.series_column}
            fault={faults.series_column}
            columns={profile.columns.filter(({ name }) => name !== form.target && name !== form.time_column)}
            onChange={(name) => change({ series_column: name })}
          />
          <Field
            label="Steps to forecast"
            fault={faults.horizon}
            hint="Empty: two seasons, or a tenth of the series if that is less"
          >
            {(input) => (
              <input
                {...input}
                inputMode="numeric"
                value={form.horizon}
                onChange={(event) => change({ horizon: event.target.value })}
              />
            )}
          </Field>
        </div>
      )}
    </Card>
  )
}
