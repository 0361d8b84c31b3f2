/** The table's first rows as they were read. A wide table is shown some columns at a time. */

import { useQuery } from "@tanstack/react-query"
import { ChevronLeft, ChevronRight } from "lucide-react"
import { useState } from "react"
import { ApiError } from "../api/problem"
import { count, counted } from "../format"
import { Button } from "../ui/button"
import { Card, Failed, Loading } from "../ui/surface"
import css from "./preview.module.css"
import { type Column, previewQuery } from "./queries"

const COLUMNS = 25

const NUMBERS = new Set(["numeric", "datetime"])

export function Preview({ fileId, columns }: { fileId: string; columns: Column[] }) {
  const preview = useQuery(previewQuery(fileId))
  const [from, setFrom] = useState(0)
  // Looked at before previews were kept: the columns below say what is in it.
  if (preview.error instanceof ApiError && preview.error.status === 404) return null
  const all = preview.data?.columns ?? []
  const to = Math.min(from + COLUMNS, all.length)
  return (
    <Card
      title="First rows"
      about={preview.data && `${counted(preview.data.rows.length, "row")} as they were read`}
      actions={
        all.length > COLUMNS && (
          <div className={css.paging}>
            <span role="status" className="number">
              Columns {count(from + 1)}–{count(to)} of {count(all.length)}
            </span>
            <Button
              small
              icon
              aria-label="Columns before these"
              disabled={from === 0}
              onClick={() => setFrom(from - COLUMNS)}
            >
              <ChevronLeft size={18} aria-hidden="true" />
            </Button>
            <Button
              small
              icon
              aria-label="Columns after these"
              disabled={to === all.length}
              onClick={() => setFrom(to)}
            >
              <ChevronRight size={18} aria-hidden="true" />
            </Button>
          </div>
        )
      }
    >
      {preview.data ? (
        <Rows names={all} rows={preview.data.rows} columns={columns} from={from} to={to} />
      ) : preview.isError ? (
        <Failed error={preview.error} retry={() => preview.refetch()} />
      ) : (
        <div className={css.place}>
          <Loading what="Loading the first rows" rows={10} />
        </div>
      )}
    </Card>
  )
}

interface RowsProps {
  names: string[]
  rows: (string | null)[][]
  columns: Column[]
  from: number
  to: number
}

function Rows({ names, rows, columns, from, to }: RowsProps) {
  const numbers = new Set(columns.filter(({ role }) => NUMBERS.has(role)).map(({ name }) => name))
  const shown = names.slice(from, to)
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard has to reach it
    <section className={css.scroll} aria-label="First rows, scrolls" tabIndex={0}>
      <table className={css.table}>
        <thead>
          <tr>
            <th scope="col" className={css.line}>
              <span className="visually-hidden">Row</span>
            </th>
            {shown.map((name) => (
              <th key={name} scope="col" title={name} data-number={numbers.has(name) || undefined}>
                <span>{name}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, line) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a row is its place in the table
            <tr key={line}>
              <th scope="row" className={css.line}>
                {line + 1}
              </th>
              {shown.map((name, place) => (
                <Cell key={name} text={row[from + place] ?? null} number={numbers.has(name)} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

function Cell({ text, number }: { text: string | null; number: boolean }) {
  return (
    <td title={text ?? undefined} data-number={number || undefined}>
      {text ?? <span className={css.missing}>missing</span>}
    </td>
  )
}
