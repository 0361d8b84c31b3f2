/** The frame of every plot: what it is, what it says in words, the drawing, and its numbers as a table. */

import { Download } from "lucide-react"
import { type ReactNode, useState } from "react"
import { DownloadButton } from "../../ui/download-button"
import css from "./figure.module.css"

export interface Numbers {
  columns: string[]
  rows: (string | number)[][]
}

interface FigureProps {
  title: string
  /** What the drawing shows, in a sentence: all there is for those who do not see it, but for the table. */
  about: string
  /** Where the drawing can be had as an image. */
  svgUrl?: string
  wide?: boolean
  numbers: () => Numbers
  children: ReactNode
}

export function Figure({ title, about, svgUrl, wide, numbers, children }: FigureProps) {
  return (
    <figure className={wide ? `${css.figure} ${css.wide}` : css.figure}>
      <figcaption className={css.caption}>
        <div>
          <h3>{title}</h3>
          <p className={css.about}>{about}</p>
        </div>
        {svgUrl && (
          <DownloadButton path={svgUrl} look="quiet" small icon aria-label={`Download “${title}” as SVG`}>
            <Download size={16} aria-hidden="true" />
          </DownloadButton>
        )}
      </figcaption>
      <div className={css.drawing}>{children}</div>
      <AsTable title={title} numbers={numbers} />
    </figure>
  )
}

/** Made when it is opened: some plots have hundreds of points. */
function AsTable({ title, numbers }: { title: string; numbers: () => Numbers }) {
  const [open, setOpen] = useState(false)
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      {open && <NumbersTable title={title} {...numbers()} />}
    </details>
  )
}

function NumbersTable({ title, columns, rows }: Numbers & { title: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled with the keyboard, too
    <section className={css.scroll} aria-label={`${title} as a table`} tabIndex={0}>
      <table className={css.table}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, place) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: points have no name, and never move
            <tr key={place}>
              {row.map((cell, column) => (
                <td key={columns[column]} className="number">
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
