/** What happened to a run, the newest first. */

import { useQuery } from "@tanstack/react-query"
import type { Schemas } from "../api/client"
import { at, clock } from "../format"
import { Card, Failed, Loading } from "../ui/surface"
import css from "./log-card.module.css"
import { logQuery } from "./queries"

export function LogCard({ task }: { task: Schemas["Task"] }) {
  const log = useQuery(logQuery(task))
  return (
    <Card title="Log" className={css.card}>
      {log.data ? (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled with the keyboard, too
        <section className={css.scroll} aria-label="Entries of the log" tabIndex={0}>
          <ol className={css.log}>
            {log.data.items.toReversed().map((entry) => (
              <li key={`${entry.at} ${entry.message}`}>
                <time className="number" dateTime={entry.at} title={at(entry.at)}>
                  {clock(entry.at)}
                </time>
                <span>{entry.message}</span>
              </li>
            ))}
          </ol>
        </section>
      ) : log.isError ? (
        <Failed error={log.error} retry={() => log.refetch()} />
      ) : (
        <Loading what="Loading the log" rows={5} />
      )}
    </Card>
  )
}
