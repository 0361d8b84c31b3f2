import { useId } from "react"
import type { Schemas } from "../api/client"
import { Button } from "../ui/button"
import { Check, Fault } from "../ui/field"
import type { Change, Form } from "./form"
import css from "./train.module.css"

interface ModelFieldsProps {
  form: Form
  change: Change
  fault: string | undefined
  choices: Schemas["ModelChoice"][]
}

export function ModelFields({ form, change, fault, choices }: ModelFieldsProps) {
  const id = useId()
  const usual = choices.filter((choice) => choice.default).map((choice) => choice.model_name)
  const chosen = new Set(form.models ?? usual)
  const toggle = (name: string, on: boolean) => {
    const models = choices
      .map((choice) => choice.model_name)
      .filter((other) => (other === name ? on : chosen.has(other)))
    const same = models.length === usual.length && models.every((model) => usual.includes(model))
    change({ models: same ? null : models })
  }
  return (
    <fieldset
      className={css.models}
      data-fault={fault ? true : undefined}
      {...(fault && { "aria-describedby": id })}
    >
      <legend>Models</legend>
      <div className={css.choose}>
        <Button look="quiet" small onClick={() => change({ models: null })}>
          All usual ones
        </Button>
        <Button look="quiet" small onClick={() => change({ models: [] })}>
          None
        </Button>
      </div>
      <div className={css.checks}>
        {choices.map(({ model_name: name, label, algorithm }) => (
          <span key={name} title={algorithm}>
            <Check
              label={label}
              checked={chosen.has(name)}
              onChange={(event) => toggle(name, event.target.checked)}
            />
          </span>
        ))}
      </div>
      <Fault id={id} fault={fault} />
    </fieldset>
  )
}
