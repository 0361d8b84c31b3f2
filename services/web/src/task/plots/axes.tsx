/** How every chart looks: the library's parts with the page's own colours and sizes. */

import type { ReactElement } from "react"
import { ResponsiveContainer } from "recharts"
import { share } from "../../format"
import css from "./axes.module.css"

const LOCALE = navigator.language
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumSignificantDigits: 3 })

/** One colour after another, then all again, dashed. */
const COLOURS = ["var(--accent)", "var(--good)", "var(--bad)", "var(--gold)", "var(--text-soft)"]

export function strokeOf(place: number): { stroke: string; strokeDasharray?: string } {
  const stroke = COLOURS[place % COLOURS.length] ?? "var(--accent)"
  return place < COLOURS.length ? { stroke } : { stroke, strokeDasharray: "6 4" }
}

const TICKS = { fontSize: 12, fill: "var(--text-soft)" }

export const AXIS = {
  tick: TICKS,
  tickLine: false,
  axisLine: { stroke: "var(--line-strong)" },
  tickFormatter: (value: number) => compact.format(value),
} as const

export const SHARES = {
  ...AXIS,
  domain: [0, 1],
  ticks: [0, 0.25, 0.5, 0.75, 1],
  tickFormatter: (value: number) => share(value),
} as const

export const GRID = { stroke: "var(--line)", strokeDasharray: "2 4" } as const

export const REFERENCE = { stroke: "var(--line-strong)", strokeDasharray: "4 4" } as const

export const TOOLTIP = {
  isAnimationActive: false,
  contentStyle: {
    background: "var(--raised)",
    border: "1px solid var(--line-strong)",
    borderRadius: "var(--radius-small)",
    color: "var(--text)",
    fontSize: "var(--small)",
  },
  itemStyle: { color: "var(--text)", padding: 0 },
  labelStyle: { color: "var(--text-soft)" },
} as const

export const MARGIN = { top: 8, right: 16, bottom: 22, left: 8 } as const

export const Y_WIDTH = 52

export function xLabel(value: string) {
  return { value, position: "insideBottom", offset: -14, ...TICKS } as const
}

export function yLabel(value: string) {
  return { value, angle: -90, position: "insideLeft", style: { textAnchor: "middle" }, ...TICKS } as const
}

const STEPS = [1, 2, 2.5, 5, 10]

/** An axis with about five round numbers, from one below all values to one above all of them, each written with
 * as many digits as tell it from the next. */
export function axisAround(values: (number | null)[]) {
  const known = values.filter((value) => value !== null)
  const low = Math.min(...known)
  const high = Math.max(...known)
  const rough = (high - low || Math.abs(high) || 1) / 4
  const size = 10 ** Math.floor(Math.log10(rough))
  const step = size * (STEPS.find((round) => round * size >= rough) ?? 10)
  const first = Math.floor(low / step)
  const ticks = Array.from(
    { length: Math.ceil(high / step) - first + 1 },
    (_, place) => (first + place) * step,
  )
  const digits = Math.min(Math.max(0, 1 - Math.floor(Math.log10(step))), 12)
  const exact = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: digits })
  return {
    ...AXIS,
    domain: [ticks[0] ?? 0, ticks.at(-1) ?? 1] as [number, number],
    ticks,
    tickFormatter: (value: number) => (step < 100 ? exact : compact).format(value),
  }
}

interface DrawingProps {
  about: string
  /** Names of what is drawn, in the order of their colours. */
  legend?: string[]
  low?: boolean
  children: ReactElement
}

/** A chart as one image, as tall from the first moment as it will be. */
export function Drawing({ about, legend, low, children }: DrawingProps) {
  return (
    <>
      <div className={low ? css.low : css.drawing} role="img" aria-label={about}>
        <ResponsiveContainer width="100%" height="100%">
          {children}
        </ResponsiveContainer>
      </div>
      {legend && (
        <ul className={css.legend}>
          {legend.map((name, place) => (
            <li key={name}>
              <svg width="20" height="8" aria-hidden="true">
                <line x1="0" x2="20" y1="4" y2="4" strokeWidth="3" {...strokeOf(place)} />
              </svg>
              {name}
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

/** Pairs of coordinates; those that are not numbers are left out. */
export function pointsOf(x: (number | null)[], y: (number | null)[]): { x: number; y: number }[] {
  return x.flatMap((value, place) => {
    const other = y[place]
    return value === null || other === null || other === undefined ? [] : [{ x: value, y: other }]
  })
}
