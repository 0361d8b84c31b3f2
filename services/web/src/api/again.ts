/** Lists that change by themselves are asked for again: kindly, and only as long as something goes on. */

interface Asked<T> {
  state: { data: T | undefined; fetchFailureCount: number; status: "pending" | "error" | "success" }
}

const LONGEST_MS = 60_000

/** For `refetchInterval`: every `ms` while `goingOn`, ever more seldom while it fails. A hidden page does not
 * ask at all: that is TanStack Query's default, and it asks at once when it is seen again. */
export function again<T>(ms: number, goingOn: (data: T) => boolean) {
  return ({ state }: Asked<T>): number | false => {
    if (state.status === "error") return Math.min(ms * 2 ** state.fetchFailureCount, LONGEST_MS)
    return state.data !== undefined && goingOn(state.data) ? ms : false
  }
}

/** For the `refetchInterval` of a list that comes by the page: all of its pages are asked for again, so the more
 * there are, the more seldom. */
export function againByPage<Row>(ms: number, goingOn: (row: Row) => boolean) {
  const next = again<{ pages: { items: Row[] }[] }>(ms, ({ pages }) =>
    pages.some(({ items }) => items.some(goingOn)),
  )
  return (query: Asked<{ pages: { items: Row[] }[] }>): number | false => {
    const wait = next(query)
    return wait && wait * (query.state.data?.pages.length ?? 1)
  }
}
