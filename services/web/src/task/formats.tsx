/** A model in a format for those who do not unpickle: beside its download, folded away. */

import { ChevronDown, FileBox, Share2 } from "lucide-react"
import { DropdownMenu as Menu } from "radix-ui"
import { useRef, useState } from "react"
import type { Schemas } from "../api/client"
import { Button } from "../ui/button"
import menu from "../ui/menu.module.css"
import { FormatDialog } from "./format-dialog"
import css from "./formats.module.css"

export type Format = Schemas["ConversionFormat"]

const FORMATS: { name: Format; label: string; about: string; icon: typeof FileBox }[] = [
  { name: "skops", label: "skops", about: "scikit-learn without pickle", icon: FileBox },
  { name: "onnx", label: "ONNX", about: "a graph for any language", icon: Share2 },
]

interface FormatsProps {
  taskId: string
  /** As it is asked for: a slug, or `best_model`. */
  modelName: string
  label: string
  /** What the button is called: "Other formats of …". */
  of: string
  small?: boolean
}

export function Formats({ taskId, modelName, label, of, small }: FormatsProps) {
  const trigger = useRef<HTMLButtonElement>(null)
  const chosen = useRef<Format>(undefined)
  const [format, open] = useState<Format>()
  return (
    <>
      <Menu.Root modal={false}>
        <Menu.Trigger asChild>
          <Button ref={trigger} icon aria-label={`Other formats of ${of}`} {...(small && { small })}>
            <ChevronDown size={16} aria-hidden="true" />
          </Button>
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Content
            className={menu.menu}
            align="end"
            sideOffset={6}
            onCloseAutoFocus={() => {
              // The dialog gives the focus back to what has it when it opens: not to an entry that is gone.
              trigger.current?.focus()
              open(chosen.current)
              chosen.current = undefined
            }}
          >
            {FORMATS.map(({ name, label: title, about, icon: Icon }) => (
              <Menu.Item
                key={name}
                className={menu.item}
                onSelect={() => {
                  chosen.current = name
                }}
              >
                <Icon size={18} aria-hidden="true" />
                <span>
                  {title}
                  <span className={css.about}>{about}</span>
                </span>
              </Menu.Item>
            ))}
          </Menu.Content>
        </Menu.Portal>
      </Menu.Root>
      {format && (
        <FormatDialog
          taskId={taskId}
          modelName={modelName}
          label={label}
          format={format}
          close={() => open(undefined)}
        />
      )}
    </>
  )
}
