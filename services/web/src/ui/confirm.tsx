import type { ReactNode } from "react"
import { Button } from "./button"
import { Dialog, DialogActions } from "./dialog"
import { Note } from "./surface"

interface ConfirmProps {
  open: boolean
  onOpenChange: (open: boolean) => void
  title: string
  /** What goes with it and what stays. */
  about: ReactNode
  /** The verb, "Delete". */
  action: string
  busy: boolean
  error: Error | null
  onConfirm: () => void
}

/** Asked before what cannot be undone. */
export function Confirm({ action, busy, error, onConfirm, ...dialog }: ConfirmProps) {
  return (
    <Dialog {...dialog}>
      {error && (
        <div role="alert">
          <Note tone="bad">{error.message}</Note>
        </div>
      )}
      <DialogActions>
        <Button onClick={() => dialog.onOpenChange(false)}>Keep it</Button>
        <Button look="danger" busy={busy} onClick={onConfirm}>
          {action}
        </Button>
      </DialogActions>
    </Dialog>
  )
}
