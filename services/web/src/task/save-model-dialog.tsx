/** A model of a run into the registry, where it outlives the run. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query"
import { Link } from "@tanstack/react-router"
import { CircleCheck } from "lucide-react"
import { type FormEvent, useMemo, useState } from "react"
import { again } from "../api/again"
import { api, bodyOf, type Schemas } from "../api/client"
import { onceKey } from "../api/once"
import { bytes } from "../format"
import { ModelFields, useModelFields } from "../models/fields"
import { Button, buttonClass } from "../ui/button"
import { Dialog, DialogActions } from "../ui/dialog"
import { Field } from "../ui/field"
import { Note } from "../ui/surface"
import type { Row } from "./leaderboard"
import css from "./save-model-dialog.module.css"

interface SaveModelDialogProps {
  open: boolean
  onOpenChange: (open: boolean) => void
  taskId: string
  modelInfo: {
    /** Those that can be saved, best first. */
    models: Row[]
    suggestedName: string
  }
}

export function SaveModelDialog({ open, onOpenChange, ...rest }: SaveModelDialogProps) {
  return (
    <Dialog
      open={open}
      onOpenChange={onOpenChange}
      title="Save Model"
      about="Stored in your registry with its metrics, and kept when the run is deleted."
    >
      {/* Made anew each time: what was typed for one model is not another's. */}
      <SaveModel {...rest} close={() => onOpenChange(false)} />
    </Dialog>
  )
}

type SaveModelProps = Pick<SaveModelDialogProps, "taskId" | "modelInfo"> & { close: () => void }

function SaveModel({ taskId, modelInfo: { models, suggestedName }, close }: SaveModelProps) {
  const client = useQueryClient()
  const [chosen, choose] = useState(models[0]?.model_name ?? "best_model")
  const fields = useModelFields({ model_name: suggestedName, description: "", tags: [] })
  // The same words sent twice, after an answer was lost, are saved once.
  // biome-ignore lint/correctness/useExhaustiveDependencies: other words are another request
  const key = useMemo(() => onceKey(), [chosen, fields.values])
  const saving = useMutation({
    mutationFn: () =>
      bodyOf(
        api.POST("/models/save", {
          params: { header: { "Idempotency-Key": key } },
          body: { task_id: taskId, leaderboard_model: chosen, ...fields.body() },
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: ["models"] }),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (!saving.isPending && fields.check()) saving.mutate()
  }
  if (saving.data) return <Saved model={saving.data} close={close} />
  const row = models.find(({ model_name }) => model_name === chosen)
  return (
    <form onSubmit={submit} noValidate className={css.form}>
      <Field label="Model" hint={`Size: ${bytes(row?.size_bytes)}. ${row?.algorithm ?? ""}`}>
        {(input) => (
          <select {...input} value={chosen} onChange={(event) => choose(event.target.value)}>
            {models.map(({ model_name, label, rank }) => (
              <option key={model_name} value={model_name}>
                {rank === 1 ? `${label} (best)` : label}
              </option>
            ))}
          </select>
        )}
      </Field>
      <ModelFields fields={fields} error={saving.error} />
      <DialogActions>
        <Button onClick={close}>Close</Button>
        <Button type="submit" look="gradient" busy={saving.isPending}>
          Save Model
        </Button>
      </DialogActions>
    </form>
  )
}

/** The file is copied after the answer: this waits for it. */
function Saved({ model, close }: { model: Schemas["Model"]; close: () => void }) {
  const now = useQuery({
    queryKey: ["models", "one", model.id],
    queryFn: ({ signal }) =>
      bodyOf(api.GET("/models/{model_id}", { params: { path: { model_id: model.id } }, signal })),
    initialData: model,
    refetchInterval: again(1_000, ({ status }) => status === "saving"),
  })
  const { status, model_name, file_size } = now.data
  return (
    <div className={css.form}>
      <div role="status" className={css.saved}>
        {status === "saving" ? (
          <p>Uploading the file…</p>
        ) : status === "ready" ? (
          <>
            <CircleCheck size={28} aria-hidden="true" />
            <p>
              <strong>{model_name}</strong> is saved ({bytes(file_size)}).
            </p>
          </>
        ) : (
          <Note tone="bad">
            The file could not be stored. Save the model again; delete this entry in Models.
          </Note>
        )}
      </div>
      <DialogActions>
        <Button onClick={close}>Close</Button>
        <Link to="/dashboard/models" className={buttonClass({ look: "primary" })}>
          View saved models
        </Link>
      </DialogActions>
    </div>
  )
}
