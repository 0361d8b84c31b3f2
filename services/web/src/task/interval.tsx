import css from "./interval.module.css"

interface IntervalProps {
  low: number
  high: number
  value: number
  /** Both ends of the scale that all rows share. */
  scale: [number, number]
}

/** Where a score lies, and how far it would move had other rows been drawn. Its numbers stand beside it. */
export function Interval({ low, high, value, scale: [from, to] }: IntervalProps) {
  const place = (number: number) => `${to > from ? (100 * (number - from)) / (to - from) : 50}%`
  return (
    <span className={css.interval} aria-hidden="true">
      <span className={css.line} style={{ left: place(low), right: `calc(100% - ${place(high)})` }} />
      <span className={css.dot} style={{ left: place(value) }} />
    </span>
  )
}
