import { count } from "../format"
import { Button } from "./button"

/** A list that comes by the page, of `useInfiniteQuery`. */
export interface Paged {
  isError: boolean
  hasNextPage: boolean
  isFetchingNextPage: boolean
  fetchNextPage: () => unknown
}

/** The rest of it. */
export function More({ list, what }: { list: Paged; what: string }) {
  if (!list.hasNextPage) return null
  return (
    <Button busy={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
      Show {what}
    </Button>
  )
}

/** "3 of 12 datasets", or that it may have changed meanwhile. */
export function found(shown: number, all: number, what: string, list: Paged): string {
  if (list.isError) return "What is shown may be old. Trying again…"
  const of = `${count(all)}${list.hasNextPage ? "+" : ""} ${all === 1 ? what : `${what}s`}`
  return shown === all ? of : `${count(shown)} of ${of}`
}
