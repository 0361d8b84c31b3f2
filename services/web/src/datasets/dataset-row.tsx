import { Link } from "@tanstack/react-router"
import { CircleAlert, Play, Trash2 } from "lucide-react"
import { useState } from "react"
import { bytes, counted, sentence } from "../format"
import { Button, buttonClass } from "../ui/button"
import { Badge } from "../ui/surface"
import { When } from "../ui/when"
import css from "./datasets.module.css"
import { DeleteDataset } from "./delete-dataset"
import type { Table } from "./queries"

/** `like`: a run whose settings are to be used again. */
export function DatasetRow({ table, like }: { table: Table; like?: string | undefined }) {
  const { file_id: fileId, name, status, error } = table
  const [deleting, setDeleting] = useState(false)
  return (
    <li className={css.row} data-row tabIndex={-1}>
      <div className={css.what}>
        <Link to="/dashboard/blueprints/files/$fileId" params={{ fileId }} className={css.name} title={name}>
          {name}
        </Link>
        <p className={css.facts}>
          <Shape table={table} />
          <span>{bytes(table.size_bytes)}</span>
          <When time={table.created_at} />
        </p>
        {status === "failed" && error && <p className={css.why}>{sentence(error)}</p>}
      </div>
      <div className={css.actions}>
        {status !== "failed" && (
          <Link
            to="/dashboard/blueprints/train"
            search={{ file: fileId, ...(like && { from: like }) }}
            className={buttonClass({ small: true })}
          >
            <Play size={16} aria-hidden="true" />
            Train<span className="visually-hidden"> on {name}</span>
          </Link>
        )}
        <Button look="quiet" small icon aria-label={`Delete ${name}`} onClick={() => setDeleting(true)}>
          <Trash2 size={18} aria-hidden="true" />
        </Button>
      </div>
      <DeleteDataset table={table} open={deleting} onOpenChange={setDeleting} />
    </li>
  )
}

/** Rows and columns, or why they are not known (yet). */
export function Shape({ table: { status, rows, columns } }: { table: Table }) {
  if (status === "profiling") return <Badge tone="accent">Being looked at</Badge>
  if (status === "failed") {
    return (
      <Badge tone="bad">
        <CircleAlert size={14} aria-hidden="true" />
        Cannot be read
      </Badge>
    )
  }
  if (rows === undefined || columns === undefined) return null
  return (
    <span className="number">
      {counted(rows, "row")} × {counted(columns, "column")}
    </span>
  )
}
