/** Short words about what was just done, with a way back where there is one. */

import { Toast as Radix } from "radix-ui"
import { createContext, type ReactNode, use, useCallback, useState } from "react"
import { Button } from "./button"
import css from "./toast.module.css"

interface Said {
  words: string
  bad?: boolean
  undo?: () => void
}

const Say = createContext<(said: Said) => void>(() => {})

export function useSay(): (said: Said) => void {
  return use(Say)
}

const SHOWN_MS = 8_000

export function Toasts({ children }: { children: ReactNode }) {
  const [shown, setShown] = useState<(Said & { key: number })[]>([])
  const say = useCallback((said: Said) => {
    setShown((before) => [...before.slice(-2), { ...said, key: (before.at(-1)?.key ?? 0) + 1 }])
  }, [])
  const close = (key: number) => setShown((before) => before.filter((one) => one.key !== key))
  return (
    <Say value={say}>
      <Radix.Provider duration={SHOWN_MS} label="Notification">
        {children}
        {shown.map((one) => (
          <Radix.Root
            key={one.key}
            type={one.bad ? "foreground" : "background"}
            className={[css.toast, one.bad && css.bad].filter(Boolean).join(" ")}
            onOpenChange={(open) => open || close(one.key)}
          >
            <Radix.Description className={css.words}>{one.words}</Radix.Description>
            {one.undo && (
              <Radix.Action altText="Undo" asChild onClick={one.undo}>
                <Button small>Undo</Button>
              </Radix.Action>
            )}
          </Radix.Root>
        ))}
        <Radix.Viewport className={css.viewport} />
      </Radix.Provider>
    </Say>
  )
}
