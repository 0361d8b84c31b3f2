import { Link } from "@tanstack/react-router"
import { count, share, value } from "../format"
import { ROLES } from "../search"
import { Badge } from "../ui/surface"
import css from "./dataset.module.css"
import { Distribution } from "./distribution"
import type { Column } from "./queries"

interface ColumnCardProps {
  column: Column
  rows: number
  fileId: string
  /** Whether it could be a target. */
  learnable: boolean
}

export function ColumnCard({ column, rows, fileId, learnable }: ColumnCardProps) {
  const { name, role, distinct, missing } = column
  return (
    <li className={css.column} data-row tabIndex={-1}>
      <div>
        <h3 className={css.columnName} title={name}>
          {name}
        </h3>
        <Badge>{ROLES.find((known) => known.name === role)?.label ?? role}</Badge>
      </div>
      <div className={css.distribution}>
        <Distribution column={column} rows={rows} />
      </div>
      <dl className={css.columnFacts}>
        <Fact name="Missing" value={missing ? share(missing / Math.max(rows, 1)) : "none"} />
        <Fact name="Distinct" value={count(distinct)} />
        {column.mean !== undefined && <Fact name="Mean" value={value(column.mean)} />}
        {typeof column.min === "string" && <Fact name="From" value={day(column.min)} />}
        {typeof column.max === "string" && <Fact name="To" value={day(column.max)} />}
      </dl>
      {learnable && (
        <Link
          to="/dashboard/blueprints/train"
          search={{ file: fileId, target: name }}
          className={css.predict}
        >
          Predict this<span className="visually-hidden">: {name}</span>
        </Link>
      )}
    </li>
  )
}

/** A time as it stands in the table, which may know no zone; without one where it is a day's beginning. */
function day(time: string): string {
  return time.replace("T", " ").replace(/( 00:00:00)?(\+00:00|Z)?$/, "")
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="number">{value}</dd>
    </div>
  )
}
