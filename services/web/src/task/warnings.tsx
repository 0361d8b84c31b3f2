import { TriangleAlert } from "lucide-react"
import type { Schemas } from "../api/client"
import { Badge, Card } from "../ui/surface"
import css from "./warnings.module.css"

type Notice = Schemas["Notice"]

const GRAVE = new Set([
  "leaked-target",
  "suspiciously-strong",
  "future-information",
  "duplicate-rows-across-split",
])

/** Whether scores are too good to be true: it is said before them. */
export function isGrave({ code }: Notice): boolean {
  return GRAVE.has(code)
}

interface WarningsCardProps {
  title?: string
  warnings: Notice[]
}

/** What was noticed about the table or the models, with its evidence, and what was done about it. */
export function WarningsCard({ title = "Worth knowing", warnings }: WarningsCardProps) {
  if (!warnings.length) return null
  return (
    <Card title={title} about="What was noticed, and what was done about it.">
      <ul className={css.warnings}>
        {warnings.map((warning) => (
          <li key={`${warning.code} ${warning.column} ${warning.message}`}>
            <TriangleAlert size={18} aria-hidden="true" />
            <div>
              <h3>{warning.message}</h3>
              {warning.evidence && <p className={css.evidence}>{warning.evidence}</p>}
              <p>{warning.action}</p>
            </div>
            {warning.column && <Badge tone="warn">{warning.column}</Badge>}
          </li>
        ))}
      </ul>
    </Card>
  )
}
