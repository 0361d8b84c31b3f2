import { count, score } from "../../format"
import { metricLabel } from "../../metrics"
import type { PlotData } from "./data"
import { Figure } from "./figure"
import css from "./importance.module.css"

interface ImportanceProps {
  data: PlotData["importance"]
  svgUrl: string
}

export function Importance({ data: { metric, columns, columns_in_all }, svgUrl }: ImportanceProps) {
  const most = Math.max(...columns.map(({ mean }) => mean), 0)
  const rest = columns_in_all - columns.length
  return (
    <Figure
      title="Importance of columns"
      about={`How much worse ${metricLabel(metric)} gets on held-out rows when a column is shuffled${
        rest > 0 ? `; the ${count(rest)} least important are not shown` : ""
      }.`}
      svgUrl={svgUrl}
      numbers={() => ({
        columns: ["Column", "Loss", "Standard deviation"],
        rows: columns.map(({ feature, mean, std }) => [feature, score(mean), score(std)]),
      })}
    >
      <ul className={css.bars}>
        {columns.map(({ feature, mean, std }) => (
          <li key={feature}>
            <span className={css.feature} title={feature}>
              {feature}
            </span>
            <span className={css.bar} aria-hidden="true">
              <span style={{ width: `${most > 0 ? (100 * Math.max(0, mean)) / most : 0}%` }} />
            </span>
            <span className={`${css.figure} number`} title={`± ${score(std)}`}>
              {score(mean)}
            </span>
          </li>
        ))}
      </ul>
    </Figure>
  )
}
