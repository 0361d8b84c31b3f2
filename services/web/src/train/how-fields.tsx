/** Which models, what decides among them, and how long it may take. */

import type { Schemas } from "../api/client"
import { METRICS, metricAbout } from "../metrics"
import { Button } from "../ui/button"
import { Field } from "../ui/field"
import { Card } from "../ui/surface"
import { ModelFields } from "./model-fields"
import css from "./train.module.css"
import type { FieldsProps } from "./train-form"

const BUDGETS = [
  { minutes: "1", label: "1 min" },
  { minutes: "5", label: "5 min" },
  { minutes: "15", label: "15 min" },
  { minutes: "60", label: "1 h" },
]

interface HowFieldsProps extends FieldsProps {
  choices: Schemas["ModelChoice"][]
}

export function HowFields({ form, change, faults, choices }: HowFieldsProps) {
  return (
    <Card title="How to train" className={css.card}>
      <div className={css.pair}>
        <Field label="Metric" fault={faults.metric} hint="It decides which model is the best">
          {(input) => (
            <select
              {...input}
              value={form.metric ?? METRICS[form.task_type][0]?.name}
              onChange={(event) => change({ metric: event.target.value })}
            >
              {METRICS[form.task_type].map(({ name, label }) => (
                <option key={name} value={name}>
                  {label}: {metricAbout(name)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <div>
          <Field
            label="Time budget in minutes"
            fault={faults.minutes}
            hint="Of all models together. What is done by then is yours"
          >
            {(input) => (
              <input
                {...input}
                inputMode="decimal"
                value={form.minutes}
                onChange={(event) => change({ minutes: event.target.value })}
              />
            )}
          </Field>
          <div className={css.budgets}>
            {BUDGETS.map(({ minutes, label }) => (
              <Button
                key={minutes}
                look="quiet"
                small
                aria-pressed={form.minutes === minutes}
                onClick={() => change({ minutes })}
              >
                {label}
              </Button>
            ))}
          </div>
        </div>
      </div>
      <ModelFields form={form} change={change} fault={faults.models} choices={choices} />
    </Card>
  )
}
