import { count, share } from "../../format"
import css from "./confusion.module.css"
import type { PlotData } from "./data"
import { Figure } from "./figure"

interface ConfusionProps {
  data: PlotData["confusion_matrix"]
  svgUrl: string
}

/** A table in itself: what it was, what was said, and how often. */
export function Confusion({ data: { labels, matrix, share_of_actual }, svgUrl }: ConfusionProps) {
  const all = matrix.flat().reduce((sum, cell) => sum + cell, 0)
  const right = matrix.reduce((sum, row, place) => sum + (row[place] ?? 0), 0)
  return (
    <Figure
      title="Confusion matrix"
      about={`${count(right)} of ${count(all)} held-out rows are right (${share(right / all)}).`}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Actual", "Predicted", "Rows", "Share of the actual"],
        rows: labels.flatMap((actual, i) =>
          labels.map((said, j) => [
            actual,
            said,
            count(matrix[i]?.[j] ?? 0),
            share(share_of_actual[i]?.[j] ?? 0),
          ]),
        ),
      })}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled with the keyboard, too */}
      <section className={css.scroll} aria-label="Cells of the matrix" tabIndex={0}>
        <table className={css.matrix}>
          <thead>
            <tr>
              <td />
              <th scope="colgroup" colSpan={labels.length} className={css.side}>
                Predicted
              </th>
            </tr>
            <tr>
              <th scope="col" className={css.side}>
                Actual
              </th>
              {labels.map((label) => (
                <th key={label} scope="col" title={label}>
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {labels.map((actual, i) => (
              <tr key={actual}>
                <th scope="row" title={actual}>
                  {actual}
                </th>
                {labels.map((said, j) => (
                  <Cell
                    key={said}
                    rows={matrix[i]?.[j] ?? 0}
                    part={share_of_actual[i]?.[j] ?? 0}
                    right={i === j}
                  />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Figure>
  )
}

function Cell({ rows, part, right }: { rows: number; part: number; right: boolean }) {
  const tone = right ? "var(--good)" : "var(--bad)"
  // Weak enough for text on it to be read in both themes.
  const background = rows
    ? `color-mix(in srgb, ${tone} ${Math.round(8 + part * 30)}%, transparent)`
    : undefined
  return (
    <td className="number" style={{ background }} title={share(part)}>
      {count(rows)}
    </td>
  )
}
