/** How a column's values are spread: small, and in words for those who do not see it. */

import { count, share, value } from "../format"
import css from "./distribution.module.css"
import type { Column } from "./queries"

const HEIGHT = 40
const LISTED = 4

export function Distribution({ column, rows }: { column: Column; rows: number }) {
  const { histogram, top } = column
  // Few values say more than bins do.
  if (top && (!histogram || column.distinct <= LISTED)) return <Values column={column} rows={rows} />
  if (histogram) return <Histogram bins={histogram} />
  return (
    <p className={css.none}>
      {column.distinct === 0 ? "No values" : `${count(column.distinct)} different values`}
    </p>
  )
}

function Histogram({ bins }: { bins: NonNullable<Column["histogram"]> }) {
  const most = Math.max(...bins.map((bin) => bin.count))
  const first = bins[0]
  const last = bins.at(-1)
  const peak = bins.find((bin) => bin.count === most)
  if (!first || !last || !peak) return null
  const width = 100 / bins.length
  return (
    <figure className={css.histogram}>
      <svg
        viewBox={`0 0 100 ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Histogram, most values from ${value(peak.from)} to ${value(peak.to)}`}
      >
        {bins.map((bin, place) => {
          // What is there at all can be seen.
          const height = bin.count ? Math.max((bin.count / most) * HEIGHT, 1) : 0
          return (
            <rect
              key={bin.from}
              x={place * width + width * 0.06}
              y={HEIGHT - height}
              width={width * 0.88}
              height={height}
            >
              <title>{`${value(bin.from)} to ${value(bin.to)}: ${count(bin.count)}`}</title>
            </rect>
          )
        })}
      </svg>
      <figcaption className={`${css.ends} number`}>
        <span>{value(first.from)}</span>
        <span>{value(last.to)}</span>
      </figcaption>
    </figure>
  )
}

function Values({ column, rows }: { column: Column; rows: number }) {
  const listed = (column.top ?? []).slice(0, LISTED)
  const most = Math.max(...listed.map((one) => one.count), 1)
  const others = column.distinct - listed.length
  return (
    <ol className={css.values} aria-label="Most frequent values">
      {listed.map((one) => (
        <li key={one.value} title={`${one.value}: ${count(one.count)} rows`}>
          <span className={css.bar} style={{ width: `${(one.count / most) * 100}%` }} />
          <span className={css.value}>{one.value}</span>
          <span className={`${css.share} number`}>{share(one.count / rows)}</span>
        </li>
      ))}
      {others > 0 && <li className={css.others}>and {count(others)} others</li>}
    </ol>
  )
}
