/** Lists that come by the page, newest first. */

import { useEffect, useState } from "react"
import { count, counted } from "../format"
import { Button } from "./button"

/** A list of `useInfiniteQuery`. */
export interface Paged<Row = unknown> {
  data: { pages: readonly { items: readonly Row[] }[] } | undefined
  isError: boolean
  isFetching: boolean
  hasNextPage: boolean
  isFetchingNextPage: boolean
  fetchNextPage: () => unknown
}

/** Rows that are drawn before somebody asks for more. */
const AT_ONCE = 100
/** Pages that are looked through before somebody asks for more. */
const MOST_PAGES = 20

interface Wanted<Row> {
  matches?: ((row: Row) => boolean) | undefined
  order?: ((a: Row, b: Row) => number) | undefined
}

export interface Sought<Row> {
  list: Paged<Row>
  /** How many were looked through. */
  all: number
  found: number
  shown: readonly Row[]
  /** There may be more of them on pages that are on their way. */
  seeking: boolean
  /** undefined where there is nothing more. */
  more: (() => void) | undefined
}

/** For what the API has no filter and no order: its pages are looked through here, one after another up to a
 * bound. Of what is merely loaded already, older rows would be missed in silence. */
export function useSought<Row>(list: Paged<Row>, { matches, order }: Wanted<Row>): Sought<Row> {
  const [most, setMost] = useState(AT_ONCE)
  const { isFetching, isError, hasNextPage, fetchNextPage } = list
  const pages = list.data?.pages ?? []
  const seeking = Boolean(matches || order) && hasNextPage && pages.length < MOST_PAGES
  const next = seeking && !isFetching && !isError ? pages.length : 0
  useEffect(() => {
    if (next) fetchNextPage()
  }, [next, fetchNextPage])
  const all = pages.flatMap(({ items }) => items)
  const matching = matches ? all.filter(matches) : all
  const found = order ? matching.toSorted(order) : matching
  const more = () => {
    setMost(most + AT_ONCE)
    if (found.length <= most) fetchNextPage()
  }
  return {
    list,
    all: all.length,
    found: found.length,
    shown: found.slice(0, most),
    seeking,
    more: found.length > most || (hasNextPage && !seeking) ? more : undefined,
  }
}

/** "3 of 12 datasets", or that not all of them are known. */
export function howMany<Row>({ list, all, found, seeking }: Sought<Row>, what: string, bounded: boolean) {
  if (list.isError) return OLD
  if (seeking) return `Looking through all ${what}s…`
  const of = found === all ? "" : `${count(found)} of `
  if (bounded && list.hasNextPage) {
    return `${of || "The "}${of && "the "}newest ${count(all)} ${what}s; older ones are left out`
  }
  return of + loaded(all, what, list)
}

/** "12 datasets", of a list that the API narrows and orders. */
export function loaded(all: number, what: string, list: Paged): string {
  if (list.isError) return OLD
  return list.hasNextPage ? `${count(all)}+ ${what}s` : counted(all, what)
}

const OLD = "What is shown may be old. Trying again…"

interface MoreProps {
  what: string
  busy: boolean
  onMore: (() => void) | undefined
}

/** The rest of a list. */
export function More({ what, busy, onMore }: MoreProps) {
  if (!onMore) return null
  return (
    <Button busy={busy} onClick={onMore}>
      Show {what}
    </Button>
  )
}
