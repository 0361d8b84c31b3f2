/** Tells that Trainyard cannot be reached, for as long as it is so. Nothing on the page moves for it. */

import { onlineManager, type QueryClient, useQueryClient } from "@tanstack/react-query"
import { CloudOff } from "lucide-react"
import { useCallback, useSyncExternalStore } from "react"
import { Unreachable } from "../api/problem"
import css from "./connection.module.css"

export function Connection() {
  const client = useQueryClient()
  const subscribe = useCallback(
    (tell: () => void) => {
      const stops = [client.getQueryCache().subscribe(tell), onlineManager.subscribe(tell)]
      return () => {
        for (const stop of stops) stop()
      }
    },
    [client],
  )
  const lost = useSyncExternalStore(subscribe, () => isLost(client))
  return (
    <div role="status" className={css.place}>
      {lost && (
        <p className={css.lost}>
          <CloudOff size={18} aria-hidden="true" />
          No connection to Trainyard. Runs go on, and this page will by itself.
        </p>
      )}
    </div>
  )
}

function isLost(client: QueryClient): boolean {
  if (!onlineManager.isOnline()) return true
  const asked = client.getQueryCache().findAll({ type: "active" })
  return asked.some(
    ({ state }) => state.error instanceof Unreachable || state.fetchFailureReason instanceof Unreachable,
  )
}
