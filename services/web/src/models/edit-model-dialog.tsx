import { useMutation, useQueryClient } from "@tanstack/react-query"
import type { FormEvent } from "react"
import { api, bodyOf, type Schemas } from "../api/client"
import { Button } from "../ui/button"
import { Dialog, DialogActions } from "../ui/dialog"
import { useSay } from "../ui/toast"
import { ModelFields, useModelFields } from "./fields"
import css from "./fields.module.css"
import { MODELS } from "./queries"

interface EditModelDialogProps {
  model: Schemas["Model"]
  open: boolean
  onOpenChange: (open: boolean) => void
}

export function EditModelDialog({ model, open, onOpenChange }: EditModelDialogProps) {
  return (
    <Dialog
      open={open}
      onOpenChange={onOpenChange}
      title="Edit Model"
      about="Its file stays as it is; a download is named after the model."
    >
      <EditModel model={model} close={() => onOpenChange(false)} />
    </Dialog>
  )
}

function EditModel({ model, close }: { model: Schemas["Model"]; close: () => void }) {
  const client = useQueryClient()
  const say = useSay()
  const fields = useModelFields(model)
  const changing = useMutation({
    mutationFn: () =>
      bodyOf(
        api.PATCH("/models/{model_id}", { params: { path: { model_id: model.id } }, body: fields.body() }),
      ),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: MODELS })
      say({ words: "The model is changed." })
      close()
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (!changing.isPending && fields.check()) changing.mutate()
  }
  return (
    <form onSubmit={submit} noValidate className={css.form}>
      <ModelFields fields={fields} error={changing.error} />
      <DialogActions>
        <Button onClick={close}>Close</Button>
        <Button type="submit" look="primary" busy={changing.isPending}>
          Save changes
        </Button>
      </DialogActions>
    </form>
  )
}
