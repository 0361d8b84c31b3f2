import { useEffect, useRef, useState } from "react"

const PAUSE_MS = 250

/** What is being typed, handed on at the first pause: not every letter is a request and an address. */
export function useTyped(known: string, onPause: (text: string) => void) {
  const [typed, type] = useState(known)
  const pause = useRef(onPause)
  pause.current = onPause
  const told = useRef(known)
  useEffect(() => {
    // Changed from elsewhere, by the Back button for instance.
    if (known !== told.current) type(known)
    told.current = known
  }, [known])
  useEffect(() => {
    if (typed === told.current) return
    const timer = setTimeout(() => {
      told.current = typed
      pause.current(typed)
    }, PAUSE_MS)
    return () => clearTimeout(timer)
  }, [typed])
  return [typed, type] as const
}
