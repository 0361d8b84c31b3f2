import { Fragment } from "react"

/** The API's words, in which names of fields stand between backticks. */
export function Words({ children }: { children: string }) {
  return children.split("`").map(
    (part, place) =>
      // biome-ignore-start lint/suspicious/noArrayIndexKey: parts of one text have no name, and never move
      place % 2 ? <code key={place}>{part}</code> : <Fragment key={place}>{part}</Fragment>,
    // biome-ignore-end lint/suspicious/noArrayIndexKey: see above
  )
}
