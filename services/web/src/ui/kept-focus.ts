import { type RefObject, useEffect, useRef } from "react"

const ROW = "[data-row]"

/** Keeps the focus on the page when what has it goes: a row that is deleted, a button that was the last of its
 * kind. It moves to its row, to the row that is in its place now, to `otherwise`, or to what all of it is in.
 *
 * Rows are `<li data-row tabIndex={-1}>` within the place, which itself stays.
 */
export function useKeptFocus<Place extends HTMLElement>(otherwise?: string): RefObject<Place | null> {
  const ref = useRef<Place>(null)
  useEffect(() => {
    const place = ref.current
    if (!place) return
    let had: Element | undefined
    let row: HTMLElement | null = null
    let at = 0
    const rows = () => Array.from(place.querySelectorAll<HTMLElement>(ROW))
    const locate = () => {
      const of = row ?? had
      at = rows().filter((other) => other !== of && isBefore(other, of)).length
    }
    const remember = ({ target }: FocusEvent) => {
      had = target as Element
      row = had.closest<HTMLElement>(ROW)
      locate()
    }
    const changed = () => {
      if (!had) return
      if (had.isConnected) return locate()
      had = undefined
      if (document.activeElement !== document.body) return // it is elsewhere by now
      const left = rows()
      const next = row?.isConnected ? row : left[Math.min(at, left.length - 1)]
      const other = otherwise ? place.querySelector<HTMLElement>(otherwise) : null
      ;(next ?? other ?? place.closest<HTMLElement>('[role="tabpanel"], main'))?.focus()
    }
    const changes = new MutationObserver(changed)
    place.addEventListener("focusin", remember)
    changes.observe(place, { childList: true, subtree: true })
    return () => {
      place.removeEventListener("focusin", remember)
      changes.disconnect()
    }
  }, [otherwise])
  return ref
}

function isBefore(one: Element, other: Element | undefined): boolean {
  return !!other && (one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING) !== 0
}
