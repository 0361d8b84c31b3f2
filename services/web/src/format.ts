/** Numbers, sizes and times as people read them, in their own language. */

const LOCALE = navigator.language

const whole = new Intl.NumberFormat(LOCALE)
const percent = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 1 })
const moment = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" })
const ofDay = new Intl.DateTimeFormat(LOCALE, { timeStyle: "medium" })
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" })

export function count(value: number): string {
  return whole.format(value)
}

/** "1 row", "1,234 rows" */
export function counted(value: number, what: string): string {
  return `${count(value)} ${value === 1 ? what : `${what}s`}`
}

export function share(value: number): string {
  return percent.format(value)
}

const plain = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 4 })

/** A value of a table, at most four significant digits: "-2.3", "1,234", "5.1e-9". */
export function value(number: number): string {
  const size = Math.abs(number)
  return size >= 1e6 || (size > 0 && size < 1e-4) ? number.toExponential(2) : plain.format(number)
}

/** Four significant digits about; of small ones always four after the point, so that they align in a column. */
export function score(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–"
  const size = Math.abs(value)
  if (size >= 1e6 || (size > 0 && size < 1e-4)) return value.toExponential(2)
  const digits = size >= 1000 ? 0 : size >= 10 ? 2 : 4
  return new Intl.NumberFormat(LOCALE, {
    maximumFractionDigits: digits,
    minimumFractionDigits: Number.isInteger(size) ? 0 : digits,
  }).format(value)
}

/** The API's half sentences, where they stand alone. */
export function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1)
}

const UNITS = ["B", "kB", "MB", "GB", "TB"]

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–"
  let size = value
  let unit = 0
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${size.toLocaleString(LOCALE, { maximumFractionDigits: size < 10 && unit ? 1 : 0 })} ${UNITS[unit]}`
}

/** "19 ms", "0.4 s", "12 s", "3 min 5 s", "2 h 10 min" */
export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–"
  if (value > 0 && value < 0.1) return `${Math.ceil(value * 1000)} ms`
  if (value < 10) return `${value.toLocaleString(LOCALE, { maximumFractionDigits: 1 })} s`
  const all = Math.round(value)
  if (all < 60) return `${all} s`
  const minutes = Math.floor(all / 60)
  if (minutes < 60) return all % 60 ? `${minutes} min ${all % 60} s` : `${minutes} min`
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`
}

export function at(time: string): string {
  return moment.format(new Date(time))
}

/** The time of day, with its seconds. */
export function clock(time: string): string {
  return ofDay.format(new Date(time))
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
]

/** "3 minutes ago", "yesterday"; under a minute "now". */
export function ago(time: string, now = Date.now()): string {
  const passed = (new Date(time).getTime() - now) / 1000
  for (const [unit, size] of STEPS) {
    if (Math.abs(passed) >= size) return relative.format(Math.trunc(passed / size), unit)
  }
  return relative.format(0, "second")
}
