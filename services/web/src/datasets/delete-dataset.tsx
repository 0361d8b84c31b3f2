import { Confirm } from "../ui/confirm"
import { useSay } from "../ui/toast"
import { type Table, useDeleteFile } from "./queries"

interface DeleteDatasetProps {
  table: Table
  open: boolean
  onOpenChange: (open: boolean) => void
  onDeleted?: () => void
}

export function DeleteDataset({ table, open, onOpenChange, onDeleted }: DeleteDatasetProps) {
  const say = useSay()
  const deleting = useDeleteFile(() => {
    say({ words: `${table.name} is deleted` })
    onOpenChange(false)
    onDeleted?.()
  })
  return (
    <Confirm
      open={open}
      onOpenChange={(to) => {
        deleting.reset()
        onOpenChange(to)
      }}
      title={`Delete ${table.name}?`}
      about="The table and its profile go for good. Runs on it and saved models stay."
      action="Delete"
      busy={deleting.isPending}
      error={deleting.error}
      onConfirm={() => deleting.mutate(table.file_id)}
    />
  )
}
