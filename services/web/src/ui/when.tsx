import { useEffect, useState } from "react"
import { ago, at } from "../format"

const TICK_MS = 30_000

/** "3 minutes ago", kept true while it is looked at; the exact local time is its title. */
export function When({ time }: { time: string }) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const tick = setInterval(() => setNow(Date.now()), TICK_MS)
    return () => clearInterval(tick)
  }, [])
  return (
    <time dateTime={time} title={at(time)}>
      {/* Another machine's clock may be ahead of this one: nothing was done in the future. */}
      {ago(time, Math.max(now, new Date(time).getTime()))}
    </time>
  )
}
