import { X } from "lucide-react"
import { Dialog as Radix } from "radix-ui"
import { type ReactNode, useRef } from "react"
import { Button } from "./button"
import css from "./dialog.module.css"

interface DialogProps {
  open: boolean
  onOpenChange: (open: boolean) => void
  title: string
  about: ReactNode
  children: ReactNode
}

/** Holds the focus while it is open, and gives it back. Escape and a click beside it close it. */
export function Dialog({ open, onOpenChange, title, about, children }: DialogProps) {
  const before = useRef<Element>(null)
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className={css.overlay}>
          <Radix.Content
            className={css.dialog}
            onOpenAutoFocus={(event) => {
              before.current = document.activeElement
              const first = (event.currentTarget as Element).querySelector<HTMLElement>("input, textarea")
              if (!first) return
              event.preventDefault()
              first.focus()
            }}
            onCloseAutoFocus={(event) => {
              // The library would give it to a trigger of its own, of which there is none.
              event.preventDefault()
              if (before.current instanceof HTMLElement) before.current.focus()
            }}
          >
            <div className={css.head}>
              <Radix.Title>{title}</Radix.Title>
              <Radix.Close asChild>
                <Button look="quiet" small icon aria-label="Close">
                  <X size={18} aria-hidden="true" />
                </Button>
              </Radix.Close>
            </div>
            <Radix.Description className={css.about}>{about}</Radix.Description>
            {children}
          </Radix.Content>
        </Radix.Overlay>
      </Radix.Portal>
    </Radix.Root>
  )
}

export function DialogActions({ children }: { children: ReactNode }) {
  return <div className={css.actions}>{children}</div>
}
