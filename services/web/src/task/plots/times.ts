/** Times of a series: ISO 8601, or numbers as text where its steps are counted. */

const LOCALE = navigator.language
const day = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeZone: "UTC" })
const minute = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" })

/** As they stand in the table, whatever the reader's own time zone is. */
export function timeLabel(time: string): string {
  const known = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?)?/.exec(time)
  if (!known) return time
  const midnight = !known[2] || known[2] === "00:00"
  return (midnight ? day : minute).format(new Date(`${known[1]}T${known[2] ?? "00:00"}Z`))
}
